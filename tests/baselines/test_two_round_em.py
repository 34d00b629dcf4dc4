"""Two-round EM: every step against a plain loop, the rules by hand, separated clusters, bad input."""

import math

import numpy as np
import pytest
import torch
from tensor_instances import seeded

from baselines.em import em
from baselines.em_steps import em_step
from baselines.metrics import errors
from baselines.mixture import Mixture
from baselines.points import prepare
from baselines.starts import random_points
from baselines.tasks import paper_tasks, separated_tasks
from baselines.two_round_em import default_starts, far_apart_start, farthest_first, heavy_enough, two_round_em


def by_hand(X, centres, K):
    """Steps 1 to 3 on one task in numpy, in loops."""
    m = len(centres)
    shares = []
    for x in X:
        heights = np.array([math.exp(-0.5 * ((x - c) ** 2).sum()) for c in centres])
        shares.append(heights / heights.sum())
    shares = np.array(shares)
    weights = shares.mean(0)
    means = [shares[:, j] @ X / shares[:, j].sum() for j in range(m)]
    left = [j for j in range(m) if weights[j] >= 1 / (4 * m)]
    if len(left) < K:
        left = sorted(range(m), key=lambda j: -weights[j])[:K]
    chosen = [max(left, key=lambda j: weights[j])]
    while len(chosen) < K:
        gaps = {j: min(((means[j] - means[c]) ** 2).sum() for c in chosen) for j in left if j not in chosen}
        chosen.append(max(gaps, key=lambda j: gaps[j]))
    return np.array([means[j] for j in chosen])


@pytest.mark.parametrize(("d", "K", "m"), [(2, 3, 9), (3, 5, 30), (1, 2, 40), (2, 4, 4)])
def test_start_is_the_loop(d, K, m):
    X = paper_tasks(6, d, K, 40, seeded(d + K), max_cosine=1.1).X
    start = far_apart_start(X, K, n_starts=m, generator=seeded(1))
    points = prepare(X, None, None)
    centres = random_points(points, m, seeded(1)) + points.centre
    for task in range(6):
        exact = by_hand(X[task].numpy(), centres[task].numpy(), K)
        # log joints are off by (d + 8) u R^2, R < 20, shares by twice that, sums by 40 u, means by R times it
        tolerance = (2 * (d + 8) * 20**2 + 40) * 2.0**-53 * 20
        np.testing.assert_allclose(start.means[task], exact, rtol=0, atol=tolerance)
    assert torch.equal(start.weights, torch.full_like(start.weights, 1 / K))


def test_second_round_is_em_from_there():
    X = paper_tasks(6, 3, 3, 50, seeded(2)).X
    start = far_apart_start(X, 3, generator=seeded(3))
    once = two_round_em(X, 3, generator=seeded(3))
    step, _, _ = em_step(X, start)
    # twice one step's rounding: 2 (d + 8) u R^2 for a share, R < 20, N u for a sum, R times it for a mean
    tolerance = 2 * (2 * 11 * 20**2 + 50) * 2.0**-53 * 20
    torch.testing.assert_close(once.mixture.means, step.means, rtol=0, atol=tolerance)
    assert (once.n_iter == 1).all()
    long = two_round_em(X, 3, max_iter=50, tol=1e-6, generator=seeded(3))
    assert torch.equal(long.mixture.means, em(X, init=start, max_iter=50, tol=1e-6).mixture.means)


def test_pruning():
    weights = torch.tensor([[0.5, 0.0624, 0.0626, 0.375], [0.97, 0.01, 0.012, 0.008]])
    assert heavy_enough(weights, 2).tolist() == [[True, False, True, True], [True, False, True, False]]
    assert heavy_enough(weights, 3)[1].tolist() == [True, True, True, False]


def test_farthest_first():
    """At 0, 1, 9, 10, 30: the heaviest allowed is 9; 0 is farthest from it; then 10 and 1 are both 1 away,
    and the first of them, 1, is taken. 30 is not allowed."""
    means = torch.tensor([[0.0], [1.0], [9.0], [10.0], [30.0]])
    allowed = torch.tensor([True, True, True, True, False])
    weights = torch.tensor([0.1, 0.1, 0.3, 0.1, 0.4])
    assert farthest_first(means, allowed, weights, 3).squeeze(-1).tolist() == [9.0, 0.0, 1.0]


def test_equal_means_are_each_taken_once():
    means = torch.zeros(3, 2)
    assert farthest_first(means, torch.ones(3, dtype=torch.bool), torch.ones(3), 3).shape == (3, 2)


def test_separated_clusters_are_all_found():
    """Separation 12, d = 8, one step a round. A missed cluster costs 12^2/(4 K d) = 0.9 at least (a mean
    between two others); sampling about K/N = 0.025, and no task of 200 has four times that."""
    tasks = separated_tasks(200, 8, 5, 200, seeded(4), separation=12.0)
    result = two_round_em(tasks.X, 5, generator=seeded(5))
    assert errors(result.mixture, tasks.truth).total.max() < 0.1


def test_default_number_of_starts():
    assert default_starts(1) == math.ceil(4 * math.log(4))
    for K in range(1, 30):
        m = default_starts(K)
        assert K * (1 - 1 / K) ** m <= K * (4 * K) ** -4.0
        assert m >= K
    few = paper_tasks(2, 2, 3, 12, seeded(6)).X  # fewer points than 4 K ln(4 K) = 30
    assert two_round_em(few, 3, generator=seeded(7)).mixture.means.shape == (2, 3, 2)


def test_batch_shape_blocks_and_dtype(monkeypatch):
    X = paper_tasks(6, 2, 3, 30, seeded(8)).X.float().reshape(2, 3, 30, 2)
    result = two_round_em(X, 3, generator=seeded(9))
    assert result.mixture.means.shape == (2, 3, 3, 2)
    assert result.mixture.means.dtype == torch.float32
    monkeypatch.setattr("baselines.two_round_em.NUMBERS_AT_ONCE", 1)
    generator = seeded(10)
    X = X.double()
    together = far_apart_start(X, 3, n_starts=10, generator=seeded(10))
    alone = [
        far_apart_start(X[i, j], 3, n_starts=10, generator=generator) for i in range(2) for j in range(3)
    ]
    # One EM step either time, of a task that stands elsewhere in memory: twice the tolerance above, R < 20.
    tolerance = 2 * (2 * (2 + 8) * 20**2 + 40) * 2.0**-53 * 20
    means = torch.stack([start.means for start in alone])
    torch.testing.assert_close(together.means.reshape(6, 3, 2), means, rtol=0, atol=tolerance)
    assert isinstance(together, Mixture)


X = paper_tasks(2, 2, 3, 10, seeded(11)).X


@pytest.mark.parametrize(
    ("data", "settings", "match"),
    [
        (X * torch.nan, {}, r"X\[0, 0, 0\] is nan, needs finite"),
        (X, {"n_components": 0}, "n_components is 0, needs"),
        (X, {"n_components": 11}, "n_starts is 10, needs n_components = 11 <= n_starts <= N = 10"),
        (X, {"n_starts": 2}, "n_starts is 2, needs n_components = 3 <= n_starts"),
        (X, {"n_starts": 11}, "n_starts is 11, needs .* N = 10"),
        (X, {"n_starts": 4.0}, "n_starts is 4.0, needs an integer"),
        (X, {"generator": None}, "generator is None, needs"),
        (X, {"max_iter": 0}, "max_iter is 0, needs"),
        (X, {"tol": -1.0}, "tol is -1.0, needs"),
    ],
)
def test_refuses(data, settings, match):
    with pytest.raises(ValueError, match=match) as caught:
        two_round_em(data, **({"n_components": 3, "generator": seeded(0)} | settings))
    assert "\n" not in str(caught.value)
