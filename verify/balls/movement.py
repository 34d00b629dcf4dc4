"""Functions that only move, repeat or leave out entries: done on the entries' numbers, and then to balls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from verify.balls.array import Balls, Entries, NotInBallsError, balls, entries_of, shape_of, spread
from verify.balls.numbers import ZERO


def moved(func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """The function of balls; of ordinary tensors alone it is torch's own. A zero filled in is number 0."""
    pool: Entries = [ZERO]

    def entered(value: Any) -> Any:
        if isinstance(value, Tensor):
            with torch._C.DisableTorchFunction():
                if not value.dtype.is_floating_point:
                    return value
                start = len(pool)
                shape = value.shape
            pool.extend(entries_of(value))
            with torch._C.DisableTorchFunction():
                return torch.arange(start, len(pool)).reshape(shape)
        if isinstance(value, (tuple, list)):
            return type(value)(map(entered, value))
        return value

    if not _holds_balls((args, kwargs)):
        with torch._C.DisableTorchFunction():
            return func(*args, **kwargs)
    if func.__name__ == "pad" and (kwargs.get("value") or (args[3:] and args[3])):
        raise NotInBallsError(f"padding by {kwargs.get('value', args[3:])}; balls are padded by 0")
    indices, named = entered(tuple(args)), {name: entered(value) for name, value in kwargs.items()}
    with torch._C.DisableTorchFunction():
        found = func(*indices, **named)

    def taken(value: Any) -> Any:
        if isinstance(value, Tensor):
            with torch._C.DisableTorchFunction():
                at, shape = value.reshape(-1).tolist(), tuple(value.shape)
            return Balls.of([pool[i] for i in at], shape)
        return type(value)(map(taken, value)) if isinstance(value, (tuple, list)) else iter(map(taken, value))

    return taken(found)


def _holds_balls(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_balls, value.values()))
    if isinstance(value, (tuple, list)):
        return any(map(_holds_balls, value))
    return isinstance(value, Balls)


def placed(x: Tensor, at: Any, value: Any) -> None:
    """``x[at] = value``.

    Raises:
        TypeError: x is an ordinary tensor, which cannot hold balls.
    """
    if not isinstance(x, Balls):
        raise TypeError("balls are written into an ordinary tensor; make it with new_zeros or zeros_like")
    with torch._C.DisableTorchFunction():
        places = torch.arange(len(x.entries)).reshape(x.shape)[at]
        shape, where = tuple(places.shape), places.reshape(-1).tolist()
    given = balls(value)
    entries = list(x.entries)
    for place, entry in zip(where, spread(given.entries, shape_of(given), shape), strict=True):
        entries[place] = entry
    x.entries = entries
