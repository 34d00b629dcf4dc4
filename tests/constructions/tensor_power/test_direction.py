"""How far an error turns a vector: by hand in the plane, and against errors drawn within what is known."""

import math

import pytest
import torch

from constructions import softmax_tensor_power_construction
from constructions.tensor_power.direction import Signed, direction_error, turned, turned_within

DRAWS = 4000


def vector(*entries):
    return torch.tensor([entries], dtype=torch.float64)


@pytest.mark.parametrize(
    ("e", "chord"),
    [
        ((5.0, 0.0), 0.0),  # along x
        ((0.0, 1.0), math.sqrt(2 - math.sqrt(2))),  # by 45 degrees
        ((-0.5, 0.5), math.sqrt(2 - math.sqrt(2))),
        ((-1.0, 1.0), math.inf),  # by a right angle
        ((-2.0, 0.0), math.inf),
    ],
)
def test_only_what_is_across_turns(e, chord):
    assert turned(vector(1.0, 0.0), vector(*e)).item() == pytest.approx(chord)


def test_a_small_angle_keeps_its_digits():
    assert turned(vector(3.0, 4.0), vector(-4e-18, 3e-18)).item() == pytest.approx(1e-18)


@pytest.mark.parametrize(
    ("width", "bound"),
    [
        ((0.5, 0.1), 0.1 / 0.5),  # the first entry is along x: it only shortens it
        ((0.5, 0.0), 0.0),
        ((0.0, 0.9), 0.9),
        ((0.9, 0.9), 2 * math.hypot(0.9, 0.9) / (2 - math.hypot(0.9, 0.9))),
        ((2.0, 0.0), math.inf),
    ],
)
def test_a_box_around_a_vector(width, bound):
    assert turned_within(vector(1.0, 0.0), vector(*width)).item() == pytest.approx(bound)


def test_a_box_that_is_not_along_an_axis():
    """x = (1, 1): |P| = 1/2 everywhere, so widths (a, b) turn by (a + b) / (2 - a - b) at most."""
    assert turned_within(vector(1.0, 1.0), vector(0.2, 0.02)).item() == pytest.approx(0.22 / 1.78)


def drawn(d, size):
    """States, the errors that are known of them, and errors within; the last of extreme entries."""
    rng = torch.Generator().manual_seed(d)
    x, m, r = torch.randn(3, DRAWS, d, generator=rng, dtype=torch.float64)
    width, wider = torch.rand(2, DRAWS, d, generator=rng, dtype=torch.float64)
    exact = Signed(size * m, 0.3 * size * width * torch.rand(DRAWS, 1, generator=rng, dtype=torch.float64))
    run = Signed(0.5 * size * r, exact.width + 0.3 * size * wider)
    sign = torch.randn(DRAWS, d, generator=rng, dtype=torch.float64).sign()
    return x, exact, run, sign


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("size", [1e-6, 0.1, 0.6])
def test_what_is_drawn_within_is_within(d, size):
    """With a scale of 4: errors belong to a state of length 2."""
    x, exact, run, sign = drawn(d, size)
    scale, unit = torch.full((DRAWS, 1), 4.0, dtype=torch.float64), x / x.norm(dim=-1, keepdim=True)
    for known, error in ((None, exact.width), (run, run.width)):
        bound = direction_error(x, exact, known, scale)
        middle = exact.middle + (0 if known is None else known.middle)
        after = x + (middle + sign * error) / 4
        # Of two unit vectors, each rounded.
        found = (after / after.norm(dim=-1, keepdim=True) - unit).norm(dim=-1) - 1e-15
        assert (found <= bound).all()
        if d > 1:
            assert (found / bound).max() > 0.9
    assert (direction_error(x, exact, None, scale) <= direction_error(x, exact, run, scale)).all()


def test_rounding_that_lengthens_takes_nothing_from_the_approximation():
    """z = 3 x would allow a third of the turn that the width allows at y = x."""
    x, none = vector(1.0, 0.0), vector(0.0, 0.0)
    exact, run = Signed(none, vector(0.0, 0.3)), Signed(vector(2.0, 0.0), vector(0.0, 0.3))
    one = torch.ones(1, 1, dtype=torch.float64)
    assert direction_error(x, exact, run, one).item() == pytest.approx(0.3)


def heads_error(v, epsilon, sink):
    """Of one product v^2 and one pair, in float64: what the layer is off, and what is known of it."""
    power = softmax_tensor_power_construction(1, 1, epsilon, 1, sink, "none", 4.0)
    T = torch.ones(1, 1, 1, dtype=torch.float64)
    made = power.run(T, torch.tensor([v], dtype=torch.float64), evaluation="dense").path[1, 0]
    known = power.one_step_error(T[None], vector(v), torch.float64)
    return float(made) - v * v, *(
        float(x) for part in (known.exact, known.run) for x in (part.middle, part.width)
    )


@pytest.mark.parametrize("v", [0.1, 0.55, 1.0, 1.3])
def test_what_the_pairs_err_is_known_with_its_sign(v):
    """eps = 1/4, c = 8: approximation is positive, what leaks to the sink negative; both above the width."""
    error, middle, width, _, whole = heads_error(v, 0.25, 8.0)
    assert abs(error - middle) <= whole
    series = math.sinh(v * v / 4) * 4 - v * v
    assert width < 0.5 * min(series, series - middle)


def test_the_rounding_of_scores_is_known_with_its_sign():
    """eps = 1/64 and c = 36, ten products: the known rounding is more than the width in some, of its sign."""
    outside = 0
    for step in range(10):
        error, middle, _, rounding, width = heads_error(0.6 + 0.07 * step, 1 / 64, 36.0)
        assert abs(error - middle - rounding) <= width
        outside += abs(error - middle + rounding) > width
    assert outside >= 2
