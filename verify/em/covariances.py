"""Covariances of every kind: their eigenvalues, the range for a construction, data that have none."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from baselines.gaussian import covariance_roots
from console.errors import BadInputError
from constructions.em.tasks import CovarianceType, Range
from verify.em.problems import Problem

SPAN = 2.0**-20
"""Least eigenvalue over largest of a range that nobody chose: one in a million."""

REMEDY = "--standardise brings data to one scale, --dtype float64 holds more"

TIED = ("tied_spherical", "tied")
MATRICES = ("tied", "full")
SPHERICAL = ("tied_spherical", "spherical")


def as_matrices(S: Tensor, kind: CovarianceType, components: int, dim: int) -> Tensor:
    """(..., K, d, d) whatever the kind."""
    if kind in TIED:
        S = S[..., None].expand(*S.shape, components) if kind == "tied_spherical" else S[..., None, :, :]
    if kind in SPHERICAL:
        S = S[..., None].expand(*S.shape, dim)
    if kind not in MATRICES:
        S = torch.diag_embed(S)
    return S.expand(*S.shape[:-3], components, dim, dim)


def eigenvalue_ends(S: Tensor, kind: CovarianceType) -> tuple[Tensor, Tensor]:
    """(..., K), or (..., 1) of tied kinds: least and largest eigenvalue in float64; NaN of what is none."""
    S = S.to(torch.float64)
    if kind in MATRICES:
        known = S.isfinite().flatten(-2).all(-1)
        found = torch.linalg.eigvalsh(torch.where(known[..., None, None], S, torch.eye(S.shape[-1]).to(S)))
        S = torch.where(known[..., None], found, torch.nan)
    elif kind in SPHERICAL:
        S = S[..., None]
    S = S[..., None, :] if kind in TIED else S
    return S.amin(-1), S.amax(-1)


def distance(S: Tensor, other: Tensor, kind: CovarianceType) -> Tensor:
    """(..., K), or (..., 1) of tied kinds: the Frobenius norm, absolute value or length of the difference."""
    apart = S.to(torch.float64) - other.to(torch.float64)
    if kind in MATRICES:
        apart = torch.linalg.matrix_norm(apart)
    elif kind == "diagonal":
        apart = torch.linalg.vector_norm(apart, dim=-1)
    return (apart[..., None] if kind in TIED else apart).abs()


def symmetric(S: Tensor, kind: CovarianceType) -> Tensor:
    """The symmetric part of matrices; others as they are."""
    return (S + S.mT) / 2 if kind in MATRICES else S


def default_range(problem: Problem) -> Range:
    """Powers of two around all that EM can meet from above, and a millionth of it below.

    HIGH: no average of squares about a mean exceeds that of the half-range of the data (Popoviciu), of
    matrices of half the diagonal of the box around them. LOW: SPAN times HIGH. Both further where a start is.
    """
    half = (problem.X.amax(1) - problem.X.amin(1)).amax(0) / 2
    matrices = problem.covariance_type in MATRICES
    largest = float(half.square().sum() if matrices else half.square().amax())
    least = math.inf
    if problem.covariances is not None:
        low, high = eigenvalue_ends(problem.covariances, problem.covariance_type)
        least, largest = float(low.min()), max(largest, float(high.max()))
    if not (least > 0 and 0 < largest < math.inf):
        raise BadInputError(
            f"--covariance {problem.covariance_type}: variances of {problem.name} go from {least:.3g} to "
            f"{largest:.3g} in its units, and must be above 0 and finite in the dtype; {REMEDY}"
        )
    high = 2.0 ** math.ceil(math.log2(largest))
    return Range(min(SPAN * high, 2.0 ** math.floor(math.log2(least))), high)


def check_slopes(span: Range, dtype: torch.dtype, asked: str) -> None:
    """Refuse a range in which the layers' weights leave the dtype: they hold the slopes of 1/x, 1/LOW^2.

    Raises:
        BadInputError: begins with ``asked``, the option that brought the range.
    """
    smallest = math.sqrt(8 / torch.finfo(dtype).max)
    if span.low < smallest or span.high > 1 / smallest:
        name = str(dtype).removeprefix("torch.")
        raise BadInputError(
            f"{asked}: eigenvalues from {span.low:.3g} to {span.high:.3g}; in {name} from {smallest:.2g} "
            f"to {1 / smallest:.2g} are possible, whose squares are finite; {REMEDY}"
        )


def check_spread(X: Tensor, kind: CovarianceType, name: str) -> None:
    """Refuse points (N, d) of which every covariance of the kind is singular.

    Raises:
        BadInputError: names the kind, what is wrong with the data, and which kinds there are for them.
    """
    if kind == "unit":
        return
    asked, (N, d) = f"--covariance {kind}: {name}", X.shape
    others = "--covariance unit, tied_spherical or spherical"
    if kind in MATRICES and d >= N:
        raise BadInputError(
            f"{asked} has N = {N} points in d = {d} coordinates; N > d is needed (--columns, --pca lower d), "
            "or --covariance unit, tied_spherical, spherical or diagonal"
        )
    constant = X.amax(0) == X.amin(0)
    if bool(constant.all()):
        raise BadInputError(f"{asked} holds one point {N} times, of variance 0; --covariance unit takes that")
    if kind in SPHERICAL:
        return
    if bool(constant.any()):
        at = int(constant.nonzero()[0])
        raise BadInputError(
            f"{asked}: coordinate {at + 1} of {d} is constant ({float(X[0, at]):g}), of variance 0; "
            f"leave it out (--columns, --standardise), or {others}"
        )
    if kind in MATRICES and not _regular(X):
        raise BadInputError(
            f"{asked}: its {d} coordinates are linearly dependent, so every covariance matrix is singular; "
            f"leave some out (--columns, --pca), or {others} or diagonal"
        )


def _regular(X: Tensor) -> bool:
    """Whether the covariance of all points is told from a singular one, as baselines.starts has it."""
    apart = (X - X.mean(0)) / X.std(0)
    share = covariance_roots(apart.mT @ apart / len(X))[1]
    return float(share) > 64 * X.shape[1] * torch.finfo(X.dtype).eps
