"""Balls hold what they say, and precision is what it was afterwards."""

import pytest
from flint import ctx

from verify.balls.flint import arb, precision


def test_a_float_is_exact_and_a_tenth_is_not() -> None:
    with precision(128):
        assert arb(0.1).rad() == 0
        tenth = arb(1) / 10
        assert 0 < tenth.rad() < arb(2) ** -120
        assert tenth.contains(arb(1) / 10)
        assert not tenth.contains(arb(0.1))


def failing() -> None:
    with precision(512):
        assert ctx.prec == 512
        raise ZeroDivisionError


def test_precision_is_restored_after_an_error() -> None:
    before = ctx.prec
    with pytest.raises(ZeroDivisionError):
        failing()
    assert ctx.prec == before
