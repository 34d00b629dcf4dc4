"""Certificates against the exact distance on tasks of the box."""

import math
import time

import numpy as np
import pytest
from flint import arb
from hypothesis import given, settings
from hypothesis import strategies as st
from region_samples import ball_distances, drawn, float_distances, largest, members

from constructions.em.weights import em_construction
from verify.certify.regions.box import Box
from verify.certify.regions.intervals import Interval
from verify.certify.regions.reach import Task, point_bound
from verify.certify.regions.region import certify_region

CASES = [
    (N, d, K, steps, pieces, radius)
    for (N, d, K, steps) in ((6, 1, 2, 1), (8, 2, 2, 3), (9, 3, 3, 2), (7, 1, 3, 2), (5, 2, 1, 2))
    for pieces, radius in ((8, 0.0), (8, 1e-3), (32, 1e-4), (32, 1e-2), (128, 0.1), (512, 1e-3))
]


@pytest.mark.parametrize(("N", "d", "K", "steps", "pieces", "radius"), CASES)
def test_no_task_of_the_box_is_farther(N, d, K, steps, pieces, radius):
    """2,000 tasks a case in floats; the five farthest in balls, every component and step."""
    rng = np.random.default_rng([N, d, K, steps, pieces])
    em = em_construction(d, K, steps, pieces)
    X, weights, means = drawn(rng, N, d, K)
    box = Box.around(X, weights, means, radius, weight_radius=radius / 50, mean_radius=radius / 3)
    found = certify_region(em, box, steps)
    assert found.verdict == "certified"
    tasks = members(rng, box, 2000 if radius else 1)
    far = np.argsort(float_distances(em, *tasks, steps))[-5:]
    for i in far:
        for step, (mean, weight) in enumerate(ball_distances(em, *(part[i] for part in tasks), steps)):
            assert not any(v > arb(b) for v, b in zip(mean, found.mean[step].tolist(), strict=True))
            assert not any(v > arb(b) for v, b in zip(weight, found.weight[step].tolist(), strict=True))


@pytest.mark.parametrize(("d", "K"), [(1, 2), (2, 2), (3, 3)])
def test_a_box_of_radius_0_is_the_error_at_the_point(d, K):
    rng = np.random.default_rng(d)
    em = em_construction(d, K, 3, 64)
    X, weights, means = drawn(rng, 8, d, K)
    for steps, most in ((1, 1 + 1e-9), (3, 1.3)):
        found = certify_region(em, Box.around(X, weights, means), steps)
        error = largest(ball_distances(em, X, weights, means, steps))
        assert error <= found.bound <= most * error
    assert found.weight[0].max() < 1e-300  # the first step reads its start exactly


def test_nine_tenths_of_a_bound_are_broken_in_balls():
    """One step at 128 pieces: the bound is reached within a tenth, so a smaller one is broken."""
    rng = np.random.default_rng(0)
    em, broken = em_construction(2, 2, 1, 128), 0
    for _ in range(4):
        box = Box.around(*drawn(rng, 20, 2, 2), 1e-3)
        found = certify_region(em, box, 1)
        tasks = members(rng, box, 1000)
        worst = int(np.argmax(float_distances(em, *tasks, 1)))
        error = largest(ball_distances(em, *(part[worst] for part in tasks), 1))
        assert error <= found.bound
        broken += error > 0.9 * found.bound
    assert broken >= 2


def test_boxes_are_cut_until_the_target_or_the_budget_is_reached():
    """One point of five moves far: halves of its interval are certified, the whole is not."""
    rng = np.random.default_rng(5)
    em = em_construction(1, 2, 2, 64)
    X, weights, means = drawn(rng, 5, 1, 2)
    exact = Box.around(X, weights, means)
    reach = np.zeros((5, 1))
    reach[2] = 0.3
    box = Box(exact.points + Interval.symmetric(reach), exact.weights, exact.means)
    whole = certify_region(em, box, 2)
    cut = certify_region(em, box, 2, budget=31)
    assert whole.boxes == 1
    assert cut.boxes == 31
    assert cut.bound < whole.bound / 4
    target = (cut.bound + whole.bound) / 2
    refused, reached = (certify_region(em, box, 2, target, budget) for budget in (1, 31))
    assert (refused.verdict, refused.boxes, refused.bound) == ("unknown", 1, whole.bound)
    assert reached.verdict == "certified"
    assert reached.bound <= target
    assert reached.boxes < 31
    tasks = members(rng, box, 3000)
    worst = int(np.argmax(float_distances(em, *tasks, 2)))
    error = largest(ball_distances(em, *(part[worst] for part in tasks), 2))
    assert error <= cut.bound


def test_what_cannot_be_known_is_unknown():
    """A component 1e3 standard deviations away: its share of the points has no float."""
    em = em_construction(1, 2, 1, 64, radius=2000.0)
    box = Box.around([[0.0], [0.1], [-0.1]], [0.5, 0.5], [[0.0], [1900.0]], 1e-3, mean_radius=50.0)
    found = certify_region(em, box, 1, target=1e-6)
    assert found.verdict == "unknown"
    assert found.bound > 1e-6


def test_a_box_that_cannot_be_cut_ends_the_search():
    em = em_construction(1, 1, 1, 8)
    found = certify_region(em, Box.around([[0.5]], [1.0], [[0.5]]), 1, target=1e-300, budget=100)
    assert found.boxes == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"budget": 0}, "budget is 0"),
        ({"target": 0.0}, "target is 0.0"),
        ({"target": math.nan}, "target is nan"),
    ],
)
def test_bad_arguments_are_named(change, says):
    box = Box.around([[0.0], [1.0]], [0.5, 0.5], [[0.0], [1.0]])
    with pytest.raises(ValueError, match=says):
        certify_region(em_construction(1, 2, 1, 8), box, **({"steps": 1} | change))


@given(
    places=st.lists(st.sampled_from([-3.0, 0.0, 1e-320, 0.5, 0.5000000001, 11.0]), min_size=4, max_size=6),
    weights=st.lists(st.sampled_from([2.1e-8, 0.3, 1.0]), min_size=2, max_size=2),
    radius=st.sampled_from([0.0, 5e-324, 1e-9, 1e-2, 0.9]),
)
@settings(max_examples=25, deadline=None)
def test_edges_are_never_broken(places, weights, radius):
    """Equal points, weights near the floor, subnormal numbers, means that coincide."""
    em = em_construction(1, 2, 2, 16)
    X = np.array(places)[:, None]
    box = Box.around(X, weights, [[places[0]], [places[-1]]], radius)
    found = certify_region(em, box, 2)
    rng = np.random.default_rng(0)
    tasks = members(rng, box, 30)
    error = max(largest(ball_distances(em, *(part[i] for part in tasks), 2)) for i in (0, 15, 29))
    assert error <= found.bound


@pytest.mark.slow
def test_the_radius_of_a_thousandth_is_certified_at_ten_point_bounds():
    """What must hold: 20 points, d = 2, K = 2, B at most 10 times the point bound, in at most 60 s."""
    rng = np.random.default_rng(0)
    for pieces in (128, 512, 2048):
        for steps in (1, 3):
            em = em_construction(2, 2, steps, pieces)
            for _ in range(10):
                task = Task.drawn(rng, 20, 2, 2)
                target = 10 * point_bound(em, task, steps)
                began = time.perf_counter()
                assert certify_region(em, task.box(1e-3), steps, target).verdict == "certified"
                assert time.perf_counter() - began < 60
