"""The order of balls, where it is decided."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from verify.balls import numbers
from verify.balls.array import entries_of, plain, shape_of
from verify.balls.flint import arb

Function = Callable[..., Any]


def sort_key(x: Tensor) -> Tensor:
    """Floats in the same order, where the order is decided."""
    entries = entries_of(x)
    order = sorted(
        range(len(entries)), key=functools.cmp_to_key(lambda i, j: _compared(entries[i], entries[j]))
    )
    key = [0.0] * len(entries)
    place = 0.0
    for i, j in zip(order, [None, *order], strict=False):
        place += 0.0 if j is not None and entries[i].is_exact() and bool(entries[i] == entries[j]) else 1.0
        key[i] = place
    with torch._C.DisableTorchFunction():
        return torch.tensor(key, dtype=torch.float64).reshape(shape_of(x))


def _compared(a: arb, b: arb) -> int:
    """-1, 0 or 1 by their order; 0 of exact balls of one number alone.

    Raises:
        Undecided: the balls overlap.
    """
    return -1 if numbers.less(a, b) else int(numbers.less(b, a))


def by_key(func: Function) -> Function:
    """A function of the order alone."""

    def found(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        return plain(func, (sort_key(x), *args), kwargs)

    return found
