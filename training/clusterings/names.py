"""Names that the options take; nothing that takes long is loaded here."""

MIXTURES = ("unit-d2", "unit-d8", "full-d2", "aniso", "varied")
"""Data sets whose law is a Gaussian mixture."""
SHAPES = ("moons", "circles")
"""Data sets whose groups no Gaussian describes."""
REAL = ("iris", "wine", "cancer", "digits", "digits-all")
DATA = (*MIXTURES, *SHAPES, *REAL)
METHODS = (
    *("truth", "em", "em-unit", "network", "sklearn-gmm", "bayesian", "k-means", "spectral", "ward", "birch"),
    *("mean-shift", "hdbscan", "hdbscan-5", "vade", "dec"),
)
