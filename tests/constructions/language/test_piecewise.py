"""Chord interpolants: their approximation error in real arithmetic and their rounding as a ReLU layer."""

import numpy as np
import pytest
import torch
from compiled_parts import hinge_sum
from hypothesis import given
from hypothesis import strategies as st

from constructions import (
    Construction,
    Layer,
    PiecewiseLinear,
    Score,
    SoftmaxHead,
    Stream,
    apply,
    chords,
    geometric,
    uniform,
)
from constructions.em.pieces import log_chord_error, logit_spread
from constructions.language import curves
from constructions.language.rounding import gamma, unit_roundoff

U = 2.0**-53
DTYPES = [torch.float32, torch.float64]
log_functions = st.builds(
    lambda decades, pieces: chords(curves.log, geometric(10.0**-decades, 1.0, pieces), inputs=(0.0, 1.0)),
    st.floats(0.3, 12),
    st.integers(1, 300),
)
square_functions = st.builds(
    lambda radius, pieces, where: chords(
        curves.square, uniform(-radius, radius, pieces), anchor=round(where * pieces)
    ),
    st.floats(0.01, 100),
    st.integers(1, 300),
    st.sampled_from([0.0, 0.5, 1.0]),
)
uneven_functions = st.builds(
    lambda steps, first: chords(curves.log, first + np.cumsum(np.array(steps)) - steps[0]),
    st.lists(st.floats(1e-6, 10), min_size=2, max_size=40),
    st.floats(1e-6, 1),
)
functions = st.one_of(log_functions, square_functions, uneven_functions)


def evaluation_rounding(f: PiecewiseLinear) -> float:
    """Rounding of ``f(x) - curve(x)`` and of the stated error, both computed in float64; V = max|values|.

    f(x): five operations on a fraction times a difference of two values, gamma_5 2V, one addition u V; the
    values at the knots are within an ulp, 2u V. curve(x): an ulp, 2u V. The subtraction: 2u V. Together
    gamma_17 V. The stated error does the same operations at the tangent points: twice.
    """
    return gamma(34, U) * float(np.abs(f.values).max())


def dense(f: PiecewiseLinear, a_piece: int = 129) -> np.ndarray:
    """(pieces, a_piece) points: equally spaced, for log in log x; the ends are the knots."""
    t = np.linspace(0, 1, a_piece)
    low, high = f.knots[:-1, None], f.knots[1:, None]
    x = low * (high / low) ** t if f.curve is curves.log else low + (high - low) * t
    return np.clip(x, low, high)


def error_at(f: PiecewiseLinear, x: np.ndarray) -> np.ndarray:
    return f(torch.as_tensor(x)).numpy() - f.curve.value(x)


@given(f=functions)
def test_no_error_is_above_the_bound(f: PiecewiseLinear) -> None:
    tangents = f.curve.parallel(torch.from_numpy(f.slopes)).numpy()
    inside = tangents[(tangents >= f.knots[0]) & (tangents <= f.knots[-1])]
    errors = np.concatenate([error_at(f, x).ravel() for x in (dense(f), f.knots, inside)])
    slack = evaluation_rounding(f)
    assert np.abs(errors).max() <= f.approximation_error + slack
    assert np.abs(error_at(f, f.knots)).max() <= slack  # the knots are interpolated
    # A chord of a convex function lies above it, of a concave one below.
    assert (errors.min() >= -slack) if f.curve is curves.square else (errors.max() <= slack)


@given(f=st.one_of(log_functions, square_functions))
def test_the_bound_is_attained(f: PiecewiseLinear) -> None:
    """On a piece the error g is 0 at the ends and concave in t (t = log x for log), so at distance s from its
    maximum, at distance r from the nearer end, g >= (1 - s/r) g*. Here s is 1/256 of the piece. For a square
    r is half of it: 127/128. For log on a piece of length z = log(ratio) the maximum lies log(z/(1 - e^-z))
    from the right end, which for z <= 27.7 is at least 0.119 z: 1 - 1/(256 * 0.119) = 0.967.
    """
    largest = np.abs(error_at(f, dense(f))).max()
    assert largest >= 0.96 * f.approximation_error - evaluation_rounding(f)
    assert evaluation_rounding(f) < 0.01 * f.approximation_error


@given(f=functions, beyond=st.floats(0, 1e6))
def test_the_function_is_held_outside_the_knots(f: PiecewiseLinear, beyond: float) -> None:
    x = torch.tensor([f.knots[0] - beyond, f.knots[-1] + beyond])
    # The interpolation at a knot: value + 1 * (value - value), two roundings of at most 2V.
    assert (f(x) - torch.as_tensor(f.values[[0, -1]])).abs().max() <= 4 * U * np.abs(f.values).max()


def test_a_function_without_hinges_still_writes_its_constant() -> None:
    f = chords(curves.square, uniform(-2, 2, 1))  # both knots at 4: no change of slope anywhere
    s = Stream(read=1, write=1, junk=1, one=1)
    head = SoftmaxHead(Score(), s.one, s.junk)
    layer = Layer("trial", (head,), (apply(f, s.read, s.write),))
    transformer = Construction("trial", "a test", s, (s.read, s.one), (layer,)).to_transformer()
    with torch.no_grad():
        assert transformer(torch.ones(1, 3, s.width, dtype=torch.float64))[0, :, 1].tolist() == [5, 5, 5]


def check_rounding(f: PiecewiseLinear, x: np.ndarray, dtype: torch.dtype) -> float:
    """Largest rounding error over the bound; fails above 1."""
    low, high = f.inputs
    rounded = torch.as_tensor(x).to(dtype)
    rounded = rounded[(rounded.double() >= low) & (rounded.double() <= high)]
    error = float((hinge_sum(f, rounded).double() - f(rounded)).abs().max())
    # f is evaluated in float64 too: gamma_11 V, five operations on a difference of values and one more.
    bound = f.rounding_error(dtype) + gamma(11, U) * float(np.abs(f.values).max())
    assert error <= bound, f"{error:.2e} > {bound:.2e}"
    return error / bound


@pytest.mark.parametrize("dtype", DTYPES)
@given(decades=st.floats(0.3, 12), pieces=st.integers(1, 2000))
def test_the_compiled_log_is_within_its_rounding_also_below_the_floor(
    dtype: torch.dtype, decades: float, pieces: int
) -> None:
    floor = 10.0**-decades
    f = chords(curves.log, geometric(floor, 1.0, pieces), inputs=(0.0, 1.0))
    below = floor * np.array([0, 1e-30, 1e-3, 0.5, 0.999, 1])
    check_rounding(f, np.concatenate([below, dense(f, 3).ravel(), 1 - np.geomspace(1e-9, 0.5, 50)]), dtype)
    held = hinge_sum(f, torch.as_tensor(below[:-1]).to(dtype)).double()
    # At the knot itself the value is log(floor) to an ulp and f's own rounding.
    distance = (held - np.log(floor)).abs().max()
    assert distance <= f.rounding_error(dtype) + 2 * U * abs(np.log(floor))


@pytest.mark.parametrize("dtype", DTYPES)
@given(f=square_functions, data=st.data())
def test_the_compiled_square_is_within_its_rounding(
    dtype: torch.dtype, f: PiecewiseLinear, data: st.DataObject
) -> None:
    low, high = f.domain
    extra = data.draw(st.lists(st.floats(low, high), max_size=20))
    check_rounding(f, np.concatenate([dense(f, 5).ravel(), np.array(extra)]), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@given(f=uneven_functions)
def test_the_compiled_sum_is_within_its_rounding_for_uneven_knots(
    dtype: torch.dtype, f: PiecewiseLinear
) -> None:
    check_rounding(f, dense(f, 5).ravel(), dtype)


def test_a_knot_that_is_large_beside_its_values_is_stored_with_its_own_rounding() -> None:
    """log on [1 + 2e-7, 1.001]: values of 1e-3, and a first knot that float32 moves by up to 6e-8 of 1."""
    f = chords(curves.log, np.array([1.0000002, 1.0004, 1.001]), anchor=0)
    x = torch.as_tensor(dense(f, 20).ravel()).float()
    x = x[(x.double() >= f.knots[0]) & (x.double() <= f.knots[-1])]
    error = float((hinge_sum(f, x).double() - f(x)).abs().max())
    assert error > 10 * gamma(f.units + 4, unit_roundoff(torch.float32)) * 1e-3  # all that the values explain
    check_rounding(f, x.double().numpy(), torch.float32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pieces", [1, 2, 3, 8, 9, 4096])
def test_the_square_of_any_number_of_pieces_is_flat_or_sharp_in_the_middle(
    dtype: torch.dtype, pieces: int
) -> None:
    f = chords(curves.square, uniform(-2, 2, pieces), anchor=pieces // 2)
    check_rounding(f, np.linspace(-2, 2, 2001), dtype)
    h = 4 / pieces
    # h^2/4 by hand; its evaluation squares, subtracts and adds numbers of at most 4: evaluation_rounding.
    assert abs(f.approximation_error - h**2 / 4) <= evaluation_rounding(f)
    assert abs(float(f(torch.zeros(1))) - (0 if pieces % 2 == 0 else h**2 / 4)) <= evaluation_rounding(f)
    assert f.units <= pieces + 3


def test_hinges_from_the_left_lose_the_digits_that_hinges_from_the_right_keep() -> None:
    knots = geometric(1e-6, 1.0, 145)
    right, left = (chords(curves.log, knots, anchor=at) for at in (-1, 0))
    x = dense(right, 3).ravel()
    errors = []
    for f in (right, left):
        check_rounding(f, x, torch.float32)
        rounded = torch.as_tensor(x).float()
        errors.append(float((hinge_sum(f, rounded).double() - f(rounded)).abs().max()))
    assert errors[0] < right.approximation_error < errors[1]


@given(decades=st.floats(0.05, 12), pieces=st.integers(1, 4096))
def test_the_closed_form_of_the_log_error_is_the_error(decades: float, pieces: int) -> None:
    floor = 10.0**-decades
    f = chords(curves.log, geometric(floor, 1.0, pieces))
    closed = float(log_chord_error(floor, pieces))
    # Closed form: y = z/(e^z - 1) with 4 roundings (z, expm1 within 2, the quotient), 4u y; then y - 1 rounds
    # by u |y - 1|, log1p by 2u of its value, its argument's error enlarged by 1/y, and a difference:
    # 4u + (4u y + u)/y + 2u e' + u e', e' <= e + 1. The geometric knots are powers with relative error 6u
    # times the size of log: a ratio r^(1 + z') with |z'| <= 12 u depth; the error e(z) has slope below 1.
    z = -np.log(floor) / pieces
    y = z / np.expm1(z)
    own = U * (8 + 1 / y + 3 * (closed + 1))
    assert abs(closed - f.approximation_error) <= own + 12 * U * -np.log(floor) + evaluation_rounding(f)


@pytest.mark.parametrize("decades", [1e-3, 1, 4, 8, 12, 15, 20, 100, 300])
@pytest.mark.parametrize("pieces", [1, 2, 8, 100])
def test_the_closed_form_is_never_below_the_real_error(decades: float, pieces: int) -> None:
    """log z - log(e^z - 1) + z/(e^z - 1) - 1, negated, in 60 digits; relative rounding allowed: see above."""
    mpmath = pytest.importorskip("mpmath", reason="needs mpmath")
    with mpmath.workdps(400):
        z = mpmath.mpf(decades) * mpmath.log(10) / pieces
        y = z / mpmath.expm1(z)
        exact = y - 1 - mpmath.log(y)
        closed = float(log_chord_error(10.0**-decades, pieces))
        # A bound from float64 operations may miss by a few roundings of its largest term, z + 1.
        assert float(abs(closed - exact)) <= float(16 * U * (z + 1))


def test_geometric_and_uniform_knots_end_where_they_should() -> None:
    knots = geometric(1e-8, 1.0, 7)
    assert (len(knots), knots[0], knots[-1]) == (8, 1e-8, 1.0)
    # A power with a rounded exponent: its relative error is 2u from pow and u |log| from the exponent, at
    # either end of a ratio, and u for the product and the quotient.
    ratio = knots[1:] / knots[:-1]
    assert np.abs(ratio / 1e8 ** (1 / 7) - 1).max() <= 3 * (4 + np.log(1e8)) * U
    assert uniform(-3, 5, 4).tolist() == [-3, -1, 1, 3, 5]


def test_properties_of_a_small_square() -> None:
    f = chords(curves.square, uniform(-2, 2, 4), anchor=2)
    assert (f.pieces, f.domain, f.offset, f.lipschitz) == (4, (-2.0, 2.0), 0.0, 3.0)
    assert f.slopes.tolist() == [-3, -1, 1, 3]
    assert f.approximation_error == f.error == 0.25
    assert str(f) == "square~4 on [-2, 2]"
    assert f(torch.tensor([[0.5, -1.5], [3, -9]])).tolist() == [[0.5, 2.5], [4, 4]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_unit_roundoff_is_half_an_ulp_of_one(dtype: torch.dtype) -> None:
    u = unit_roundoff(dtype)
    one = torch.ones((), dtype=dtype)
    assert one + torch.tensor(2 * u, dtype=dtype) > one
    assert one + torch.tensor(u / 2, dtype=dtype) == one
    with pytest.raises(ValueError, match="exceed the range"):
        gamma(1 / u, u)


REFUSED = {
    "no low end": (lambda: geometric(0.0, 1.0, 3), "0 < low < high, got low=0, high=1"),
    "ends in the wrong order": (lambda: geometric(2.0, 1.0, 3), "got low=2, high=1"),
    "an infinite end": (lambda: geometric(1.0, np.inf, 3), "high=inf"),
    "a nan end": (lambda: uniform(np.nan, 1.0, 3), "finite low < high, got low=nan"),
    "an empty interval": (lambda: uniform(1.0, 1.0, 3), "finite low < high"),
    "no pieces": (lambda: uniform(0.0, 1.0, 0), "pieces is 0"),
    "half a piece": (lambda: geometric(0.5, 1.0, 1.5), "pieces is 1.5"),
    "one knot": (lambda: chords(curves.square, np.array([1.0])), "at least two, got 1"),
    "knots that fall": (lambda: chords(curves.square, np.array([1.0, 0.0])), "knots must increase"),
    "a knot twice": (lambda: chords(curves.square, np.array([0.0, 1.0, 1.0])), "knots must increase"),
    "a square beyond float64": (lambda: chords(curves.square, np.array([0.0, 1e200])), "not finite"),
}


@pytest.mark.parametrize(("build", "message"), REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_bad_knots_are_refused(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_the_spread_of_the_logits_is_that_of_the_functions() -> None:
    """Chords of x^2 on [-R, R] in M pieces are off by (R/M)^2, so |mu|^2/2 by d R^2 / (2 M^2) = 12 / 32."""
    spread = float(logit_spread(1e-8, 2.0, 3, 50, 4) - log_chord_error(1e-8, 50))
    assert spread == pytest.approx(3 / 8)
    assert spread == pytest.approx(3 * chords(curves.square, uniform(-2.0, 2.0, 4)).approximation_error / 2)


@given(decades=st.floats(0.1, 4), pieces=st.integers(1, 40))
def test_the_error_of_chords_of_the_reciprocal_is_attained(decades: float, pieces: int) -> None:
    """On a piece from a to q a, in z = log x, the error g is largest in the middle, where
    ``|g''| / g = 2 / (2 sinh(log(q)/4))^2 <= 8 / log(q)^2``. A point is within log(q)/1000: 4e-6 of g.
    """
    f = chords(curves.reciprocal, geometric(10.0**-decades, 1.0, pieces))
    x = f.knots[:-1, None] * (f.knots[1:] / f.knots[:-1])[:, None] ** np.linspace(0, 1, 501)
    errors = error_at(f, np.clip(x, f.knots[0], f.knots[-1]))
    slack = evaluation_rounding(f)
    assert -slack <= errors.min()
    assert 0.999 * f.approximation_error - slack <= errors.max() <= f.approximation_error + slack


def test_a_line_is_its_own_chord() -> None:
    f = chords(curves.complement, np.array([0.0, 0.5, 1.0]))
    assert f.approximation_error == 0
    assert f(torch.tensor([-1.0, 0.0, 0.25, 1.0, 3.0])).tolist() == [1, 1, 0.75, 0, 0]
