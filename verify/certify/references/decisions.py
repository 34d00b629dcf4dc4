"""Comparisons that are decided or refused, float64's constants, and arrays of balls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from verify.balls.flint import Undecided, arb

Vector = list[arb]
Balls = np.ndarray[Any, Any]
"""An object array of arb."""

ROUNDOFF = arb(2.0**-53)
TINY, HUGE = arb(np.finfo(np.float64).tiny.item()), arb(np.finfo(np.float64).max.item())
"""Of float64: unit roundoff, smallest normal number, largest number."""


def above(a: arb, b: arb) -> bool:
    """Whether ``a > b`` for all numbers of both balls.

    Raises:
        Undecided: it holds for some only.
    """
    if a > b:
        return True
    if a <= b:
        return False
    raise Undecided(f"{a} > {b}")


def dot(x: Sequence[arb], y: Sequence[arb]) -> arb:
    """``sum_i x_i y_i``; exact zeros stay exact."""
    return sum((a * b for a, b in zip(x, y, strict=True)), arb(0))


def balls(values: object) -> Any:
    """A nested list of floats as one of exact balls."""
    return [balls(value) for value in values] if isinstance(values, list) else arb(values)  # pyright: ignore[reportArgumentType]


def path_array(states: Sequence[Any], length: int, shape: tuple[int, ...]) -> Balls:
    """(length, *shape): states, each a nested list of balls of this shape, then NaN."""
    flat = list(states)
    for _ in shape:
        flat = [value for part in flat for value in part]
    whole = np.full((length, *shape), arb("nan"), dtype=object)
    whole.reshape(-1)[: len(flat)] = flat
    return whole
