"""The options of the spectral check as one checked value."""

from __future__ import annotations

from dataclasses import dataclass

from console.errors import BadInputError
from constructions.spectral.stream import ReadIn
from verify.em.own_data import DataOptions

ESTIMATED = "estimated"
UNRESOLVED = (
    "the data do not show that the means are linearly independent about the origin; "
    "the estimate may be far off (the baseline marks it unresolved)"
)
"""Said of an estimate of which baselines.spectral_sampling says so."""


@dataclass(frozen=True)
class Options(DataOptions):
    """What the command line asked for, checked. None stands for "choose for me"; steps are of the power
    iteration."""

    dims: list[int] | None
    components: list[int] | None
    samples: list[int] | None
    read_in: ReadIn
    variance: float | None
    rounds: int
    starts: int
    pieces: int


def variance_named(text: str) -> float | None:
    """A number above 0, or None for "estimated".

    Raises:
        BadInputError: something else.
    """
    if text == ESTIMATED:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise BadInputError(f"--variance {text}: a number above 0 is needed, or {ESTIMATED}")
    return value


def read_in_named(text: str) -> ReadIn:
    """One of the two.

    Raises:
        BadInputError: another name.
    """
    if text == "products":
        return "products"
    if text == "squares":
        return "squares"
    raise BadInputError(f"--read-in {text}: it is products or squares")
