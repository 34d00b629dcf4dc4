"""An array of intervals that torch takes for a tensor: ``low <= x <= high`` entry by entry, in float64.

An entry of which nothing is known is [-inf, inf], and may be NaN as well; one that is NaN for certain has NaN
ends. [a, inf] may be a finite number that float64 cannot hold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from verify.enclosure.evaluation import nothing_of
from verify.enclosure.refusals import NotEnclosedError

LARGEST_WHOLE = 2**53
"""Whole numbers up to it are exact in float64."""


class NotInIntervalsError(NotEnclosedError):
    """A torch function that has no evaluation in intervals."""


class Intervals(Tensor):
    """A float64 tensor in shape, of which ``low`` and ``high`` are the ends; one tensor where they are equal.

    The tensor beneath holds NaN: what would read it in place of the ends reads nothing.
    """

    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, low: Tensor, high: Tensor) -> Intervals:
        """Intervals of these ends, ordinary float64 tensors of one shape."""
        with torch._C.DisableTorchFunction():
            made = Tensor._make_subclass(cls, nothing_of(low.shape))
        made.low, made.high = low, high
        return made

    @property
    def exact(self) -> bool:
        """Whether the ends are known to be the same."""
        return self.low is self.high

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Outside of verify.intervals.arithmetic too, operations are those of intervals."""
        from verify.intervals.functions import INTERVALS

        return INTERVALS.evaluated(func, args, kwargs or {})

    def __repr__(self, **_: Any) -> str:
        low, high = (end.flatten()[:6].tolist() for end in (self.low, self.high))
        return f"Intervals({tuple(self.low.shape)}: {low} to {high})"


def intervals(x: Tensor | float | Fraction) -> Intervals:
    """The same numbers as intervals; of a number that float64 does not hold, its neighbours.

    Raises:
        NotInIntervalsError: whole numbers in a tensor that float64 does not hold.
    """
    if isinstance(x, Intervals):
        return x
    if isinstance(x, Tensor):
        with torch._C.DisableTorchFunction():
            given = x.detach()
            whole = not given.dtype.is_floating_point and given.dtype != torch.bool
            if whole and given.numel() and int(given.abs().max()) > LARGEST_WHOLE:
                raise NotInIntervalsError(
                    f"whole numbers up to {int(given.abs().max())} are not all in float64"
                )
            same = given.to(torch.float64)
        return Intervals.of(same, same)
    low, high = (torch.tensor(end, dtype=torch.float64) for end in ends_of(x))
    return Intervals.of(low, low if float(low) == float(high) else high)


def ends_of(x: float | Fraction) -> tuple[float, float]:
    """The nearest floats on both sides of a number."""
    near = float(x)
    if isinstance(x, float) or not math.isfinite(near) or near == x:
        return near, near
    other = math.nextafter(near, math.inf if Fraction(near) < x else -math.inf)
    return min(near, other), max(near, other)


def moved(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """A function that moves entries: of the lower ends and of the upper ends. Ordinary tensors stay ordinary.

    Raises:
        NotInIntervalsError: padding by anything but 0.
    """
    if func.__name__ == "pad" and (kwargs.get("value") or (args[3:] and args[3])):
        raise NotInIntervalsError(f"padding by {kwargs.get('value', args[3:])}; intervals are padded by 0")
    found: list[Intervals] = []
    ends = _side(tuple(args), "low", found), _side(kwargs, "low", found)
    with torch._C.DisableTorchFunction():
        low = func(*ends[0], **ends[1])
        low = list(low) if func.__name__ in ("__iter__", "unbind") else low
        if not found:
            return iter(low) if func.__name__ == "__iter__" else low
        if all(one.exact for one in found):
            both = _joined(low, low)
        else:
            other = _side(tuple(args), "high", found), _side(kwargs, "high", found)
            high = func(*other[0], **other[1])
            both = _joined(low, list(high) if isinstance(low, list) else high)
    return iter(both) if func.__name__ == "__iter__" else both


def _side(value: Any, end: str, found: list[Intervals]) -> Any:
    """The value with ends in place of intervals; floats of other dtypes beside them become float64."""
    if isinstance(value, Intervals):
        found.append(value)
        return getattr(value, end)
    if isinstance(value, (tuple, list)):
        return type(value)([_side(each, end, found) for each in value])
    if isinstance(value, dict):
        return {name: _side(each, end, found) for name, each in value.items()}
    return value


def _joined(low: Any, high: Any) -> Any:
    if isinstance(low, Tensor):
        return Intervals.of(low, low if low is high else high)
    return type(low)([_joined(a, b) for a, b in zip(low, high, strict=True)])
