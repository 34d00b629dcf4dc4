"""Numbers, intervals and lists as text for tables and sentences."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from console.output import significant

DASH = "-"


class Interval(NamedTuple):
    """A value with the ends of its 95 % interval; NaN where there is none."""

    value: float
    low: float
    high: float


class CountedInterval(NamedTuple):
    """The same with the number of tasks that it is about."""

    value: float
    low: float
    high: float
    tasks: int


UNKNOWN = Interval(math.nan, math.nan, math.nan)


def number(value: float, digits: int = 3) -> str:
    """As console.output.significant with three digits: a dash where there is none."""
    return significant(value, digits)


def interval(found: Interval) -> str:
    """As in "0.12 (0.10 to 0.14)"."""
    if not math.isfinite(found.value):
        return DASH
    if not math.isfinite(found.low) and not math.isfinite(found.high):
        return number(found.value)
    return f"{number(found.value)} ({number(found.low)} to {number(found.high)})"


def fixed(value: float) -> str:
    """Two decimals; a dash where there is none."""
    return f"{value:.2f}" if math.isfinite(value) else DASH


def bracket(value: float, low: float, high: float, text: Callable[[float], str] = fixed) -> str:
    """As in "0.12 [0.10, 0.14]"."""
    return f"{text(value)} [{text(low)}, {text(high)}]" if math.isfinite(value) else DASH


def percent(share: Interval | CountedInterval | float) -> str:
    """As in "12 % (10 to 14)", or "12 %" of a number alone."""
    value, low, high, *_ = (share, math.nan, math.nan) if isinstance(share, float | int) else share
    if not math.isfinite(value):
        return DASH
    if not math.isfinite(low) or not math.isfinite(high):
        return f"{_points(value)} %"
    return f"{_points(value)} % ({_points(low)} to {_points(high)})"


def _points(share: float) -> str:
    """Percent, with a decimal below 10 unless it is 0."""
    return f"{100 * share:.1f}" if 0.0005 <= share < 0.0995 else f"{100 * share:.0f}"


def listed(names: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
