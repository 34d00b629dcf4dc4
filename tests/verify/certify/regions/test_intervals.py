"""Every result of interval arithmetic holds the exact one, in fractions; exp and log in many bits."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from flint import arb, ctx
from hypothesis import given
from hypothesis import strategies as st

from verify.certify.regions.intervals import (
    ArithmeticModeError,
    Interval,
    check_arithmetic,
    concatenate,
    length,
    quietly,
    stack,
)

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SIZED = st.floats(-1e3, 1e3)


def interval(pair):
    return Interval(np.array([min(pair)]), np.array([max(pair)]))


def holds(found, exact):
    return Fraction(*_ratio(found.lo[0])) <= exact <= Fraction(*_ratio(found.hi[0]))


def _ratio(value):
    """A float as a fraction; an infinite end as a number beyond all floats' products."""
    if math.isinf(value):
        return (10**700 if value > 0 else -(10**700)), 1
    return float(value).as_integer_ratio()


@given(st.tuples(FLOATS, FLOATS), st.tuples(FLOATS, FLOATS))
def test_operations_hold_the_exact_results_at_all_ends(a, b):
    x, y = interval(a), interval(b)
    with quietly():
        total, difference, product, quotient = x + y, x - y, x * y, x / y
    for p in map(Fraction, a):
        for q in map(Fraction, b):
            assert holds(total, p + q)
            assert holds(difference, p - q)
            assert holds(product, p * q)
            if q:
                assert holds(quotient, p / q)


@given(st.floats(-800, 800))
def test_exp_and_log_hold_the_value(value):
    exp = Interval.exact([value]).exp()
    ctx.prec, before = 300, ctx.prec
    try:
        exact = arb(value).exp()
        assert arb(float(exp.lo[0])) < exact
        assert exp.hi[0] == math.inf or exact < arb(float(exp.hi[0]))
        if value > 0:
            log = Interval.exact([value]).log()
            assert arb(float(log.lo[0])) < arb(value).log() < arb(float(log.hi[0]))
    finally:
        ctx.prec = before


def test_the_ends_of_exp_and_log():
    found = Interval(np.array([-math.inf, -1e4]), np.array([0.0, math.inf])).exp()
    assert (found.lo == 0).all()
    assert 1 <= found.hi[0] <= 1 + 1e-15
    assert found.hi[1] == math.inf
    logs = Interval(np.array([-1.0, 0.0]), np.array([1.0, math.inf])).log()
    assert (logs.lo == -math.inf).all()
    assert logs.hi[1] == math.inf


@given(st.lists(SIZED, min_size=1, max_size=9))
def test_sums_and_lengths(values):
    x = Interval.exact(values)
    exact = sum(map(Fraction, values))
    total = x.sum(0)
    assert Fraction(float(total.lo)) <= exact <= Fraction(float(total.hi))
    assert sum(Fraction(v) ** 2 for v in values) <= Fraction(float(length(x))) ** 2


@given(SIZED, SIZED)
def test_middle_and_radius_hold_the_interval(a, b):
    x = interval((a, b))
    middle, radius = Fraction(float(x.middle[0])), Fraction(float(x.radius()[0]))
    assert middle - radius <= Fraction(min(a, b))
    assert Fraction(max(a, b)) <= middle + radius


def test_zero_stays_exact_and_infinite_ends_know_nothing():
    zero, some = Interval.exact([0.0]), Interval.exact([0.1])
    for found in (zero + zero, zero * some, zero / some, zero.sum(0)):
        assert not found.lo.any()
        assert not found.hi.any()
    unknown = Interval(np.array([-math.inf]), np.array([math.inf]))
    with quietly():
        for found in (unknown + unknown, unknown - unknown, unknown * some, some / zero, unknown / unknown):
            assert found.lo[0] == -math.inf
            assert found.hi[0] == math.inf
        assert not (unknown * zero).size.any()
    assert not Interval.exact(np.zeros((0, 2))).sum(0).size.any()


def test_shapes():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 3)), rng.standard_normal((3, 4))
    found = Interval.exact(a).matmul(Interval.exact(b))
    assert (found.lo <= a @ b + 1e-12).all()
    assert (found.hi - found.lo).max() < 1e-14
    both = [Interval.exact(a), Interval.exact(a)]
    assert stack(both).shape == (2, 2, 3)
    assert concatenate(both, 1).shape == (2, 6)


def test_a_processor_that_flushes_is_refused():
    check_arithmetic()
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush")
    try:
        with pytest.raises(ArithmeticModeError):
            check_arithmetic()
    finally:
        torch.set_flush_denormal(False)
