"""Each term of the bounds of tensor power iteration where it decides: instances of one dimension by hand."""

import math

import pytest
import torch

from constructions import chords, geometric
from constructions.language import curves
from constructions.language.rounding import gamma
from constructions.tensor_power.relu_bounds import (
    StepError,
    natural_scale,
    offset_rounding,
    path_bound,
    piecewise_length_error,
)
from constructions.tensor_power.softmax_bounds import Heads, step_bound

U, U32 = 2.0**-53, 2.0**-24
T = torch.ones(1, 1, 1, 1, dtype=torch.float64)


def number(value):
    return torch.tensor([[value]], dtype=torch.float64)


def path_error(states, steps, normalised):
    """Bounds on the error of each state of T = 1, d = 1; steps are (heads, entries, length)."""
    path = torch.tensor(states, dtype=torch.float64)[None, :, None]
    errors = [StepError(number(h), e, torch.tensor([s], dtype=torch.float64)) for h, e, s in steps]
    bound = path_bound(T, path, errors, normalised)
    assert torch.equal(bound.entries[..., 0], bound.error)
    return bound.error[0].tolist()


def test_the_natural_scale_does_not_cancel():
    """v_1^2 - v_2^2 at v = (1, 1) is 0, of two terms of size 1."""
    signs = torch.zeros(1, 2, 2, 2, dtype=torch.float64)
    signs[0, 0] = torch.tensor([[1.0, 0.0], [0.0, -1.0]])
    assert natural_scale(signs, torch.ones(1, 2).double()).tolist() == [[2.0, 0.0]]


def test_an_offset_is_rounded_with_what_it_is_added_to():
    """fl(v^2 + B) - B at B = 2^20, v^2 = 2^-40: all of v^2 is lost, of which gamma_15 v^2 would be 2^-89."""
    found = offset_rounding(T, number(2.0**-20), 2.0**20, 1, 1, torch.float64)
    assert float(found) >= 2.0**-40


def test_a_plain_step_carries_the_square_of_an_error():
    """v <- v^2 from 1; the run is at 1/2 after a step, off by 1/2, and at 1/4 then, where 1 is right: off by
    2 (1/2)(1/2) + (1/2)^2 = 3/4, by entries and by lengths."""
    assert path_error([1.0, 0.5, 0.25], [(0.5, 0.0, 0.0), (0.0, 0.0, 0.0)], False) == [0.0, 0.5, 0.75]


def test_a_normalised_step_adds_its_terms():
    """Entries off by h = 2/21 turn a direction by 2 h / (2 - h) = 1/10; heads turn none in one dimension.

    A direction off by eta = 1/10 is off by eta^2 / (1 - 2 eta - eta^2) = 1/79 after the next step: x = 1 is
    left alone by P, its derivative is 2, tau is 1. A length off by 1/4 adds just that, and is not carried.
    """
    entries, still = (0.0, 2 / 21, 0.0), (0.0, 0.0, 0.0)
    assert path_error([1.0, 1.0, 1.0], [entries, still], True) == pytest.approx([0, 0.1, 1 / 79])
    assert path_error([1.0, 1.0], [(0.9, 0.0, 0.0)], True) == [0, 0]
    assert path_error([1.0, 1.0], [(2.0, 0.0, 0.0)], True) == [0, math.inf]
    assert path_error([1.0, 1.0, 1.0], [(0.0, 0.0, 0.25), still], True) == pytest.approx([0, 0.25, 0])


def lost(a, epsilon, sink):
    """What one pair of heads and one token fall short of sinh(eps a)/eps, in real arithmetic."""
    weights = [math.exp(x) / (math.exp(sink) + math.exp(x)) for x in (epsilon * a, -epsilon * a)]
    return math.sinh(epsilon * a) / epsilon - math.exp(sink) * (weights[0] - weights[1]) / (2 * epsilon)


@pytest.mark.parametrize(
    ("a", "epsilon", "sink", "tightness"),
    [
        (1.0, 1e-3, 10.0, 1.01),  # 2 a e^-c: half by the token's own weight, half by the sum it is part of
        (1.0, 1e-3, 0.0, 1.01),  # no sink: a sigmoid of slope 1/4 in place of 1, so 3/4 a
        (2.0, 1.0, 4.0, 10.0),  # far from first order, which says 0.07 where 0.44 is lost
    ],
)
def test_what_leaks_to_the_sink_is_within_its_bound(a, epsilon, sink, tightness):
    bound = float(step_bound(T, number(math.sqrt(a)), Heads(epsilon, 1, sink), 1, torch.float64).leakage)
    assert lost(a, epsilon, sink) <= bound <= tightness * lost(a, epsilon, sink)


def test_the_approximation_is_bounded_where_its_series_is_too_short():
    """sinh(20) - 20 from twelve terms, the last 20^25/25!, and a bound on the rest."""
    bound = step_bound(T, number(math.sqrt(20.0)), Heads(1.0, 1, 36.0), 1, torch.float64)
    assert float(bound.approximation) >= math.sinh(20.0) - 20.0


def test_the_error_of_exp_is_in_the_rounding():
    """Float32, exp 20 units (40 u) too large in one head of a pair, too small in the other: 40 u / eps.

    The score of the sink, 15.75, rounds by 8 u / eps at most.
    """
    epsilon = 1e-2
    bound = step_bound(T, number(1.0), Heads(epsilon, 1, 15.75), 1, torch.float32)
    assert float(bound.rounding) >= 40 * U32 / epsilon


def test_the_length_of_a_piecewise_norm_includes_the_rounding_of_the_square():
    """One chord of 1/sqrt on [1, 4], f = 7/6 - x/6, at x = 7/3, where it is highest beside 1/sqrt.

    The sum of 10^6 squares may be low by gamma_d x, in float32 6 %, which raises f by gamma_d x / 6.
    """
    f = chords(curves.inverse_sqrt, geometric(1.0, 4.0, 1))
    x, d = 7 / 3, 10**6
    low = x * (1 - gamma(d, U32))
    length = (7 / 6 - low / 6) * math.sqrt(x)
    zero = torch.zeros(1, dtype=torch.float64)
    limit = float(piecewise_length_error(f, zero + math.sqrt(x), zero, d, torch.float32))
    assert length - 1 <= limit <= 2 * (length - 1)
