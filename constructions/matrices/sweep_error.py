"""How far the sweeps of one matrix are from the exact ones, entry by entry.

Let A be the exact matrix before a sweep with the pivot p, ``u = A e - s e``, and Delta >= |computed - A|. If
the reciprocal has a relative error of at most e, ``d = Delta_kk < p`` and ``delta = Delta e``, the larger of
row and column, plus the rounding of ``p - s``, then

    |q - 1/p| <= (e p + d) / (p (p - d)),         |q| <= (1 + e) / (p - d) = Q

    Delta' = Delta + (delta |u|^T + |u| delta^T + delta delta^T) Q + |u| |u|^T |q - 1/p|
             + gamma_12 (2 |A| + 2 Delta + 2 s E + (|u| + delta)(|u| + delta)^T Q)

E the entry kk alone. The last line is rounding: U, the products, four sums, the move; what underflows comes
to it. After n sweeps the inverse is off by ``Delta / s^2``, and the log-determinant by
``sum_k -log(1 - d_k / p_k)`` and the error of n logarithms and their sum.

The exact path is that of float64, not rounded up. It is a bound for an instance; a bound for all
matrices of a condition would be far larger.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.language.piecewise import PiecewiseLinear
from constructions.language.rounding import above, below, gamma, number, unit_roundoff
from constructions.language.shown import short_repr


@dataclass(frozen=True, eq=False)
class SweepError:
    """Bounds for one matrix; inf where nothing is claimed.

    Attributes:
        inverse: (n, n) of every entry of A^-1. log_det: of the log-determinant. pivots: (n,) of the pivots.
    """

    inverse: Tensor
    log_det: float
    pivots: Tensor

    __repr__ = short_repr


@dataclass(frozen=True, eq=False)
class SweepGaps:
    """The same for matrices (..., n, n).

    Attributes:
        inverse: (..., n, n). pivots: (..., n) the exact ones. off: (..., n) how far the computed ones are.
        claimed: (...) whether anything is; elsewhere the numbers mean nothing.
    """

    inverse: Tensor
    pivots: Tensor
    off: Tensor
    claimed: Tensor

    __repr__ = short_repr

    @property
    def log_shifts(self) -> Tensor:
        """(..., n) how far the logarithm of each pivot is."""
        return torch.where(self.claimed[..., None], -torch.log1p(-self.off / self.pivots), math.inf)


def swept(A: Tensor, k: int, scale: float) -> Tensor:
    """One exact sweep of (..., n, n): ``A - 2 s e e^T - u u^T / p``."""
    e = torch.eye(A.shape[-1]).to(A)[k]
    u = A[..., :, k] - scale * e
    pivot = A[..., k, k]
    after = A - u[..., :, None] * u[..., None, :] / pivot[..., None, None]
    after[..., k, :] = scale * A[..., k, :] / pivot[..., None]
    after[..., :, k] = scale * A[..., :, k] / pivot[..., None]
    after[..., k, k] = -number(scale).square() / pivot
    return after


def sweep_gaps(
    A: Tensor,
    scale: float,
    reciprocal: Callable[[Tensor], Tensor],
    dtype: torch.dtype | None,
    gap: Tensor | None = None,
) -> SweepGaps:
    """The bound for matrices (..., n, n); with no dtype in exact arithmetic.

    Args:
        A: symmetric positive definite, float64. scale: s.
        reciprocal: d -> e, where the pivot is off by d (...), and so may lie beyond the range of the chords.
        gap: (..., n, n) how far the matrix that is swept is from A; 0 unless said.
    """
    n = A.shape[-1]
    u = 0.0 if dtype is None else unit_roundoff(dtype)
    unit = gamma(12, u) if u else 0.0
    tiny = 0.0 if dtype is None else torch.finfo(dtype).tiny
    gap = torch.zeros_like(A) if gap is None else gap
    pivots, off = A.new_zeros(A.shape[:-1]), A.new_zeros(A.shape[:-1])
    claimed = torch.ones(A.shape[:-2], dtype=torch.bool, device=A.device)
    for k in range(n):
        p, d = A[..., k, k], gap[..., k, k]
        pivots[..., k], off[..., k] = p, d
        error = reciprocal(d)
        claimed = claimed & (above(d) < below(p)) & (above(error) < 1)
        # Where nothing is claimed, harmless numbers go on.
        error, d = (torch.where(claimed, v, 0.0) for v in (error, d))
        p = torch.where(claimed, p, 1.0)
        e = torch.eye(n).to(A)[k]
        column = (A[..., :, k] - scale * e).abs()
        here = torch.where(claimed[..., None, None], gap, 0.0)
        delta = torch.maximum(here[..., :, k], here[..., k, :]) + 2 * u * (column + here[..., :, k])
        largest = ((1 + error) / (p - d))[..., None, None]
        moved = _outer(delta, column)
        products = (moved + moved.mT + _outer(delta, delta)) * largest
        wrong = ((error * p + d) / (p * (p - d)))[..., None, None]
        full = _outer(column + delta, column + delta) * largest
        rounding = unit * (2 * A.abs() + 2 * here + 2 * scale * _outer(e, e) + full)
        rounding = rounding + tiny * (2 + (column + delta)[..., :, None])  # a score, times a value
        gap = here + products + _outer(column, column) * wrong + rounding
        gap, A = above(gap), swept(A, k, scale)
    return SweepGaps(gap / number(scale).square(), pivots, off, claimed & gap.isfinite().all(-1).all(-1))


def sweep_error(
    A: Tensor,
    scale: float,
    reciprocal: Callable[[float], float],
    log: PiecewiseLinear,
    size: int,
    dtype: torch.dtype | None,
) -> SweepError:
    """The bound for a matrix (n, n); with no dtype in exact arithmetic.

    Args:
        A: symmetric positive definite. scale: s.
        reciprocal: d -> e, as for :func:`sweep_gaps`, of one number.
        log: chords of the logarithm. size: tokens may be as many, which sets the rounding of sums.
    """
    A, n = A.double(), len(A)
    found = sweep_gaps(A, scale, lambda gap: gap.new_tensor(reciprocal(float(gap))), dtype)
    if not bool(found.claimed):
        nothing = torch.full_like(A, math.inf)
        return SweepError(nothing, math.inf, nothing[0])
    u = 0.0 if dtype is None else unit_roundoff(dtype)
    each = log.approximation_error + (0.0 if dtype is None else float(log.rounding_error(dtype)))
    shifts = found.log_shifts
    sizes = float((found.pivots.log().abs() + shifts).sum()) + n * each
    summed = gamma(size + 4, u) * sizes if u else 0.0
    return SweepError(found.inverse, float(shifts.sum()) + n * each + summed, found.off)


def _outer(a: Tensor, b: Tensor) -> Tensor:
    return a[..., :, None] * b[..., None, :]
