"""Certificates as results have them, who gets one, and whether they can be made here.

They need python-flint, which is an extra. What makes them is verify.certify, which imports it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Annotated, Literal

from console.errors import BadInputError
from console.extras import missing
from console.typed_json import Absent

SMALL = 5000
"""Numbers times steps up to which a task is certified without being asked for: a second or two of it."""


@dataclass(frozen=True)
class Certificate:
    """Of a record, decided in ball arithmetic.

    Attributes:
        verdict: broken where it is in one task, else unknown where it is in one.
        error, bound: intervals that hold the error of the floating-point run against the exact algorithm, and
            its bound, of the item with the least margin. bits: of the balls that decided it.
        tasks: the first so many of the record's.
        approximation: holds the largest error of the weights' own function, in real arithmetic; left out
            where it was not asked for.
    """

    verdict: Literal["held", "broken", "unknown"]
    error: tuple[float, float]
    bound: tuple[float, float]
    bits: int
    tasks: int
    approximation: Annotated[tuple[float, float] | None, Absent()] = None


def can_certify() -> bool:
    """Whether python-flint is installed."""
    return find_spec("flint") is not None


def check_certificates(asked: Iterable[str]) -> None:
    """Refuse what needs them, each named as it was asked for, where they cannot be made.

    Raises:
        BadInputError: python-flint is not installed.
    """
    for name in asked:
        if not can_certify():
            raise BadInputError(missing(name, "certify"))


def tasks_certified(certify: bool | None, tasks: int, numbers: int, steps: int) -> int:
    """How many of a record's tasks get a certificate.

    Args:
        certify: as asked for: all, none, or, where nothing was said, the first one of a small record.
        numbers: that a step of a task works on.
    """
    if certify is None:
        return 1 if can_certify() and numbers * steps <= SMALL else 0
    return tasks if certify else 0


def broken_in(certificate: Certificate | None) -> int:
    """1 for a bound that is broken for certain."""
    return int(certificate is not None and certificate.verdict == "broken")


def summary(made: Sequence[Certificate]) -> str:
    """A line for the terminal."""
    if not made:
        return "certified: nothing; --certify does it for records of any size"
    held, broken, unknown = (sum(one.verdict == v for one in made) for v in ("held", "broken", "unknown"))
    counts = f"{len(made)} records, {held} held, {broken} broken, {unknown} unknown"
    return f"certified in ball arithmetic: {counts}"
