"""Squares and reciprocals by chords: relative errors at every scale, and the first piece of a square."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from constructions.em.scale_free import ScaleFree, least_difference, reciprocals, squares
from constructions.language.rounding import gamma

PIECES = st.integers(4, 300)
U = 2.0**-53


def within(f: ScaleFree, x: torch.Tensor, exact: torch.Tensor) -> bool:
    """Relative errors lie in the interval stated, up to 11 roundings of the interpolation and 2 more.

    Those of the interpolation are relative to the larger value at the ends of a piece, q^2 times the other.
    """
    low, high = f.relative_error
    relative = f(x) / exact - 1
    knots = f.function.knots[f.function.knots > 0]
    slack = gamma(13, U) * (1 + f.excess) * float((knots[1:] / knots[:-1]).max()) ** 2
    return bool(((relative >= low - slack) & (relative <= high + slack)).all())


def dense_in(knots: torch.Tensor) -> torch.Tensor:
    """Points at and between all knots."""
    share = torch.linspace(0, 1, 9, dtype=torch.float64)
    return (knots[:-1, None] + share * knots.diff()[:, None]).flatten().clamp(max=float(knots[-1]))


@given(pieces=PIECES, least=st.floats(1e-6, 1.0), reach=st.floats(2.0, 1e4))
def test_squares_err_by_a_share_beyond_the_first_piece(pieces: int, least: float, reach: float) -> None:
    f = squares(least, reach, pieces)
    knots = torch.from_numpy(f.function.knots)
    right = knots[knots >= least]
    x = dense_in(right) if len(right) > 1 else right
    for t in (x, -x):
        assert within(f, t, t.square())


@given(pieces=PIECES, least=st.floats(1e-6, 1.0), share=st.floats(0, 1))
def test_the_first_piece_errs_by_a_quarter_of_its_square(pieces: int, least: float, share: float) -> None:
    """c least t - t^2 is at most c^2 least^2 / 4, at t = c least / 2, and at least (c - 1) least^2."""
    f = squares(least, 24.0, pieces)
    t = torch.tensor([share * least, -share * least], dtype=torch.float64)
    error = f(t) - t.square()
    slack = gamma(16, U) * least**2
    assert bool((error <= f.scale**2 * least**2 / 4 + slack).all())
    assert bool((error >= (f.scale - 1) * least**2 - slack).all())


def test_a_square_of_nothing_is_nothing() -> None:
    """So coordinates that a task has not, and components that it has not, add nothing at all."""
    for pieces in (4, 5, 64):
        f = squares(1e-3, 24.0, pieces)
        assert float(f(torch.zeros(1).double())) == 0
        assert f.function.offset == 0


@given(pieces=PIECES, low=st.floats(1e-6, 1.0), ratio=st.floats(1.5, 1e8))
def test_reciprocals_err_by_a_share(pieces: int, low: float, ratio: float) -> None:
    f = reciprocals(low, low * ratio, pieces)
    x = dense_in(torch.from_numpy(f.function.knots))
    assert within(f, x, 1 / x)


def test_the_share_is_what_the_pieces_give() -> None:
    """q = (high / low)^(1/M): e = (q - 1)^2 / (4 q), about log(high / low)^2 / (4 M^2)."""
    f = reciprocals(1e-2, 1e2, 100)
    z = math.log(1e4) / 100
    q = math.exp(z)
    assert f.excess == pytest.approx((q - 1) ** 2 / (4 * q), rel=1e-9)  # knots are rounded: 100 u / z
    # (q - 1)^2 / q = 4 sinh^2(z/2), and sinh(x)^2 <= x^2 (1 + x^2) for x < 1.
    assert f.excess <= z**2 / 4 * (1 + z**2 / 4)
    assert f.scale == 1 / (1 + 2 * f.excess / 3)


def test_errors_lie_on_both_sides_and_cancel_on_average() -> None:
    """On average to leading order: what is left is of order e^2, e = 1.3e-3 here."""
    for f, x in (
        (reciprocals(1e-2, 1e2, 128), torch.logspace(-2, 2, 100_001, dtype=torch.float64)),
        (squares(1e-2, 1e2, 258), torch.logspace(-2, 2, 100_001, dtype=torch.float64)),
    ):
        exact = 1 / x if f.function.curve.name == "1/x" else x.square()
        relative = f(x) / exact - 1
        assert float(relative.min()) < -f.excess / 2
        assert float(relative.max()) > f.excess / 4
        assert abs(float(relative.mean())) < 4 * f.excess**2


def test_the_least_difference_leaves_the_first_piece_a_share_of_the_least_variance() -> None:
    for low, pieces in [(1e-4, 64), (2.0, 10)]:
        assert least_difference(low, pieces) ** 2 / 4 == pytest.approx(low * (4 / pieces) ** 2, rel=1e-14)


@pytest.mark.parametrize("pieces", [3, 0, -1, True, 4.0])
def test_too_few_pieces_are_refused(pieces: int) -> None:
    with pytest.raises(ValueError, match=r"pieces of square are .*; a whole number, at least 4, is needed"):
        squares(1e-3, 1.0, pieces)


def test_a_range_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="0 < low < high"):
        squares(2.0, 1.0, 8)
    with pytest.raises(ValueError, match="0 < low < high"):
        reciprocals(1.0, 1.0, 8)
