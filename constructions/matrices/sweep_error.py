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

The exact path is that of float64, without directed rounding. It is a bound for an instance; a bound for all
matrices of a condition would be far larger.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.language.piecewise import PiecewiseLinear
from constructions.language.rounding import gamma, unit_roundoff


@dataclass(frozen=True, eq=False)
class SweepError:
    """Bounds for one matrix; inf where nothing is claimed.

    Attributes:
        inverse: (n, n) of every entry of A^-1. log_det: of the log-determinant. pivots: (n,) of the pivots.
    """

    inverse: Tensor
    log_det: float
    pivots: Tensor


def swept(A: Tensor, k: int, scale: float) -> Tensor:
    """One exact sweep of (n, n): ``A - 2 s e e^T - u u^T / p``."""
    e = torch.eye(len(A)).to(A)[k]
    u = A[:, k] - scale * e
    after = A - torch.outer(u, u) / A[k, k]
    after[k], after[:, k] = scale * A[k] / A[k, k], scale * A[:, k] / A[k, k]
    after[k, k] = -(scale**2) / A[k, k]
    return after


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
        reciprocal: d -> e, where the pivot is off by d, and so may lie beyond the range of the chords.
        log: chords of the logarithm. size: tokens may be as many, which sets the rounding of sums.
    """
    A, n = A.double(), len(A)
    u = 0.0 if dtype is None else unit_roundoff(dtype)
    unit = gamma(12, u) if u else 0.0
    tiny = 0.0 if dtype is None else torch.finfo(dtype).tiny
    gap = torch.zeros_like(A)
    pivots, off = A.new_zeros(n), A.new_zeros(n)
    for k in range(n):
        p, d = float(A[k, k]), float(gap[k, k])
        pivots[k], off[k] = p, d
        error = reciprocal(d)
        if not (d < p and error < 1):
            nothing = torch.full_like(A, math.inf)
            return SweepError(nothing, math.inf, nothing[0])
        e = torch.eye(n).to(A)[k]
        column = (A[:, k] - scale * e).abs()
        delta = torch.maximum(gap[:, k], gap[k]) + 2 * u * (column + gap[:, k])
        largest = (1 + error) / (p - d)
        moved = torch.outer(delta, column)
        products = (moved + moved.mT + torch.outer(delta, delta)) * largest
        wrong = (error * p + d) / (p * (p - d))
        full = torch.outer(column + delta, column + delta) * largest
        rounding = unit * (2 * A.abs() + 2 * gap + 2 * scale * torch.outer(e, e) + full)
        rounding = rounding + tiny * (2 + column + delta)  # what underflows: a score, times a value
        A, gap = swept(A, k, scale), gap + products + torch.outer(column, column) * wrong + rounding
    shifts = -torch.log1p(-off / pivots)
    each = log.approximation_error + (0.0 if dtype is None else log.rounding_error(dtype))
    sizes = float((pivots.log().abs() + shifts).sum()) + n * each
    summed = gamma(size + 4, u) * sizes if u else 0.0
    return SweepError(gap / scale**2, float(shifts.sum()) + n * each + summed, off)
