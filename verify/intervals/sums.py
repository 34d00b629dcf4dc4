"""Sums of intervals in whatever order torch adds, lengths, softmax.

Adding n floats in any order gives S with ``|S - sum x| <= gamma_(n-1) sum |x|`` (Higham, *Accuracy and
Stability*, section 4.2; additions do not underflow), and for ``A``, the sum of ``|x|`` so computed, ``sum
|x| <= A / (1 - gamma_(n-1))``. As ``gamma_n / (1 - gamma_n) <= gamma_2n``, the allowance is ``gamma_(2n+4)
A``: the product with it is rounded too. The last addition is one rounding more
(:mod:`verify.intervals.outward`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from constructions.language.rounding import gamma
from verify.intervals.array import Intervals, NotInIntervalsError, intervals
from verify.intervals.choices import extreme
from verify.intervals.elementary import exponential, logarithm
from verify.intervals.entrywise import absolute, add, divide, multiply, root, settled, square, subtract
from verify.intervals.outward import LESS, MORE, above_sum, below_sum, finite, nothing_below

Dim = int | Sequence[int] | None
U64 = 2.0**-53


def summed(adding: Callable[[Tensor], Tensor], x: Intervals, terms: int) -> Intervals:
    """What ``adding``, which adds at most so many numbers in any order, makes of intervals."""
    if terms <= 1:
        return Intervals.of(low := adding(x.low), low if x.exact else adding(x.high))
    allowance = gamma(2 * terms + 4, U64)
    if nothing_below(x.low, 0.0):
        least = adding(x.low)
        most = least if x.exact else adding(x.high)
        if math.isfinite(float(most.sum())):
            return Intervals.of(least * (1 - allowance) * LESS, most * (1 + allowance) * MORE)

    def end(values: Tensor, sign: float, round_once: Callable[[Tensor], Tensor]) -> Tensor:
        total = adding(values)
        sizes = total if values.numel() and float(values.min()) >= 0 else adding(values.abs())
        if finite(sizes):
            return round_once(torch.add(total, sizes, alpha=sign * allowance))
        # An infinite summand decides; a sum that only float64 finds infinite is beyond the largest float.
        near = round_once(torch.add(total, sizes, alpha=sign * allowance))
        near = torch.where(near.isfinite(), near, sign * math.inf)
        infinite, nan = (adding(some.double()) > 0 for some in (values.isinf(), values.isnan()))
        return torch.where(nan, math.nan, torch.where(infinite, total, near))

    low = end(x.low, -1.0, below_sum)
    high = end(x.high, 1.0, above_sum)
    if finite(low) and finite(high):
        return Intervals.of(low, high)
    points = adding(((x.low != x.high) & ~x.low.isnan()).double()) == 0
    return settled(low, high, points)


def total(x: Tensor, dim: Dim = None, keepdim: bool = False, **_: Any) -> Intervals:
    """The sum."""
    x = intervals(x)
    axes: Any = tuple(range(x.low.dim())) if dim is None else dim
    if x.low.dim() == 0:
        return x
    return summed(lambda values: values.sum(axes, keepdim), x, _terms(x.low, axes))


def _terms(x: Tensor, axes: int | Sequence[int]) -> int:
    """How many numbers a sum over these dimensions has."""
    return math.prod(x.shape[axis] for axis in ((axes,) if isinstance(axes, int) else axes))


def mean(x: Tensor, dim: Dim = None, keepdim: bool = False, **_: Any) -> Intervals:
    """The sum over the number of terms."""
    x = intervals(x)
    found = total(x, dim, keepdim)
    return divide(found, x.low.numel() // max(found.low.numel(), 1))


def running(x: Tensor, dim: int, **_: Any) -> Intervals:
    """``x.cumsum``."""
    x = intervals(x)
    return summed(lambda values: values.cumsum(dim), x, x.low.shape[dim])


def multiplied(x: Tensor, dim: Dim = None, keepdim: bool = False, **_: Any) -> Intervals:
    """``x.prod``."""
    x = intervals(x)
    flat = intervals(x.reshape(-1)) if dim is None else x
    axis = 0 if dim is None else dim
    if not isinstance(axis, int):
        raise NotInIntervalsError(f"a product over {axis}")
    factors = [intervals(one) for one in flat.unbind(axis)]
    found = factors[0]
    for factor in factors[1:]:
        found = multiply(found, factor)
    return intervals(found.unsqueeze(axis)) if keepdim and dim is not None else found


def log_sum_exp(x: Tensor, dim: Dim, keepdim: bool = False) -> Intervals:
    """``log sum exp`` at the ends, for it increases, over the exponential of a number near the largest."""
    x = intervals(x)
    low, high = (_log_sum_exp(Intervals.of(end, end), dim, keepdim) for end in (x.low, x.high))
    return settled(low.low, high.high, torch.tensor(True))


def _log_sum_exp(x: Intervals, dim: Dim, keepdim: bool) -> Intervals:
    axes = tuple(range(x.low.dim())) if dim is None else dim
    top = extreme("max", axes, True)(x).low
    top = torch.where(top.isfinite(), top, 0.0)
    found = add(logarithm(total(exponential(subtract(x, top)), axes, True)), top)
    return found if keepdim else total(found, axes)


def log_shares(x: Tensor, dim: int, **_: Any) -> Intervals:
    """``x.log_softmax``."""
    return subtract(x, log_sum_exp(x, dim, True))


def shares(x: Tensor, dim: int, **_: Any) -> Intervals:
    """``x.softmax``."""
    return exponential(log_shares(x, dim))


def length(v: Tensor) -> Intervals:
    """The Euclidean length over the last axis."""
    return vector_norm(v, 2, -1)


def vector_norm(
    x: Tensor,
    ord: float = 2,  # noqa: A002 - torch's name
    dim: Any = None,
    keepdim: bool = False,
    **_: Any,
) -> Intervals:
    """``torch.linalg.vector_norm``: entries over the largest first, so that no square leaves the range."""
    if ord != 2:
        raise NotInIntervalsError(f"a norm of order {ord}")
    x = intervals(x)
    axes = tuple(range(x.low.dim())) if dim is None else dim
    size = absolute(x)
    quick = _length(size, axes, keepdim)
    if quick is not None:
        return quick
    most = torch.maximum(x.low.abs(), x.high.abs()).amax(axes, keepdim=True)
    scale = torch.where((most > 0) & most.isfinite(), most, 1.0)
    found = multiply(root(total(square(divide(x, scale)), axes, True)), scale)
    return found if keepdim else total(found, axes)


def _length(size: Intervals, axes: int | tuple[int, ...], keepdim: bool) -> Intervals | None:
    """``(sum size^2)^(1/2)``, None where a sum of squares is not of a size that none of them matters below.

    n squares and their sum are within ``gamma_(n+1)``, what underflows is below 2^-1074 each and so below
    ``n 2^-174`` of a sum of at least 2^-900; the root halves the sum of both and rounds.
    """
    n = _terms(size.low, axes)
    share = 1 + gamma(n + 8, U64)

    def end(values: Tensor) -> Tensor:
        return (values * values).sum(axes, keepdim)

    least = end(size.low)
    most = least if size.exact else end(size.high)
    if n > 2**20 or not (nothing_below(least, 2.0**-900) and math.isfinite(float(most.sum()))):
        return None
    return Intervals.of(least.sqrt() / share * LESS, most.sqrt() * share * MORE)


def norm(x: Tensor, p: Any = 2, dim: Any = None, keepdim: bool = False, **_: Any) -> Intervals:
    """``x.norm``."""
    return vector_norm(x, 2 if p in (None, "fro") else p, dim, keepdim)


def distances(a: Tensor, b: Tensor, p: float = 2, compute_mode: str = "") -> Intervals:
    """``torch.cdist``."""
    if p != 2:
        raise NotInIntervalsError(f"distances of order {p}")
    return length(subtract(intervals(a)[..., :, None, :], intervals(b)[..., None, :, :]))
