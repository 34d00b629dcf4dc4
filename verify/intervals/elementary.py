"""exp, log and their like of intervals: monotone, so evaluated at the ends (verify.intervals.outward)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from verify.intervals.array import Intervals, intervals
from verify.intervals.entrywise import absolute, multiply, root, subtract, whole_power
from verify.intervals.outward import above_function, below_function, finite

Real = Callable[[Tensor], Tensor]


def increasing(function: Real, at: float, value: float = 0.0) -> Callable[..., Intervals]:
    """A function that increases, in intervals; ``function(at) = value`` exactly."""

    def ends(x: Tensor) -> tuple[Tensor, Tensor]:
        y = function(x)
        below, above = below_function(y), above_function(y)
        known = (x == at) | x.isinf()  # the limit at an infinite argument is exact too
        if bool(known.any()):
            exactly = torch.where(x == at, value, y)
            below, above = torch.where(known, exactly, below), torch.where(known, exactly, above)
        return below, above

    def found(x: Tensor, **_: Any) -> Intervals:
        x = intervals(x)
        low, high = ends(x.low)
        high = high if x.exact else ends(x.high)[1]
        return unless_unknown(x, low, high)

    return found


def unless_unknown(x: Intervals, low: Tensor, high: Tensor) -> Intervals:
    """Of these ends, but where nothing is known of x, nothing."""
    if x.exact or finite(x.low) or finite(x.high):
        return Intervals.of(low, high)
    unknown = (x.low == -torch.inf) & (x.high == torch.inf)
    return Intervals.of(torch.where(unknown, -torch.inf, low), torch.where(unknown, torch.inf, high))


_exp = increasing(torch.exp, 0.0, 1.0)


def exponential(x: Tensor) -> Intervals:
    """``exp(x)``, which is not negative."""
    x = intervals(x)
    found = _exp(x)
    return unless_unknown(x, found.low.clamp_min(0.0), found.high)


def _logarithm(function: Real, zero: float, least: float) -> Callable[..., Intervals]:
    def found(x: Tensor) -> Intervals:
        x = intervals(x)
        y = function(x.low.clamp_min(least))
        z = y if x.exact else function(x.high)
        low = torch.where(x.low == zero, 0.0, below_function(y))
        high = torch.where(x.high == zero, 0.0, above_function(z))
        low, high = torch.where(y.isinf(), y, low), torch.where(z.isinf(), z, high)
        if x.low.numel() and float(x.low.min()) >= least:
            return Intervals.of(low, high)
        below, nan = x.low < least, (x.high < least) | x.low.isnan()
        low = torch.where(nan, torch.nan, torch.where(below, -torch.inf, low))
        return Intervals.of(low, torch.where(nan, torch.nan, torch.where(below, torch.inf, high)))

    return found


logarithm = _logarithm(torch.log, 1.0, 0.0)
"""``log(x)``: -inf of 0, NaN below it, unknown of an interval that reaches below."""
log_one_more = _logarithm(torch.log1p, 0.0, -1.0)
"""``log(1 + x)``, likewise from -1 on."""
exponential_less_one = increasing(torch.expm1, 0.0)
"""``exp(x) - 1``."""
hyperbolic_tangent = increasing(torch.tanh, 0.0)
hyperbolic_sine = increasing(torch.sinh, 0.0)


def hyperbolic_cosine(x: Tensor) -> Intervals:
    """``cosh(x)``, which increases with ``|x|``."""
    return increasing(torch.cosh, 0.0, 1.0)(absolute(x))


def log_sigmoid(x: Tensor) -> Intervals:
    """``min(x, 0) - log1p(exp(-|x|))``, at the ends: it increases."""
    x = intervals(x)
    low, high = (_log_sigmoid(end) for end in (x.low, x.high))
    return Intervals.of(low.low, high.high)


def _log_sigmoid(x: Tensor) -> Intervals:
    return subtract(x.clamp_max(0.0), log_one_more(exponential(-x.abs())))


def sigmoid(x: Tensor) -> Intervals:
    """``1 / (1 + exp(-x))``."""
    return exponential(log_sigmoid(x))


def power(x: Tensor | float, exponent: Tensor | float) -> Intervals:
    """``x ** exponent``: whole powers by products, others as ``exp(exponent log x)``."""
    if isinstance(exponent, (int, float)):
        if float(exponent).is_integer():
            return whole_power(intervals(x), int(exponent))
        if exponent == 0.5:
            return root(intervals(x))
    return exponential(multiply(exponent, logarithm(intervals(x))))
