"""A table is the sum of hinges: as rationals everywhere, in balls around every number of a ball."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify.balls.flint import arb, fmpq, precision
from verify.certify.network.hinges import Hinge, table

numbers = st.floats(-8, 8, width=32)
hinges = st.lists(st.tuples(numbers.filter(bool), numbers, numbers), max_size=8)


def rational(x: float) -> fmpq:
    return fmpq(*x.as_integer_ratio())


def directly(parts: list[Hinge], slope: int, x: fmpq) -> fmpq:
    """The sum as it is written."""
    total = slope * x
    for a, b, c in parts:
        total += rational(c) * max(rational(a) * x + rational(b), fmpq(0))
    return total


@given(parts=hinges, slope=st.integers(0, 1), at=st.lists(numbers, min_size=1, max_size=4))
def test_the_table_is_the_sum_of_hinges(parts: list[Hinge], slope: int, at: list[float]) -> None:
    found = table(parts, slope)
    kinks = sorted(-rational(b) / rational(a) for a, b, _ in parts)
    middles = [(x + y) / 2 for x, y in pairwise(kinks)]
    beyond = [kinks[0] - 1, kinks[-1] + 1] if kinks else []
    for x in (*kinks, *middles, *beyond, *map(rational, at)):
        assert found.exact(x) == directly(parts, slope, x)


@given(
    parts=hinges, slope=st.integers(0, 1), at=numbers, radius=st.floats(0, 4, width=32), part=st.floats(-1, 1)
)
def test_a_ball_holds_the_function_of_each_of_its_numbers(
    parts: list[Hinge], slope: int, at: float, radius: float, part: float
) -> None:
    with precision(128):
        ball = arb(at, radius)
        found = table(parts, slope)(ball)
    x = rational(at) + rational(part) * rational(radius)
    with precision(4096):  # a dyadic number, exactly
        assert found.contains(arb(directly(parts, slope, x)))


def test_a_wide_ball_gives_the_range_and_little_more() -> None:
    absolute = table([(1.0, 0.0, 1.0), (-1.0, 0.0, 1.0)])
    with precision(128):
        assert absolute(arb(1, 3)).overlaps(arb(0))
        assert absolute(arb(1, 3)).upper() < 4.001
        assert not absolute(arb(1, 3)).contains(arb(-0.001))


def test_a_column_that_is_cleared_is_zero_and_has_no_knot() -> None:
    cleared = table([(1.0, 0.0, -1.0), (-1.0, 0.0, 1.0)], 1)
    assert cleared.is_zero
    assert cleared.knots == ()
    assert cleared(arb(2, 5)) == 0


def test_at_a_knot_the_value_is_exact() -> None:
    found = table([(1.0, -0.5, 3.0), (-2.0, 1.0, 5.0)])
    assert found(arb(0.5)) == 0
    assert found.knots == (fmpq(1, 2),)


def test_a_knot_that_is_not_dyadic_lies_in_its_mark() -> None:
    with precision(64):
        found = table([(3.0, -1.0, 1.0)])
        assert found.knots == (fmpq(1, 3),)
        assert found.marks[0].rad() > 0
        assert found(arb(fmpq(1, 3))).contains(0)


def test_what_is_no_number_gives_none() -> None:
    with precision(64):
        assert not table([(1.0, 0.0, 1.0)])(arb("nan")).is_finite()


@pytest.mark.parametrize("slope", [0, 1])
def test_no_hinge_is_a_line(slope: int) -> None:
    found = table([], slope)
    assert found(arb(1.5)) == 1.5 * slope
