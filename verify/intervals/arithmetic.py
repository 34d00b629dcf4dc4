"""Within ``interval_arithmetic()`` every torch formula is evaluated in intervals: no rounding is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from verify.enclosure.evaluation import FormulaMode
from verify.intervals.functions import INTERVALS

_MODE = FormulaMode(INTERVALS)


@contextmanager
def interval_arithmetic() -> Iterator[None]:
    """Torch formulas in intervals of float64."""
    with _MODE:
        yield
