"""A piecewise function of a ball holds the function of every number in the ball."""

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from verify.balls.curves import curve_between
from verify.balls.flint import arb, fmpq, precision

KNOTS, VALUES = np.array([-1.0, -0.25, 0.5, 3.0]), np.array([2.0, -1.0, 0.75, 0.1])
NUMBERS = st.floats(-4, 6, allow_nan=False) | st.sampled_from([*KNOTS.tolist()])


def exact(x: Fraction) -> Fraction:
    """By fractions."""
    knots, values = [list(map(Fraction, part.tolist())) for part in (KNOTS, VALUES)]
    if x <= knots[0]:
        return values[0]
    for left, right, low, high in zip(knots, knots[1:], values, values[1:], strict=False):
        if x <= right:
            return low + (x - left) / (right - left) * (high - low)
    return values[-1]


def as_ball(x: Fraction) -> arb:
    """With many more bits than what is tested."""
    with precision(600):
        return arb(fmpq(x.numerator, x.denominator))


@given(NUMBERS)
def test_of_a_number(x: float) -> None:
    with precision(128):
        found = curve_between(KNOTS, VALUES)(arb(x))
        assert found.overlaps(as_ball(exact(Fraction(x))))
        assert found.rad() < arb(2) ** -100


@given(NUMBERS, st.just(0.0) | st.floats(2.0**-60, 3), st.floats(-1, 1))
def test_of_a_ball(x: float, radius: float, part: float) -> None:
    inside = Fraction(x) + Fraction(radius) * Fraction(part)
    with precision(128):
        assert curve_between(KNOTS, VALUES)(arb(x, radius)).contains(as_ball(exact(inside)))


@given(NUMBERS, st.floats(0, 3))
def test_is_no_wider_than_the_values_it_meets(x: float, radius: float) -> None:
    inside = [k for k in KNOTS.tolist() if x - radius <= k <= x + radius]
    places = map(Fraction, [x - radius, x + radius, *inside])
    met = [exact(place) for place in places]
    with precision(128):
        found = curve_between(KNOTS, VALUES)(arb(x, radius))
        # Ends of a ball are rounded to its 30-bit radius and to floats: slopes are at most 4.
        slack = as_ball(Fraction(1, 2**24))
        assert found.upper() <= as_ball(max(met)) + slack
        assert found.lower() >= as_ball(min(met)) - slack
