"""Within ``ball_arithmetic(bits)`` every torch formula is evaluated in balls: no rounding is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from verify.balls.flint import precision
from verify.balls.functions import BALLS
from verify.enclosure.evaluation import FormulaMode

_AT: dict[int, FormulaMode] = {}


@contextmanager
def ball_arithmetic(bits: int) -> Iterator[None]:
    """Torch formulas in balls of ``bits`` bits."""
    with precision(bits), _AT.setdefault(bits, FormulaMode(BALLS)):
        yield
