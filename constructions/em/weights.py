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
    split: Split | None = None,
    *,
    covariance_type: CovarianceType = "unit",
    eigenvalues: tuple[float, float] | None = None,
    attention: Literal["mixed", "softmax"] | None = None,
    pairs: int | None = None,
) -> ConstructedEM:
    """Build L steps of EM for every d <= max_dim, K <= max_components and N >= K.

    Args:
        max_dim, max_components: d0 and K0.
        steps: L; one block of weights applied L times. Layers a step: 2 unit, 3 spherical and diagonal, 4
            tied spherical.
        pieces: linear pieces a function on average, or the exact numbers.
        floor: responsibilities and weights below it are treated as if they were at it; in (0, 1).
        radius: largest absolute coordinate of points and means.
        split: of unit covariances, how an integer ``pieces`` is shared, "optimal" unless said; see
            :func:`split_pieces`. The optimum depends on ``max_dim`` and ``radius``; pass :class:`Pieces` to
            compare constructions of different sizes.
        covariance_type: as in baselines.gaussian.
        eigenvalues: of kinds other than unit, the range in which all eigenvalues of covariances lie;
            ``EIGENVALUES`` unless said.
        attention: of tied and full covariances "mixed" (softmax for E and M, linear ReLU pairs for matrices)
            unless said, or "softmax" alone, with a sink token; the others are softmax attention alone.
        pairs: p, of softmax heads a product, ``PAIRS`` unless said; of tied and full covariances in softmax
            attention.

    Raises:
        ValueError: a number outside these ranges, or an option that the kind has not, named in the message.
    """
    if covariance_type not in COVARIANCE_TYPES:
        raise ValueError(
            f"covariance_type is {covariance_type!r}; it is one of {', '.join(COVARIANCE_TYPES)}"
        )
    matrices = covariance_type in ("tied", "full")
    if attention not in (None, "softmax", "mixed") or (attention == "mixed" and not matrices):
        accepted = "mixed or softmax" if matrices else "softmax"
        raise ValueError(f"attention is {attention!r}; of {covariance_type} covariances it is {accepted}")
    alone = matrices and attention == "softmax"
    unit = covariance_type == "unit"
    options = (("split", split, unit), ("eigenvalues", eigenvalues, not unit), ("pairs", pairs, alone))
    for name, given, used in options:
        if given is not None and not used:
            how = " in mixed attention" if name == "pairs" and matrices else ""
            raise ValueError(f"{name} is {given!r}; {covariance_type} covariances{how} have none")
    sizes = max_dim, max_components, steps
    if unit:
        return unit_construction(*sizes, pieces, floor, radius, split or "optimal")  # pyright: ignore[reportArgumentType]
    span = EIGENVALUES if eigenvalues is None else eigenvalues
    of_kind = covariance_type, *sizes, pieces, floor, radius, span
    if alone:
        return softmax_matrix_construction(*of_kind, PAIRS if pairs is None else pairs)  # pyright: ignore[reportArgumentType]
    make = matrix_construction if matrices else variance_construction
    return make(*of_kind)  # pyright: ignore[reportArgumentType]
