"""A bound as it is printed: its formula's upper end in intervals, or float64's value, and which it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, TypeVar

from verify.enclosure.refusals import NotEnclosedError, Undecided
from verify.intervals.arithmetic import interval_arithmetic
from verify.intervals.array import Intervals
from verify.intervals.choices import upper_ends

Made = TypeVar("Made")

Evaluated = Literal["rounded up", "float64"]
"""How a bound's formula was evaluated: its value is at least the real one, or is what float64 makes of it."""


def rounded_up(compute: Callable[[], Made]) -> tuple[Made, Evaluated]:
    """What ``compute`` makes in torch, with floats at least the real numbers in place of all that it bounds.

    Where a comparison is not decided in intervals, or a function is not known there, it is float64's.
    """
    try:
        with interval_arithmetic():
            found = compute()
    except (NotEnclosedError, Undecided):
        return compute(), "float64"
    return with_upper_ends(found), "rounded up"


def with_upper_ends(value: Any) -> Any:
    """Upper ends in place of intervals, in dataclasses, dicts, lists and tuples too; ordinary values stay."""
    if isinstance(value, Intervals):
        return upper_ends(value)
    known: dict[str, Any] = getattr(value, "__dataclass_fields__", {})
    if known and not isinstance(value, type):
        parts = {name: getattr(value, name) for name, field in known.items() if field.init}
        changed = {name: with_upper_ends(part) for name, part in parts.items()}
        same = all(changed[name] is part for name, part in parts.items())
        return value if same else replace(value, **changed)
    if isinstance(value, dict):
        return {name: with_upper_ends(part) for name, part in value.items()}
    if isinstance(value, list):
        return [with_upper_ends(part) for part in value]
    if type(value) is tuple:
        return tuple(with_upper_ends(part) for part in value)
    return value


def worse(*all_of: Evaluated) -> Evaluated:
    """What can be said of numbers made of several."""
    return "float64" if "float64" in all_of else "rounded up"
