"""EM in attention weights for every kind of covariance: where a construction is made."""

from __future__ import annotations

from typing import Literal, overload

from constructions.em.constructed import ConstructedEM
from constructions.em.matrices import MatrixEM, MatrixPieces, matrix_construction
from constructions.em.pieces import Pieces, Split
from constructions.em.softmax_matrices import PAIRS, SoftmaxMatrixEM, softmax_matrix_construction
from constructions.em.tasks import COVARIANCE_TYPES, CovarianceType
from constructions.em.unit import EMConstruction, unit_construction
from constructions.em.variances import VarianceEM, VariancePieces, variance_construction

EIGENVALUES = (1e-4, 1e4)
"""Where eigenvalues of covariances lie, unless told otherwise."""


@overload
def em_construction(
    max_dim: int,
    max_components: int,
    steps: int,
    pieces: int | Pieces,
    floor: float = 1e-8,
    radius: float = 12.0,
    split: Split = "optimal",
    *,
    covariance_type: Literal["unit"] = "unit",
) -> EMConstruction: ...


@overload
def em_construction(
    max_dim: int,
    max_components: int,
    steps: int,
    pieces: int | VariancePieces,
    floor: float = 1e-8,
    radius: float = 12.0,
    *,
    covariance_type: Literal["tied_spherical", "spherical", "diagonal"],
    eigenvalues: tuple[float, float] = EIGENVALUES,
) -> VarianceEM: ...


@overload
def em_construction(
    max_dim: int,
    max_components: int,
    steps: int,
    pieces: int | MatrixPieces,
    floor: float = 1e-8,
    radius: float = 12.0,
    *,
    covariance_type: Literal["tied", "full"],
    eigenvalues: tuple[float, float] = EIGENVALUES,
    attention: Literal["mixed"] = "mixed",
) -> MatrixEM: ...


@overload
def em_construction(
    max_dim: int,
    max_components: int,
    steps: int,
    pieces: int | MatrixPieces,
    floor: float = 1e-8,
    radius: float = 12.0,
    *,
    covariance_type: Literal["tied", "full"],
    eigenvalues: tuple[float, float] = EIGENVALUES,
    attention: Literal["softmax"],
    pairs: int = PAIRS,
) -> SoftmaxMatrixEM: ...


def em_construction(
    max_dim: int,
    max_components: int,
    steps: int,
    pieces: int | Pieces | VariancePieces | MatrixPieces,
    floor: float = 1e-8,
    radius: float = 12.0,
    split: Split = "optimal",
    *,
    covariance_type: CovarianceType = "unit",
    eigenvalues: tuple[float, float] = EIGENVALUES,
    attention: Literal["mixed", "softmax"] | None = None,
    pairs: int = PAIRS,
) -> ConstructedEM:
    """Build L steps of EM for every d <= max_dim, K <= max_components and N >= K.

    Args:
        max_dim, max_components: d0 and K0.
        steps: L; one block of weights applied L times. Layers a step: 2 unit, 3 spherical and diagonal, 4
            tied spherical.
        pieces: linear pieces a function on average, or the exact numbers.
        floor: responsibilities and weights below it are treated as if they were at it; in (0, 1).
        radius: largest absolute coordinate of points and means.
        split: of unit covariances, how an integer ``pieces`` is shared; see :func:`split_pieces`. The optimum
            depends on ``max_dim`` and ``radius``; pass :class:`Pieces` to compare constructions of different
            sizes.
        covariance_type: as in baselines.gaussian.
        eigenvalues: of kinds other than unit, the range in which all eigenvalues of covariances lie.
        attention: of tied and full covariances "mixed" (softmax for E and M, linear ReLU pairs for matrices)
            unless said, or "softmax" alone, with a sink token; the others are softmax attention alone.
        pairs: p, of softmax heads a product; for tied and full covariances in softmax attention.

    Raises:
        ValueError: a number outside these ranges, named in the message.
    """
    if covariance_type not in COVARIANCE_TYPES:
        raise ValueError(
            f"covariance_type is {covariance_type!r}; it is one of {', '.join(COVARIANCE_TYPES)}"
        )
    matrices = covariance_type in ("tied", "full")
    if attention not in (None, "softmax", "mixed") or (attention == "mixed" and not matrices):
        accepted = "mixed or softmax" if matrices else "softmax"
        raise ValueError(f"attention is {attention!r}; of {covariance_type} covariances it is {accepted}")
    sizes = max_dim, max_components, steps
    if covariance_type == "unit":
        return unit_construction(*sizes, pieces, floor, radius, split)  # pyright: ignore[reportArgumentType]
    if matrices and attention == "softmax":
        return softmax_matrix_construction(covariance_type, *sizes, pieces, floor, radius, eigenvalues, pairs)  # pyright: ignore[reportArgumentType]
    make = matrix_construction if matrices else variance_construction
    return make(covariance_type, *sizes, pieces, floor, radius, eigenvalues)  # pyright: ignore[reportArgumentType]
