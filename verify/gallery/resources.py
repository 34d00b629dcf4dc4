"""What the gallery takes, a row a theorem and dimension, beside what earlier work states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from constructions.gallery.kmeans import kmeans_construction
from constructions.gallery.least_squares import least_squares_construction
from constructions.gallery.mirror_descent import mirror_descent_construction
from constructions.gallery.pca import pca_construction
from constructions.gallery.ridge import ridge_construction
from constructions.language.assembly import Construction
from constructions.language.counts import count

HEADER = ("theorem", "d", "L", "layers", "heads", "width", "hidden", "earlier work", "beside it")
COMPONENTS = 5


@dataclass(frozen=True)
class Beside:
    """A theorem of the gallery and the earlier work that it stands beside.

    Attributes:
        name: of the theorem. written: (d, L) -> the layers. stated: what earlier work takes, as it states it.
        comparison: where ours is not larger, or why it is.
    """

    name: str
    written: Callable[[int, int], Construction]
    stated: str
    comparison: str


EARLIER = (
    Beside(
        "gradient descent for least squares",
        lambda d, steps: least_squares_construction(d, steps).construction,
        "von Oswald et al. 2023: L layers, 1 linear-attention head",
        "as many layers; a linear head is 2 ReLU heads, and 1 more carries w, which they leave implicit",
    ),
    Beside(
        "ridge regression, Newton's inverse",
        lambda d, steps: ridge_construction(d, steps).construction,
        "2403.03183: 2 L linear-attention layers; 2310.17086: L + O(1) layers",
        "L + 1 layers; 2 ReLU heads, which are 1 linear head",
    ),
    Beside(
        "PCA, power iteration, 1 component",
        lambda d, steps: pca_construction(d, 1, steps).construction,
        "2606.00605: L linear-attention layers with layer norm; 2501.01312: about 3 L layers and deflation",
        "L + 2 layers a component: one makes the matrix, one deflates; 3 heads in the L of the iteration",
    ),
    Beside(
        f"Lloyd's k-means, K = {COMPONENTS}",
        lambda d, steps: kmeans_construction(d, COMPONENTS, steps).construction,
        "2506.19125: attention and residual connections, exact; we found no number of layers stated",
        "2 L layers, 1 softmax head each, error e^(-beta margin); an MLP takes the squares of the centres",
    ),
    Beside(
        f"mirror descent for mixture weights, K = {COMPONENTS}",
        lambda d, steps: mirror_descent_construction(COMPONENTS, steps).construction,
        "2604.10848: three layers for one step",
        "2 L layers, 2 and 1 softmax heads; logs and ratios by chords, error O(pieces^-2); no d in it",
    ),
)


def gallery_resources(dims: list[int], steps: int) -> list[list[str]]:
    """A row for each theorem and d, counted from the formulas.

    Layers grow evenly with L, all else does not change: one and two steps tell every number of them.
    """
    rows = []
    for theorem in EARLIER:
        for d in dims:
            one, two = (count(theorem.written(d, few)) for few in (1, 2))
            layers = one.layers + (steps - 1) * (two.layers - one.layers)
            numbers = (f"{n:,}" for n in (layers, one.heads, one.width, one.hidden))
            rows.append([theorem.name, str(d), str(steps), *numbers, theorem.stated, theorem.comparison])
    return rows
