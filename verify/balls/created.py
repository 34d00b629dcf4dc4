"""Arrays that torch makes of one number: balls from the start, so that balls can be written into them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from verify.balls.array import Balls, plain, shape_of
from verify.balls.flint import arb

Function = Callable[..., Any]


def full_like(x: Tensor, value: float, **_: Any) -> Balls:
    """``torch.full_like``."""
    return _filled(shape_of(x), arb(value))


def new_full(x: Tensor, size: Sequence[int], fill_value: float, **_: Any) -> Balls:
    """``x.new_full``."""
    return _filled(tuple(size), arb(fill_value))


def _filled(shape: Sequence[int], value: arb) -> Balls:
    return Balls.of([value] * math.prod(shape), tuple(shape))


def _size(size: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(size[0]) if size and not isinstance(size[0], int) else tuple(size)


def created(func: Function, value: arb) -> Function:
    """``torch.zeros`` and its like, which give balls."""

    def found(*size: Any, dtype: torch.dtype | None = None, **kwargs: Any) -> Tensor:
        if dtype is not None and not dtype.is_floating_point:
            return plain(func, size, {"dtype": dtype, **kwargs})
        return _filled(_size(size if size else kwargs.get("size", size)), value)

    return found


def like(func: Function, value: arb) -> Function:
    """``torch.zeros_like`` and its like."""

    def found(x: Tensor, dtype: torch.dtype | None = None, **kwargs: Any) -> Tensor:
        like = plain(lambda: x.dtype, (), {}) if dtype is None else dtype
        if not like.is_floating_point:
            return plain(func, (x,), {"dtype": dtype, **kwargs})
        return _filled(shape_of(x), value)

    return found


def new(value: arb) -> Function:
    """``x.new_zeros`` and its like."""

    def found(x: Tensor, *size: Any, dtype: torch.dtype | None = None, **kwargs: Any) -> Tensor:
        if dtype is not None and not dtype.is_floating_point:
            return plain(Tensor.new_zeros, (x, *size), {"dtype": dtype, **kwargs})
        return _filled(_size(size), value)

    return found
