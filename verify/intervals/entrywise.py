"""+, -, *, / and powers of intervals, entry by entry."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from verify.intervals.array import Intervals, NotInIntervalsError, intervals
from verify.intervals.outward import (
    LESS,
    MORE,
    SMALL,
    UNIT,
    above_sum,
    below_sum,
    down,
    finite,
    nothing_below,
    regular,
    up,
)

Function = Callable[..., Any]
Number = Tensor | float


def settled(low: Tensor, high: Tensor, points: Tensor) -> Intervals:
    """Of ends of which some are NaN: NaN of what are ``points`` on the way in, else nothing is known."""
    unknown = low.isnan() | high.isnan()
    if bool(unknown.any()):
        nan = torch.full_like(low, torch.nan)
        low = torch.where(unknown, torch.where(points, nan, -torch.inf), low)
        high = torch.where(unknown, torch.where(points, nan, torch.inf), high)
    return Intervals.of(low, high)


def are_points(*operands: Intervals) -> Tensor:
    """Where all of them are single numbers, or NaN."""
    found = torch.tensor(True)
    for x in operands:
        found = found & ((x.low == x.high) | x.low.isnan())
    return found


def negative(x: Tensor) -> Intervals:
    """``-x``."""
    x = intervals(x)
    high = -x.low
    return Intervals.of(high if x.exact else -x.high, high)


def add(a: Number, b: Number, alpha: float = 1) -> Intervals:
    """``a + alpha b``."""
    a, b = intervals(a), intervals(b)
    b = b if alpha == 1 else multiply(b, alpha)
    low = a.low + b.low
    high = low if a.exact and b.exact else a.high + b.high
    if nothing_below(low, 0.0) and math.isfinite(float(high.sum())):
        return Intervals.of(low * LESS, high * MORE)
    sizes = low.abs()
    of_high = sizes if high is low else high.abs()
    if math.isfinite(float(sizes.sum()) + float(of_high.sum())):
        return Intervals.of(torch.sub(low, sizes, alpha=UNIT), torch.add(high, of_high, alpha=UNIT))
    given = (a.low.isinf() | b.low.isinf() | (low == 0)), (a.high.isinf() | b.high.isinf() | (high == 0))
    ends = torch.where(given[0], low, down(low)), torch.where(given[1], high, up(high))
    return settled(*ends, are_points(a, b))


def subtract(a: Number, b: Number, alpha: float = 1) -> Intervals:
    """``a - alpha b``."""
    b = intervals(b)
    return add(a, negative(b if alpha == 1 else multiply(b, alpha)))


def of_nothing_negative(x: Intervals) -> bool:
    """Whether no entry is below 0, or NaN."""
    return nothing_below(x.low, 0.0)


def multiply(a: Number, b: Number) -> Intervals:
    """``a b``: the least and largest product of ends; by a power of 2 it is exact."""
    if not isinstance(b, Tensor) and isinstance(a, Tensor) and (scaled := _scaled(a, b)) is not None:
        return scaled
    a, b = intervals(a), intervals(b)
    if of_nothing_negative(a) and of_nothing_negative(b):
        least = a.low * b.low
        most = least if a.exact and b.exact else a.high * b.high
        if nothing_below(least, SMALL) and math.isfinite(float(most.sum())):
            return Intervals.of(least * LESS, most * MORE)
        found = _product(a.low, b.low)[0], _product(a.high, b.high)[1]
        return _hull([found[0]], [found[1]], a, b)
    if a.exact and b.exact:
        pairs = ((a.low, b.low),)
    elif a.exact or b.exact:
        pairs = ((a.low, b.low), (a.high, b.high))
    else:
        pairs = ((a.low, b.low), (a.low, b.high), (a.high, b.low), (a.high, b.high))
    quick = _outward([x * y for x, y in pairs])
    if quick is not None:
        return quick
    ends = [_product(x, y) for x, y in pairs]
    return _hull([low for low, _ in ends], [high for _, high in ends], a, b)


def _outward(found: list[Tensor]) -> Intervals | None:
    """Around all of these rounded results, rounded outward once; None where one may have underflowed.

    Outward rounding is monotone: of the least result it is the least.
    """
    low = high = found[0]
    for other in found[1:]:
        low, high = torch.minimum(low, other), torch.maximum(high, other)
    sizes = low.abs()
    of_high = sizes if high is low else high.abs()
    if not (regular(sizes) and (high is low or regular(of_high))):
        return None
    return Intervals.of(torch.sub(low, sizes, alpha=UNIT), torch.add(high, of_high, alpha=UNIT))


def _scaled(x: Tensor, factor: float) -> Intervals | None:
    """``factor x`` of a positive power of 2, where nothing is lost below or above float64's range."""
    if not (0 < factor < math.inf and math.frexp(factor)[0] == 0.5):
        return None
    x = intervals(x)
    ends = [(x.low, x.low * factor)]
    ends += [] if x.exact else [(x.high, x.high * factor)]
    if not all(torch.equal(scaled / factor, end) for end, scaled in ends):
        return None
    return Intervals.of(ends[0][1], ends[-1][1])


def _product(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Below and above the product."""
    p = x * y
    sizes = p.abs()
    if regular(sizes):
        return torch.sub(p, sizes, alpha=UNIT), torch.add(p, sizes, alpha=UNIT)
    kept = (x == 0) | (y == 0) | x.isinf() | y.isinf()
    return torch.where(kept, p, down(p)), torch.where(kept, p, up(p))


def _hull(lows: list[Tensor], highs: list[Tensor], *operands: Intervals) -> Intervals:
    low, high = lows[0], highs[0]
    for other in lows[1:]:
        low = torch.minimum(low, other)
    for other in highs[1:]:
        high = torch.maximum(high, other)
    if finite(low) and finite(high):
        return Intervals.of(low, high)
    return settled(low, high, are_points(*operands))


def divide(a: Number, b: Number, rounding_mode: None = None) -> Intervals:
    """``a / b``; nothing is known of a quotient by an interval around 0.

    By 0 itself it is an infinity of the sign of a, and NaN of 0 / 0.
    """
    if rounding_mode is not None:
        raise NotInIntervalsError(f"a quotient rounded by {rounding_mode}")
    if isinstance(a, Tensor) and not isinstance(b, Tensor) and 2.0**-1000 < b < 2.0**1000:
        scaled = _scaled(a, 1 / b) if math.frexp(b)[0] == 0.5 else None
        if scaled is not None:
            return scaled
    a, b = intervals(a), intervals(b)
    if of_nothing_negative(a) and nothing_below(b.low, SMALL):
        least = a.low / b.high
        most = least if a.exact and b.exact else a.high / b.low
        if nothing_below(least, SMALL) and math.isfinite(float(most.sum())):
            return Intervals.of(least * LESS, most * MORE)
    if a.exact and b.exact:
        pairs = ((a.low, b.low),)
    elif of_nothing_negative(a) and of_nothing_negative(b):
        pairs = ((a.low, b.high), (a.high, b.low))
    elif b.exact or a.exact:
        pairs = ((a.low, b.low), (a.high, b.high))
    else:
        pairs = ((a.low, b.low), (a.low, b.high), (a.high, b.low), (a.high, b.high))
    ends = [_quotient(x, y) for x, y in pairs]
    found = _hull([low for low, _ in ends], [high for _, high in ends], a, b)
    around = (b.low <= 0) & (b.high >= 0)
    if not bool(around.any()):
        return found
    by_zero = (b.low == 0) & (b.high == 0)
    sign = torch.where(a.low > 0, torch.inf, torch.where(a.high < 0, -torch.inf, torch.nan))
    unknown = by_zero & sign.isnan() & ~((a.low == 0) & (a.high == 0))
    unknown = unknown | (around & ~by_zero)
    low = torch.where(around, torch.where(unknown, -torch.inf, sign), found.low)
    high = torch.where(around, torch.where(unknown, torch.inf, sign), found.high)
    nan = a.low.isnan() | b.low.isnan()
    return Intervals.of(*(torch.where(nan, torch.nan, end) for end in (low, high)))


def _quotient(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Below and above the quotient."""
    q = x / y
    sizes = q.abs()
    if regular(sizes):
        return torch.sub(q, sizes, alpha=UNIT), torch.add(q, sizes, alpha=UNIT)
    kept = (x == 0) | x.isinf() | y.isinf()
    return torch.where(kept, q, down(q)), torch.where(kept, q, up(q))


def absolute(x: Tensor) -> Intervals:
    """``|x|``."""
    x = intervals(x)
    if x.exact:
        high = x.low.abs()
        return Intervals.of(high, high)
    if of_nothing_negative(x):
        return x
    sizes = x.low.abs(), x.high.abs()
    around = (x.low <= 0) & (x.high >= 0)
    unknown = x.low.isinf() & x.high.isinf() & (x.low < x.high)
    low = torch.where(around, 0.0, torch.minimum(*sizes))
    return Intervals.of(torch.where(unknown, -torch.inf, low), torch.maximum(*sizes))


def square(x: Tensor) -> Intervals:
    """``x^2``, which is not negative."""
    size = absolute(x)
    return multiply(size, size)


def root(x: Tensor) -> Intervals:
    """``sqrt(x)`` of what x holds from 0 on; NaN of an interval below 0."""
    x = intervals(x)
    low = x.low.clamp_min(0.0).sqrt()
    high = low if x.exact else x.high.sqrt()
    if nothing_below(x.low, 0.0) and math.isfinite(float(high.sum())):
        return Intervals.of(low * LESS, high * MORE)
    infinite = x.low.isinf() & (x.low > 0)
    low = torch.where(infinite, low, below_sum(low))
    high = torch.where(high.isinf(), high, above_sum(high))
    unknown = (x.low < 0) & x.low.isinf() & x.high.isinf() & (x.high > 0)
    nan = (x.high < 0) | x.low.isnan()
    low = torch.where(nan, torch.nan, torch.where(unknown, -torch.inf, low))
    return Intervals.of(low, torch.where(nan, torch.nan, high))


def reciprocal(x: Tensor) -> Intervals:
    """``1 / x``."""
    return divide(1.0, x)


def whole_power(x: Tensor, n: int) -> Intervals:
    """``x^n`` of a whole n: increasing for odd n, of ``|x|`` for even n."""
    if n < 0:
        return reciprocal(whole_power(x, -n))
    x = intervals(x)
    if n == 2:
        return square(x)
    base = absolute(x) if n % 2 == 0 else x
    if base.exact or of_nothing_negative(base):
        return _repeated(base, n)
    low, high = (_repeated(Intervals.of(end, end), n) for end in (base.low, base.high))
    return settled(low.low, high.high, are_points(x))


def _repeated(x: Intervals, n: int) -> Intervals:
    if n == 0:
        one = torch.ones_like(x.low)
        return Intervals.of(one, one)
    half = _repeated(x, n // 2) if n > 1 else x
    if n == 1:
        return x
    twice = multiply(half, half) if not half.exact else square(half)
    return multiply(twice, x) if n % 2 else twice
