"""Numbers, intervals and lists as text for tables and sentences."""

from __future__ import annotations

from collections.abc import Sequence

from console.output import significant

DASH = "-"


def number(value: float | None, digits: int = 3) -> str:
    """As console.output.significant with three digits: a dash where there is none."""
    return significant(value, digits)


def interval(values: Sequence[float | None]) -> str:
    """[value, low, high] as "0.12 (0.10 to 0.14)"."""
    value, low, high = values
    if value is None:
        return DASH
    if low is None and high is None:
        return number(value)
    return f"{number(value)} ({number(low)} to {number(high)})"


def percent(values: Sequence[float | None]) -> str:
    """[share, low, high] as "12 % (10 to 14)"."""
    value, low, high = values
    if value is None:
        return DASH
    if low is None or high is None:
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
