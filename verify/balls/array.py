"""An array of balls that torch takes for a tensor: its shape is a tensor's, its entries are balls."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from verify.balls.flint import arb, fmpq
from verify.balls.numbers import ends
from verify.enclosure.evaluation import nothing_of, plain, shape_of
from verify.enclosure.refusals import NotEnclosedError

__all__ = ["Balls", "Entries", "NotInBallsError", "balls", "entries_of", "plain", "shape_of"]

Entries = list[arb]


class NotInBallsError(NotEnclosedError):
    """A torch function that has no evaluation in balls."""


class Balls(Tensor):
    """A float64 tensor in shape; entry by entry, in row-major order, ``entries`` holds the balls.

    The tensor beneath holds NaN: what would read it in place of the balls reads nothing.
    """

    entries: Entries

    @classmethod
    def of(cls, entries: Entries, shape: Sequence[int]) -> Balls:
        """Balls in that shape."""
        with torch._C.DisableTorchFunction():
            made = Tensor._make_subclass(cls, nothing_of(tuple(shape)))
        made.entries = entries
        return made

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Outside of :func:`verify.balls.arithmetic.ball_arithmetic` too, operations are those of balls."""
        from verify.balls.functions import BALLS

        return BALLS.evaluated(func, args, kwargs or {})

    def __repr__(self, **_: Any) -> str:
        shown = ", ".join(str(x) for x in self.entries[:6]) + (", ..." if len(self.entries) > 6 else "")
        return f"Balls({tuple(shape_of(self))}: {shown})"


def one_task(states: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, Balls]:
    """Object arrays of balls, with a leading dimension of one task."""
    return {name: Balls.of(x.reshape(-1).tolist(), (1, *x.shape)) for name, x in states.items()}


def entries_of(x: Tensor) -> Entries:
    """The balls of an array; exact ones of an ordinary tensor, whose numbers are dyadic."""
    if isinstance(x, Balls):
        return x.entries
    with torch._C.DisableTorchFunction():
        known: dict[float, arb] = {}
        return [
            known[v] if v in known else known.setdefault(v, arb(v)) for v in x.detach().reshape(-1).tolist()
        ]


def balls(x: Tensor | float | Fraction) -> Balls:
    """The same numbers as balls."""
    if isinstance(x, Balls):
        return x
    if isinstance(x, Tensor):
        return Balls.of(entries_of(x), shape_of(x))
    if isinstance(x, Fraction):
        return Balls.of([arb(fmpq(x.numerator, x.denominator))], ())
    return Balls.of([x if isinstance(x, arb) else arb(x)], ())


def broadcast(*arrays: Tensor | float) -> tuple[list[Entries], tuple[int, ...]]:
    """Entries of the arrays in their common shape."""
    parts = [balls(array) for array in arrays]
    shapes = [shape_of(part) for part in parts]
    first = shapes[0]
    if all(shape == first for shape in shapes):
        return [part.entries for part in parts], first
    shape = np.broadcast_shapes(*shapes)
    return [spread(part.entries, own, shape) for part, own in zip(parts, shapes, strict=True)], shape


def spread(entries: list[Any], own: tuple[int, ...], shape: tuple[int, ...]) -> list[Any]:
    """Entries of shape ``own`` repeated to ``shape``."""
    if own == shape:
        return entries
    if len(entries) == 1:
        return entries * math.prod(shape)
    return [entries[i] for i in _spread(own, shape)]


@functools.lru_cache(maxsize=4096)
def _spread(own: tuple[int, ...], shape: tuple[int, ...]) -> list[int]:
    return np.broadcast_to(np.arange(math.prod(own)).reshape(own), shape).ravel().tolist()


Shape = tuple[int, ...]


def rows(x: Tensor, dim: int | Sequence[int] | None) -> tuple[list[Entries], Shape, Shape]:
    """The entries along ``dim`` (all where it is None), the shape that is left, and that with ones kept."""
    entries = entries_of(x)
    lines, left, ones = _rows(shape_of(x), dim if dim is None or isinstance(dim, int) else tuple(dim))
    return [[entries[i] for i in line] for line in lines], left, ones


@functools.lru_cache(maxsize=4096)
def _rows(shape: Shape, dim: int | Shape | None) -> tuple[list[list[int]], Shape, Shape]:
    named = tuple(range(len(shape))) if dim is None else (dim,) if isinstance(dim, int) else dim
    axes = [axis % len(shape) for axis in named] if shape else []
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    left = tuple(shape[axis] for axis in kept)
    ones = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    numbers = np.arange(math.prod(shape)).reshape(shape).transpose(*kept, *axes)
    along = math.prod(shape[axis] for axis in axes)
    return numbers.reshape(math.prod(left), along).tolist(), left, ones


def lower_ends(x: Tensor) -> Tensor:
    """Floats at most the numbers that the balls hold."""
    return _ends(x, 0)


def upper_ends(x: Tensor) -> Tensor:
    """Floats at least the numbers that the balls hold."""
    return _ends(x, 1)


def _ends(x: Tensor, which: int) -> Tensor:
    found = [ends(entry)[which] for entry in entries_of(x)]
    with torch._C.DisableTorchFunction():
        return torch.tensor(found, dtype=torch.float64).reshape(shape_of(x))


def middles(x: Tensor) -> Tensor:
    """Floats near the midpoints, which may be anything where a ball says nothing."""
    found = [float(entry.mid()) for entry in entries_of(x)]
    with torch._C.DisableTorchFunction():
        return torch.tensor(found, dtype=torch.float64).reshape(shape_of(x))
