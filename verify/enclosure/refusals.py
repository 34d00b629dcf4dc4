"""What an evaluation that encloses every rounding cannot say."""

from __future__ import annotations


class Undecided(ArithmeticError):  # noqa: N818 - a state of knowledge, not a fault
    """Two enclosures overlap, so that a comparison of what they hold has no answer at this precision."""


class NotEnclosedError(NotImplementedError):
    """A torch function that has no evaluation in this arithmetic."""
