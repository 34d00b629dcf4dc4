"""The flow of one score against its theorem: ends, rates, what is kept, the exceptional line."""

import math
import re

import numpy as np
import pytest
import torch

from training.comparison.finding.one_score import (
    TOLERANCE,
    SymmetricTasks,
    descend,
    flow,
    halves,
    limit,
    safe_rate,
)
from training.comparison.origins.em_problem import EMProblem

TASKS = SymmetricTasks(np.random.default_rng(0).normal(size=(4, 6)), np.array([1.0, -0.5, 0.3, 0.8]))
STARTS = {
    "small": [[0.05], [0.05]],
    "wrong signs": [[1.5], [-1.4]],
    "beside the line": [[1.0], [-1.0 + 1e-6]],
    "one weight": [[0.0], [0.3]],
    "too large": [[2.0], [1.5]],
    "both negative": [[-0.2], [-0.4]],
    "three columns": [[0.5, -1.0, 0.2], [-0.6, 0.3, 0.4]],
}


def slack(path):
    """n steps whose errors, by the integrator's estimate, are sqrt(2 E) TOLERANCE (1 + |y|) at most.

    An error e in the weights y moves a, and each entry of q q^T - k k^T, by 2 |y| |e| at most. The estimate
    is no bound; it is of order 5 and the step's error of order 8, which is smaller.
    """
    size = float(np.sqrt((path.weights**2).sum((1, 2))).max())
    return len(path.times) * math.sqrt(path.weights[0].size) * TOLERANCE * (1 + size) * 2 * size


@pytest.mark.parametrize("name", STARTS)
def test_the_flow_keeps_the_balance_and_ends_where_the_formula_says(name):
    start = np.array(STARTS[name])
    a = float(start[0] @ start[1])
    u, _ = halves(start)
    pull = TASKS.least_pull(max(abs(a), 1.0)) * (float(u @ u) if a < 1 else 2.0)
    waiting = max(0.0, -math.log(float(u @ u))) / -TASKS.slope(0.0)
    path = flow(TASKS, start, waiting + 16 / TASKS.curvature)
    assert np.abs(path.balances - path.balances[0]).max() <= slack(path)
    assert limit(start)[0] @ limit(start)[1] == pytest.approx(1, rel=1e-12)  # a sum of few terms of size < 10
    gap = np.abs(path.scores - 1)
    assert (gap <= np.exp(-2 * pull * path.times) * abs(a - 1) + slack(path)).all()
    assert (np.diff(gap) <= slack(path)).all()
    assert np.abs(path.weights[-1] - limit(start)).max() <= slack(path) + gap[-1]
    assert gap[-1] < 1e-6 * abs(a - 1)


def test_the_line_ends_in_the_saddle():
    start = np.array([[0.7, -0.2], [-0.7, 0.2]])
    path = flow(TASKS, start, 12 / -TASKS.slope(0.0))
    assert np.array_equal(path.weights[:, 0], -path.weights[:, 1])
    assert np.linalg.norm(path.weights[-1]) < 1e-3
    assert np.array_equal(limit(start), np.zeros((2, 2)))
    assert TASKS.slope(0.0) < 0  # the Hessian there is L'(0) (0 1; 1 0): eigenvalues -L'(0), L'(0)


def test_the_slope_has_the_sign_of_a_less_1_and_lies_between_its_bounds():
    for a in (-30.0, -1.0, 0.0, 0.5, 0.99, 1.01, 2.0, 5.0):
        pull = TASKS.slope(a) / (a - 1)
        assert 0 < 2 * TASKS.least_pull(max(abs(a), 1.0)) <= pull <= 2 * TASKS.largest_pull
        score = torch.tensor(a, dtype=torch.float64, requires_grad=True)
        x, m = torch.from_numpy(TASKS.points), torch.from_numpy(TASKS.means)[:, None]
        gaps = (x * (score * m * x).tanh() - x * (m * x).tanh()).mean(1)
        gaps.square().mean().backward()
        assert TASKS.slope(a) == pytest.approx(float(score.grad), rel=1e-10, abs=1e-14)  # tens of roundings


def test_gradient_descent_at_the_safe_rate_stays_on_its_side_and_at_a_large_one_does_not():
    for name in ("wrong signs", "too large", "three columns"):
        start = np.array(STARTS[name])
        u, _ = halves(start)
        a = float(start[0] @ start[1])
        rate = safe_rate(TASKS, start)
        path = descend(TASKS, start, rate, 600)
        gaps = path.scores - 1
        assert (np.sign(gaps) == np.sign(gaps[0])).all() or np.abs(gaps).min() < 1e-13
        pull = TASKS.least_pull(max(abs(a), 1.0)) * (float(u @ u) if a < 1 else 2.0)
        shrinking = (1 - 1.5 * rate * pull) ** path.times
        assert (np.abs(gaps) <= shrinking * abs(gaps[0]) + 1e-13).all()  # a near 1 is rounded at 1e-16 a step
    start = np.array(STARTS["too large"])
    far = descend(TASKS, start, 40 * safe_rate(TASKS, start), 3).scores - 1
    assert far.min() < 0 < far.max()  # the control


def test_a_scaled_score_in_the_hand_built_e_layer_gives_these_means():
    """Symmetric data, d = 1, K = 2: the construction with its <x, mu> times a."""
    problem = EMProblem(n_features=1, n_components=2, n_samples=4, steps=1, dtype=torch.float64)
    points, m, a = np.array([0.4, 1.7]), 0.9, 1.6
    X = np.concatenate([points, -points])[:, None]
    given = problem.construction.gather(X, np.array([0.5, 0.5]), np.array([[m], [-m]]))
    network, s = problem.constructed().requires_grad_(False), problem.construction.stream
    network.layers[0].attention.query[:, s.x.slice] *= a
    share = network.layers[0](problem.construction.embed(given))[0, :, s.resp.slice].numpy()
    means = share.T @ X / share.sum(0)[:, None]
    wanted = SymmetricTasks(points[None], np.array([m])).next_means(a)
    eps = np.finfo(float).eps  # a softmax of 4 scores of size below 5, then sums of 4
    assert np.abs(means[:, 0] - np.array([1, -1]) * wanted).max() < 100 * eps


@pytest.mark.parametrize(
    ("points", "means", "words"),
    [
        (np.ones((2, 3)), np.ones(3), "needs (T, N) and (T,)"),
        (np.ones((1, 3)), np.zeros(1), "m x is 0 at every point"),
    ],
)
def test_what_is_refused(points, means, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        SymmetricTasks(points, means)
