"""Ends of an interval are rounded outward, whatever their size."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.output import interval, outward, told_apart


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(1, 8))
def test_what_is_printed_is_outward_and_near(value: float, digits: int) -> None:
    low, high = (Fraction(outward(value, up, digits)) for up in (False, True))
    assert low <= Fraction(value) <= high
    # Each is the next number of so many digits: 10^(1 - digits) of the value at most.
    assert high - low <= 2 * abs(Fraction(value)) / 10 ** (digits - 1)


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        ((0.0131234, 0.0131235), "[0.0131, 0.0132]"),
        ((1.0, 1.0), "[1, 1]"),
        ((1.2345e-9, math.inf), "[1.23e-9, inf]"),
        ((0.0, 9.99999), "[0, 10]"),
    ],
)
def test_an_interval(ends: tuple[float, float], text: str) -> None:
    assert interval(ends) == text


def test_digits_until_one_interval_lies_below_the_other() -> None:
    assert told_apart((1.03125, 1.03125), (1.0390625, 1.0390625)) == ("[1.031, 1.032]", "[1.039, 1.04]")
    assert told_apart((2.0, 2.0), (1.0, 1.0)) == ("[2, 2]", "[1, 1]")
    assert told_apart((1.0, 2.0), (1.5, math.inf)) == ("[1, 2]", "[1.5, inf]")
