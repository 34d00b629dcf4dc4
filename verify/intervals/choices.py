"""Comparisons of intervals, extremes, choices, casts; and what an interval refuses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from verify.enclosure.evaluation import plain
from verify.enclosure.refusals import Undecided
from verify.intervals.array import Intervals, NotInIntervalsError, intervals
from verify.intervals.entrywise import Number, settled, subtract
from verify.intervals.outward import finite

Function = Callable[..., Any]


def decided(yes: Tensor, no: Tensor) -> Tensor:
    """``yes``, which is the answer where one of the two is True.

    Raises:
        Undecided: at an entry neither is.
    """
    if not bool((yes | no).all()):
        raise Undecided(f"{int((~(yes | no)).sum())} of {yes.numel()} comparisons of intervals that overlap")
    return yes


def _not_a_number(a: Intervals, b: Intervals) -> Tensor:
    return a.low.isnan() | b.low.isnan()


def less(a: Number, b: Number) -> Tensor:
    """``a < b``; False of NaN."""
    a, b = intervals(a), intervals(b)
    return decided(a.high < b.low, (a.low >= b.high) | _not_a_number(a, b))


def no_more(a: Number, b: Number) -> Tensor:
    """``a <= b``, likewise."""
    a, b = intervals(a), intervals(b)
    return decided(a.high <= b.low, (a.low > b.high) | _not_a_number(a, b))


def same(a: Number, b: Number) -> Tensor:
    """``a == b``, likewise."""
    a, b = intervals(a), intervals(b)
    yes = (a.low == b.high) & (a.high == b.low)
    return decided(yes, (a.high < b.low) | (a.low > b.high) | _not_a_number(a, b))


def is_finite(x: Tensor) -> Tensor:
    """Whether both ends are: False where a number may be beyond float64."""
    x = intervals(x)
    return x.low.isfinite() & x.high.isfinite()


def is_nan(x: Tensor) -> Tensor:
    """Whether it is no number; undecided where nothing is known."""
    x = intervals(x)
    return decided(x.low.isnan(), ~((x.low == -math.inf) & (x.high == math.inf)) & ~x.low.isnan())


def is_infinite(x: Tensor) -> Tensor:
    """Whether it is infinite; undecided where it may be, or be a number that float64 does not hold."""
    x = intervals(x)
    return decided((x.low == x.high) & x.low.isinf(), is_finite(x) | x.low.isnan())


def larger(a: Number, b: Number) -> Intervals:
    """The larger one; NaN where one is NaN, unknown where one is."""
    a, b = intervals(a), intervals(b)
    low = torch.maximum(a.low, b.low)
    high = low if a.exact and b.exact else torch.maximum(a.high, b.high)
    return _with_unknown(low, high, a, b)


def smaller(a: Number, b: Number) -> Intervals:
    """The smaller one, likewise."""
    a, b = intervals(a), intervals(b)
    low = torch.minimum(a.low, b.low)
    high = low if a.exact and b.exact else torch.minimum(a.high, b.high)
    return _with_unknown(low, high, a, b)


def _with_unknown(low: Tensor, high: Tensor, *operands: Intervals) -> Intervals:
    if low is high or all(finite(x.low) or finite(x.high) for x in operands):
        return Intervals.of(low, high)
    for x in operands:
        unknown = (x.low == -math.inf) & (x.high == math.inf)
        low, high = torch.where(unknown, -math.inf, low), torch.where(unknown, math.inf, high)
    return settled(low, high, torch.tensor(True))


def clamped(x: Tensor, min: Any = None, max: Any = None) -> Intervals:  # noqa: A002 - torch's names
    """``x.clamp(min, max)``."""
    found = intervals(x)
    found = found if min is None else larger(found, min)
    return found if max is None else smaller(found, max)


def extreme(which: str, dim: Any = None, keepdim: bool = False) -> Callable[[Tensor], Intervals]:
    """``amax`` or ``amin`` along ``dim``, all dimensions where it is None."""

    def found(x: Tensor) -> Intervals:
        x = intervals(x)
        named = tuple(range(x.low.dim())) if dim is None else dim
        function = torch.amax if which == "max" else torch.amin
        low = function(x.low, named, keepdim)
        if x.exact:
            return Intervals.of(low, low)
        high = function(x.high, named, keepdim)
        if finite(x.low) or finite(x.high):
            return Intervals.of(low, high)
        unknown = ((x.low == -math.inf) & (x.high == math.inf)).to(torch.float64)
        unknown = torch.amax(unknown, named, keepdim) > 0
        return Intervals.of(torch.where(unknown, -math.inf, low), torch.where(unknown, math.inf, high))

    return found


def chosen(condition: Tensor, a: Any = None, b: Any = None) -> Any:
    """``torch.where``."""
    if a is None:
        return plain(torch.where, (condition,), {})
    a, b = intervals(a), intervals(b)
    low = torch.where(condition, a.low, b.low)
    return Intervals.of(low, low if a.exact and b.exact else torch.where(condition, a.high, b.high))


def filled_where(x: Tensor, mask: Tensor, value: Any) -> Intervals:
    """``x.masked_fill``."""
    return chosen(mask, value, x)


def without_nan(x: Tensor, nan: float = 0.0, posinf: Any = None, neginf: Any = None) -> Intervals:
    """``x.nan_to_num`` to infinity."""
    if nan != math.inf or posinf not in (None, math.inf) or neginf is not None:
        raise NotInIntervalsError(f"nan_to_num to {nan}: only inf, of which nothing is claimed, is known")
    x = intervals(x)
    return chosen(is_finite(x), x, math.inf)


def cast(x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """``x.to``; intervals stay float64."""
    wanted = next((a for a in (*args, *kwargs.values()) if isinstance(a, torch.dtype)), None)
    if not isinstance(x, Intervals):
        return plain(Tensor.to, (x, *args), kwargs)
    if wanted in (None, torch.float64):
        return x
    raise NotInIntervalsError(f"intervals cannot be made {wanted}")


def double(x: Tensor) -> Any:
    """``x.double()``."""
    return x if isinstance(x, Intervals) else plain(Tensor.double, (x,), {})


def leaves(x: Tensor, *_: Any, **__: Any) -> Any:
    """What would make a Python number or another dtype of an interval."""
    raise NotInIntervalsError("an interval is no Python number; say above, below or approximately first")


def ceiling(x: Tensor) -> Intervals:
    """``x.ceil()``, of the ends: it does not decrease."""
    x = intervals(x)
    return Intervals.of(x.low.ceil(), x.high.ceil())


def some(x: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """``x.any``."""
    return plain(torch.any, (~same(x, 0.0), *(() if dim is None else (dim, keepdim))), {})


def every(x: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """``x.all``."""
    return plain(torch.all, (~same(x, 0.0), *(() if dim is None else (dim, keepdim))), {})


def rounded_difference(x: Tensor, c: float, dtype: torch.dtype) -> Intervals:
    """Rounding is monotone: ``fl(low - c) <= fl(x - c) <= fl(high - c)``, in float64 as the hardware rounds.

    In a shorter dtype the difference is rounded twice, so its ends go outward before the second time.
    """
    x = intervals(x)
    if dtype == torch.float64:
        return Intervals.of(x.low - c, x.high - c)
    difference = subtract(x, c)
    return Intervals.of(
        difference.low.to(dtype).to(torch.float64), difference.high.to(dtype).to(torch.float64)
    )


def upper_ends(x: Tensor) -> Tensor:
    """Floats at least the numbers that the intervals hold; inf where nothing is known."""
    x = intervals(x)
    return torch.where(x.high.isnan(), math.inf, x.high)


def lower_ends(x: Tensor) -> Tensor:
    """Floats at most the numbers that the intervals hold; -inf where nothing is known."""
    x = intervals(x)
    return torch.where(x.low.isnan(), -math.inf, x.low)


def middles(x: Tensor) -> Tensor:
    """Floats within the intervals; an end that is finite, or 0, where the other is not."""
    x = intervals(x)
    middle = x.low / 2 + x.high / 2
    ends = torch.where(x.low.isfinite(), x.low, torch.where(x.high.isfinite(), x.high, 0.0))
    return torch.where(middle.isfinite(), middle, torch.where(x.low == x.high, x.low, ends))


def by_order(func: Function) -> Function:
    """argsort, argmax or argmin, where the order along the dimension is decided.

    Ordered by the lower ends, each upper end must be below the next lower one, or both be one number.
    """

    def found(x: Tensor, dim: Any = None, *args: Any, **kwargs: Any) -> Any:
        x = intervals(x)
        dim = -1 if dim is None and func is Tensor.argsort else dim
        low, high, along = (x.low.flatten(), x.high.flatten(), -1) if dim is None else (x.low, x.high, dim)
        order = low.argsort(along)
        ranked = low.gather(along, order), high.gather(along, order)
        length = low.shape[along] - 1
        next_low, this_high = ranked[0].narrow(along, 1, length), ranked[1].narrow(along, 0, length)
        this_low, next_high = ranked[0].narrow(along, 0, length), ranked[1].narrow(along, 1, length)
        equal = (this_low == next_high) & (this_high == next_low)
        decided((this_high < next_low) | equal, torch.zeros_like(equal))
        return plain(func, (x.low, *(() if dim is None else (dim,)), *args), kwargs)

    return found
