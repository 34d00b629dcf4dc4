"""Single balls at zeros, infinities and NaN, as IEEE arithmetic has them; ends that are floats."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify.balls import numbers
from verify.balls.flint import Undecided, arb, precision

SPECIAL = [0.0, 1.5, -2.0, math.inf, -math.inf, math.nan]


def same_as(found: arb, expected: float) -> bool:
    if math.isnan(expected):
        return found.is_nan()
    if math.isinf(expected):
        return bool(found == arb(expected))
    return bool(found.contains(arb(expected))) if found.is_finite() else False


def ieee_quotient(a: float, b: float) -> float:
    if b == 0:
        return math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a)
    return a / b


@pytest.mark.parametrize("b", SPECIAL)
@pytest.mark.parametrize("a", SPECIAL)
def test_quotients_extremes_and_order_are_those_of_ieee(a: float, b: float) -> None:
    x, y = arb(a), arb(b)
    assert same_as(numbers.larger(x, y), math.nan if math.isnan(a) or math.isnan(b) else max(a, b))
    assert same_as(numbers.smaller(x, y), math.nan if math.isnan(a) or math.isnan(b) else min(a, b))
    assert numbers.less(x, y) == (a < b)
    assert numbers.no_more(x, y) == (a <= b)
    assert numbers.same(x, y) == (a == b)
    if not (math.isinf(a) and math.isinf(b)):
        with precision(53):
            assert same_as(numbers.quotient(x, y), ieee_quotient(a, b))


@pytest.mark.parametrize(
    ("function", "x", "value"),
    [
        (numbers.root, 0.0, 0.0),
        (numbers.root, math.inf, math.inf),
        (numbers.root, -1.0, math.nan),
        (numbers.logarithm, 0.0, -math.inf),
        (numbers.logarithm, -1.0, math.nan),
        (numbers.logarithm, math.inf, math.inf),
        (numbers.exponential, -math.inf, 0.0),
        (numbers.exponential, math.inf, math.inf),
        (numbers.exponential_less_one, -math.inf, -1.0),
        (numbers.log_one_more, -1.0, -math.inf),
        (numbers.log_sigmoid, math.inf, 0.0),
        (numbers.log_sigmoid, -math.inf, -math.inf),
        (numbers.square, -math.inf, math.inf),
        (numbers.square, -3.0, 9.0),
    ],
)
def test_functions_at_their_edges(function, x: float, value: float) -> None:
    assert same_as(function(arb(x)), value)


def test_a_quotient_by_a_ball_around_zero_says_nothing() -> None:
    found = numbers.quotient(arb(1), arb(0, 0.5))
    assert not found.is_finite()
    for other in (arb(0), arb(1e300), arb(-1e300)):
        with pytest.raises(Undecided):
            numbers.less(found, other)


def test_a_square_and_a_root_of_a_ball_around_zero_are_not_negative() -> None:
    x = arb(0, 0.5)
    assert not numbers.square(x) < 0
    assert numbers.square(x).contains(arb(0.25))
    assert numbers.root(numbers.square(x)).contains(arb(0.5))


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(0, 1e300))
def test_ends_enclose_and_are_the_nearest_floats(middle: float, radius: float) -> None:
    with precision(200):
        ball = arb(middle, radius)
        low, high = numbers.ends(ball)
        assert arb(low) <= ball.lower()
        assert arb(high) >= ball.upper()
        if math.isfinite(high) and math.isfinite(low):
            assert arb(math.nextafter(high, -math.inf)) < ball.upper()
            assert arb(math.nextafter(low, math.inf)) > ball.lower()
