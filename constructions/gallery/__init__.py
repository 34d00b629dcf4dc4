"""Known theorems of other people, written in the language: each a file, with bounds along its path."""

from constructions.gallery.kmeans import KMeansConstruction, kmeans_construction
from constructions.gallery.least_squares import LeastSquaresConstruction, least_squares_construction
from constructions.gallery.mirror_descent import MirrorConstruction, mirror_descent_construction
from constructions.gallery.pca import PCAConstruction, pca_construction
from constructions.gallery.ridge import RidgeConstruction, ridge_construction

__all__ = [
    "KMeansConstruction",
    "LeastSquaresConstruction",
    "MirrorConstruction",
    "PCAConstruction",
    "RidgeConstruction",
    "kmeans_construction",
    "least_squares_construction",
    "mirror_descent_construction",
    "pca_construction",
    "ridge_construction",
]
