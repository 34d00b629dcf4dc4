"""Comparisons that are decided or refused, and what becomes an array."""

import pytest

from verify.balls.flint import Undecided, arb, precision
from verify.certify.references.decisions import HUGE, ROUNDOFF, TINY, above, balls, dot, path_array


def test_a_comparison_is_decided_or_refused():
    assert above(arb(2), arb(1))
    assert not above(arb(1), arb(1))
    assert not above(arb(0, 0.5), arb(1))
    with pytest.raises(Undecided):
        above(arb(1, 0.5), arb(1))
    with pytest.raises(Undecided):
        above(arb("nan"), arb(1))


def test_the_constants_are_those_of_float64():
    assert arb(2) ** -53 == ROUNDOFF
    assert arb(2) ** -1022 == TINY
    with precision(2048):
        assert arb(2) ** 1024 - arb(2) ** 971 == HUGE


def test_floats_are_exact_and_zeros_stay_exact():
    assert all(x.rad() == 0 for row in balls([[0.1, 2.0]]) for x in row)
    assert dot([arb(0), arb(0)], [arb(1, 0.5), arb(0)]).is_zero()


def test_states_come_first_and_then_nothing():
    found = path_array([[[arb(1), arb(2)]], [[arb(3), arb(4)]]], 3, (1, 2))
    assert found.shape == (3, 1, 2)
    assert found[1, 0, 1] == 4
    assert all(x.is_nan() for x in found[2].flat)
