"""Arrays that torch makes of one number: intervals, so that intervals can be written into them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from verify.enclosure.evaluation import plain, shape_of
from verify.intervals.array import Intervals, intervals

Function = Callable[..., Any]


def _filled(shape: Sequence[int], value: float | Tensor) -> Intervals:
    one = intervals(value)
    low = one.low.expand(tuple(shape))
    return Intervals.of(low, low if one.exact else one.high.expand(tuple(shape)))


def full_like(x: Tensor, value: float, **_: Any) -> Intervals:
    """``torch.full_like``."""
    return _filled(shape_of(x), value)


def new_full(x: Tensor, size: Sequence[int], fill_value: float, **_: Any) -> Intervals:
    """``x.new_full``."""
    return _filled(tuple(size), fill_value)


def _size(size: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(size[0]) if size and not isinstance(size[0], int) else tuple(size)


def created(func: Function, value: float) -> Function:
    """``torch.zeros`` and its like, which give intervals."""

    def found(*size: Any, dtype: torch.dtype | None = None, **kwargs: Any) -> Tensor:
        if dtype is not None and not dtype.is_floating_point:
            return plain(func, size, {"dtype": dtype, **kwargs})
        return _filled(_size(size if size else kwargs.get("size", size)), value)

    return found


def like(func: Function, value: float) -> Function:
    """``torch.zeros_like`` and its like."""

    def found(x: Tensor, dtype: torch.dtype | None = None, **kwargs: Any) -> Tensor:
        wanted = plain(lambda: x.dtype, (), {}) if dtype is None else dtype
        if not wanted.is_floating_point:
            return plain(func, (x,), {"dtype": dtype, **kwargs})
        return _filled(shape_of(x), value)

    return found


def new(value: float) -> Function:
    """``x.new_zeros`` and its like."""

    def found(x: Tensor, *size: Any, dtype: torch.dtype | None = None, **kwargs: Any) -> Tensor:
        if dtype is not None and not dtype.is_floating_point:
            return plain(Tensor.new_zeros, (x, *size), {"dtype": dtype, **kwargs})
        return _filled(_size(size), value)

    return found


def placed(x: Tensor, at: Any, value: Any) -> None:
    """``x[at] = value``.

    Raises:
        TypeError: x is an ordinary tensor, which cannot hold intervals.
    """
    if not isinstance(x, Intervals):
        raise TypeError("intervals are written into an ordinary tensor; make it with new_zeros or zeros_like")
    given = intervals(value)
    ends = x.low.clone(), x.high.clone()
    for end, part in zip(ends, (given.low, given.high), strict=True):
        end[at] = part
    x.low, x.high = ends
