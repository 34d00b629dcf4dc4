"""The cubic that brings singular values near each other: what its docstring says, proved and exhausted."""

from fractions import Fraction
from itertools import pairwise

import pytest
import sympy as sp
import torch

from constructions.spectral.moments import STRETCH, stretched, stretches_needed
from constructions.spectral.plan import Plan
from constructions.spectral.whitening import NEWTON_SCHULZ

LINEAR, CUBIC = (Fraction(c) for c in STRETCH)
LOW = Fraction(9, 16)


def p(x: Fraction) -> Fraction:
    return LINEAR * x - CUBIC * x**3


def test_the_coefficients_are_exact_in_binary() -> None:
    assert Fraction(9, 4) == LINEAR
    assert Fraction(27, 16) == CUBIC
    assert tuple(map(Fraction, NEWTON_SCHULZ)) == (Fraction(3, 2), Fraction(1, 2))


def test_p_maps_l_to_1_into_the_smaller_of_p_of_l_and_9_16_to_1() -> None:
    """1 - p = 27/16 (x - 2/3)^2 (x + 4/3) >= 0, and p'' < 0: on [l, 1] its least value is at an end."""
    x = sp.symbols("x", nonnegative=True)
    cubic = sp.Rational(9, 4) * x - sp.Rational(27, 16) * x**3
    factored = sp.Rational(27, 16) * (x - sp.Rational(2, 3)) ** 2 * (x + sp.Rational(4, 3))
    assert sp.expand(1 - cubic - factored) == 0
    assert sp.diff(cubic, x, 2) == -sp.Rational(81, 8) * x
    assert cubic.subs(x, 1) == sp.Rational(9, 16)
    assert cubic.subs(x, sp.Rational(2, 3)) == 1
    # Grown by p(x) / x = 9/4 - 27/16 x^2, which falls: at least 1.71 up to 9/16, and at most 9/4.
    growth = sp.simplify(cubic / x)
    assert sp.expand(growth - (sp.Rational(9, 4) - sp.Rational(27, 16) * x**2)) == 0
    assert sp.Rational(171, 100) < growth.subs(x, sp.Rational(9, 16))


def test_newton_schulz_squares_the_defect() -> None:
    """1 - (3/2 x - x^3/2)^2 = e^2 (3 + e) / 4 with e = 1 - x^2."""
    e = sp.symbols("e")
    square = (1 - e) * (sp.Rational(3, 2) - (1 - e) / 2) ** 2
    assert sp.expand(1 - square - e**2 * (3 + e) / 4) == 0


def test_singular_values_in_fractions_stay_above_what_stretched_says() -> None:
    """Every fraction of a grid in [l, 1], not only the ends; floats round `stretched` by a few u a step."""
    for low in (Fraction(1, 100), Fraction(1, 7), Fraction(1, 3), Fraction(9, 16), Fraction(2, 3)):
        values = [low + (1 - low) * Fraction(i, 24) for i in range(25)]
        for steps in (1, 2, 3):
            values = [Fraction(round(p(v) * 2**60), 2**60) for v in values]  # within 2^-61
            assert max(values) <= 1
            assert min(values) >= Fraction(stretched(float(low), steps)) - Fraction(1, 2**48)


@pytest.mark.parametrize("value", [0.5625, 0.56, 0.3, 0.1, 1e-2, 9 / 16 / 50, 1e-4, 1e-9, 0.9, 1.0])
def test_the_fewest_stretches(value: float) -> None:
    """After so many steps the lower bound is 9/16, and after one fewer, where there is one, it is not."""
    steps = stretches_needed(value)
    assert stretched(value, steps) == 9 / 16
    assert steps == 1 or stretched(value, steps - 1) < 9 / 16
    exact, wanted = [Fraction(value)], 0
    while wanted == 0 or exact[-1] < LOW:  # the same recursion in fractions
        exact.append(min(LOW, Fraction(round(p(exact[-1]) * 2**200), 2**200)))
        wanted += 1
    assert steps == wanted


def test_stretched_is_a_bound_and_rises_with_the_steps() -> None:
    for value in torch.linspace(0.001, 1.0, 50, dtype=torch.float64).tolist():
        bounds = [stretched(value, steps) for steps in range(8)]
        assert all(later <= 9 / 16 for later in bounds[1:])
        assert all(b >= min(a, 9 / 16) * (1 - 2**-50) for a, b in pairwise(bounds))


def test_the_plan_takes_as_many_as_its_ranges_need() -> None:
    """Corrections from 9/16 / (condition sqrt(K0)), stretches from 9/16 sqrt(low / high), and no more."""
    for condition, K0 in ((1.0, 1), (2.0, 2), (50.0, 2), (1e4, 4)):
        plan = Plan(4, K0, condition=condition)
        worst = Fraction(9, 16) / (Fraction(condition) * Fraction(K0**0.5))
        assert plan.corrections == stretches_needed(float(worst))
    for low, high in ((1.0, 1.5), (0.5, 500.0), (1e-2, 1e4)):
        plan = Plan(4, 2, eigenvalues=(low, high))
        assert plan.stretches == stretches_needed(9 / 16 * (low / high) ** 0.5)
    assert Plan(4, 2, condition=1e4).corrections > Plan(4, 2, condition=10.0).corrections
