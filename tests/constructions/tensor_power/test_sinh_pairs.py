"""The weights of the pairs in exact arithmetic, and the error series against 60 digits."""

import itertools
import math
from fractions import Fraction

import mpmath
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from constructions.language.rounding import gamma
from constructions.tensor_power.sinh_pairs import (
    MAX_PAIRS,
    SERIES_TERMS,
    leading_constant,
    pair_weights,
    product_error,
    weight_moment,
)

U = 2.0**-53
PAIRS = range(1, MAX_PAIRS + 1)


def exact_error(a: float, epsilon: float, pairs: int) -> mpmath.mpf:
    """``D_p(a) - a`` in 60 digits, beyond those that the leading power takes away."""
    lost = 2 * pairs * max(0.0, -(math.log10(epsilon) + math.log10(max(abs(a), 2.0**-1074))))
    with mpmath.workdps(60 + int(lost)):
        x = mpmath.mpf(epsilon) * mpmath.mpf(a)
        total = sum(
            mpmath.mpf(w.numerator) / w.denominator * mpmath.sinh(k * x)
            for k, w in enumerate(pair_weights(pairs), 1)
        )
        return total / mpmath.mpf(epsilon) - mpmath.mpf(a)


@pytest.mark.parametrize("pairs", PAIRS)
def test_the_weights_solve_the_odd_vandermonde_system_exactly(pairs: int) -> None:
    weights = pair_weights(pairs)
    assert all(isinstance(w, Fraction) for w in weights)
    assert len(weights) == pairs
    for r in range(pairs):
        assert sum(w * k ** (2 * r + 1) for k, w in enumerate(weights, 1)) == (r == 0)
    # The first equation that they do not solve is what the error starts with.
    moment = sum(w * k ** (2 * pairs + 1) for k, w in enumerate(weights, 1))
    leading = Fraction(math.factorial(pairs) ** 2, math.factorial(2 * pairs + 1))
    assert moment == (-1) ** (pairs + 1) * leading * math.factorial(2 * pairs + 1)
    assert leading_constant(pairs) == float(leading)
    assert [w > 0 for w in weights] == [k % 2 == 1 for k in range(1, pairs + 1)]


def test_the_first_weights_are_those_of_the_central_differences() -> None:
    assert pair_weights(1) == [1]
    assert pair_weights(2) == [Fraction(4, 3), Fraction(-1, 6)]
    assert pair_weights(3) == [Fraction(3, 2), Fraction(-3, 10), Fraction(1, 30)]


@pytest.mark.parametrize("pairs", PAIRS)
def test_every_term_of_the_series_has_one_sign(pairs: int) -> None:
    """So the series neither cancels nor is bounded by less than its sum."""
    weights = pair_weights(pairs)
    for r in range(pairs, pairs + 3 * SERIES_TERMS):
        moment = sum(w * k ** (2 * r + 1) for k, w in enumerate(weights, 1))
        assert (moment > 0) == (pairs % 2 == 1)


@pytest.mark.parametrize("pairs", PAIRS)
@pytest.mark.parametrize("power", [0, 1, 2, 3])
def test_moments_of_the_weights(pairs: int, power: int) -> None:
    exact = sum(abs(w) * k**power for k, w in enumerate(pair_weights(pairs), 1))
    assert weight_moment(pairs, power) == float(exact)


@pytest.mark.parametrize("pairs", [0, 9, -1, True, 1.0, "2", None])
def test_the_number_of_pairs_is_a_whole_number_from_1_to_8(pairs: object) -> None:
    with pytest.raises(ValueError, match=rf"pairs is {pairs!r}; it is a whole number from 1 to 8"):
        pair_weights(pairs)  # type: ignore[arg-type]


@given(
    a=st.one_of(st.floats(-30, 30), st.floats(-1, 1), st.sampled_from([0.0, 1.0, -1.0, 1e-3, 30.0, 1e-150])),
    epsilon=st.one_of(st.floats(1e-6, 1), st.sampled_from([1e-6, 1e-3, 1.0])),
    pairs=st.sampled_from(PAIRS),
)
@example(a=30.0, epsilon=1.0, pairs=8)
@example(a=-8.0, epsilon=1.0, pairs=1)
@example(a=1.0, epsilon=1e-6, pairs=8)
def test_the_series_and_its_tail_enclose_the_error(a: float, epsilon: float, pairs: int) -> None:
    series, tail = (float(v) for v in product_error(torch.tensor(a, dtype=torch.float64), epsilon, pairs))
    exact = exact_error(a, epsilon, pairs)
    # Each term: its coefficient, eps a, a power of order 2r <= 40 (2r roundings of its base, an ulp of its
    # own), a product with a, the sum of 12: gamma_{2r + 20}, and all terms have one sign. What underflows is
    # below the smallest normal number.
    stop = pairs + SERIES_TERMS
    slack = gamma(2 * stop + 20, U) * abs(series) + SERIES_TERMS * 2.0**-1022
    # The tail is a sum of positive terms, each with as many roundings.
    assert abs(exact - series) <= tail * (1 + gamma(4 * stop + 40, U)) + slack
    # The documented inequality, and the sign of its odd function.
    x = mpmath.mpf(epsilon) * abs(mpmath.mpf(a))
    closed = (
        mpmath.mpf(math.factorial(pairs) ** 2)
        / math.factorial(2 * pairs + 1)
        * x ** (2 * pairs)
        * abs(mpmath.mpf(a))
        * mpmath.cosh(pairs * x)
    )
    assert abs(exact) <= closed * (1 + mpmath.mpf(10) ** -14)  # mpmath works with 15 digits here
    if abs(exact) > 0:
        assert (exact > 0) == ((a > 0) == (pairs % 2 == 1))


@pytest.mark.parametrize("pairs", PAIRS)
def test_what_the_series_leaves_out_is_negligible_where_it_is_used(pairs: int) -> None:
    """With p eps |a| <= 1 the tail is below the rounding of the sum, and the leading term is the error."""
    a = torch.linspace(-1, 1, 41, dtype=torch.float64)
    epsilon = 1 / pairs
    series, tail = product_error(a, epsilon, pairs)
    # x^(2q+1)/(2q+1)! cosh(1), q >= 13, x <= 1, sum |alpha| < 4, over eps >= 1/8: 4 * 8 * 1.6/27! = 5e-27.
    assert tail.max() <= 5e-27
    small = 1e-3 * a
    leading = leading_constant(pairs) * epsilon ** (2 * pairs) * small.abs() ** (2 * pairs + 1)
    series, _ = product_error(small, epsilon, pairs)
    # The next term is smaller by at most (p eps a)^2 = 1e-6, the series of cosh(p eps |a|) having it halved.
    assert ((series.abs() - leading).abs() <= 2e-6 * leading + 2.0**-1022).all()


def test_more_pairs_are_more_exact_and_a_smaller_step_too() -> None:
    a = torch.tensor(0.7, dtype=torch.float64)
    errors = [float(product_error(a, 0.2, p)[0].abs()) for p in PAIRS]
    assert all(after < before / 10 for before, after in itertools.pairwise(errors))
    for p in PAIRS:
        coarse, fine = (float(product_error(a, e, p)[0].abs()) for e in (0.02, 0.01))
        # Leading term exactly 2^(2p); the next, relative (p eps a)^2 <= 0.0126, differs between the two.
        assert abs(coarse / fine / 4**p - 1) < 0.013


def test_shapes_are_kept() -> None:
    a = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    series, tail = product_error(a, 0.1, 2)
    assert series.shape == tail.shape == a.shape
    assert (tail >= 0).all()
    assert torch.equal(product_error(-a, 0.1, 2)[0], -series)
