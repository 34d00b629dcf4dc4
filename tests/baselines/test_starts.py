"""Starts have the distribution that their rule says: counts over many tasks against probabilities by hand."""

import math

import pytest
import torch
from tensor_instances import seeded

from baselines.kmeans import kmeans
from baselines.points import prepare
from baselines.starts import lloyd, start_means

TASKS = 4000


def starts(X, K, init, seed, weight=None):
    """Starting means (TASKS, K, d) of one data set, drawn TASKS times, in its coordinates."""
    X = torch.as_tensor(X, dtype=torch.float64)
    weight = None if weight is None else torch.as_tensor(weight, dtype=torch.float64).expand(TASKS, len(X))
    points = prepare(X.expand(TASKS, *X.shape), weight, None)
    return start_means(points, K, init, seeded(seed)) + points.centre


def assert_share(hits, probability):
    """Within six standard deviations of a binomial: by chance outside once in 5e8."""
    n = len(hits)
    allowed = 6 * math.sqrt(n * probability * (1 - probability))
    assert abs(int(hits.sum()) - n * probability) <= allowed


def test_plain_kmeans_plus_plus_draws_by_the_square_of_the_distance():
    """Of 0, 1, 3, the first evenly; then by squares: 1:9 from 0, 1:4 from 1, 9:4 from 3.

    Both of {0, 1}: (1/10 + 1/5)/3 = 0.1. By the distance it would be (1/4 + 1/3)/3 = 0.194.
    """
    pair = starts([[0.0], [1.0], [3.0]], 2, "plain-k-means++", 0).round().squeeze(-1).sum(-1)
    assert_share(pair == 1, 0.1)
    assert_share(pair == 3, (9 / 10 + 9 / 13) / 3)
    assert_share(pair == 4, (4 / 5 + 4 / 13) / 3)


def test_plain_kmeans_plus_plus_draws_by_weight():
    """The first by weight, 1:2:1; the second by weight times square, 2:9 from 0, 1:4 from 1, 9:8 from 3."""
    pair = starts([[0.0], [1.0], [3.0]], 2, "plain-k-means++", 1, [1.0, 2.0, 1.0]).round().squeeze(-1).sum(-1)
    assert_share(pair == 1, (2 / 11 + 2 * 1 / 5) / 4)
    assert_share(pair == 3, (9 / 11 + 9 / 17) / 4)


@pytest.mark.parametrize(("K", "n_trials"), [(2, 5), (3, 6)])
def test_greedy_kmeans_plus_plus_keeps_the_best_of_so_many_trials(K, n_trials):
    """5 + floor(log K) trials. From the origin, one point at sqrt(3) e_1 and one at each of e_2, ..., e_8.

    A trial draws the first with probability 3/10. It lowers the sum by 3, every other by 1, and so it is kept
    unless all trials miss it: 0.7^5 = 0.168 (0.240 with one trial fewer, 0.118 with one more).
    """
    X = torch.cat([torch.zeros(1, 8), torch.eye(8)]).double()
    X[1] *= math.sqrt(3)
    means = starts(X, K, "k-means++", K, [1e4] + [1.0] * 8)
    second = means[means[:, 0].norm(dim=-1) < 0.5, 1]
    assert len(second) > 0.99 * TASKS
    assert_share(second[:, 0] < 0.5, 0.7**n_trials)


def test_random_points_are_all_sets_alike():
    pair = starts([[0.0], [1.0], [3.0]], 2, "random-points", 2).round().squeeze(-1).sum(-1)
    for total in (1, 3, 4):
        assert_share(pair == total, 1 / 3)


def test_normal_starts_lie_about_the_origin_wherever_the_data_are():
    """The numbers of the generator themselves; taking the centre off and on again rounds by 2 u |centre|."""
    found = starts([[100.0, -50.0], [102.0, -50.0]], 2, "normal", 3)
    drawn = torch.randn(TASKS, 2, 2, dtype=torch.float64, generator=seeded(3))
    torch.testing.assert_close(found, drawn, rtol=0, atol=4 * 2.0**-53 * 110)


def test_kmeans_is_lloyds_algorithm_from_the_same_draws():
    """Until nothing changes, on groups so clear that five steps are enough for both."""
    places = torch.tensor([[0.0, 0.0], [20.0, 0.0], [0.0, 20.0]]).double()
    X = places[torch.arange(60) % 3] + torch.randn(8, 60, 2, dtype=torch.float64, generator=seeded(0))
    points = prepare(X, None, None)
    found = start_means(points, 3, "k-means", seeded(1)) + points.centre
    expected = kmeans(X, 3, generator=seeded(1)).centres
    torch.testing.assert_close(found, expected, rtol=0, atol=60 * 2**-52 * 30)


@pytest.mark.parametrize("chunk_size", [None, 7])
def test_lloyd_counts_weights_and_no_task_minds_another(chunk_size):
    """A weight is so many copies, a weight of 0 none; alone or among others, in chunks or whole."""
    generator = seeded(4)
    X = torch.randn(5, 40, 2, dtype=torch.float64, generator=generator)
    copies = torch.randint(0, 4, (5, 40), generator=generator)
    means = X[:, :4].clone()
    together = prepare(X, copies.double(), chunk_size)
    found = lloyd(together, means - together.centre) + together.centre
    for task in range(5):
        repeated = X[task].repeat_interleave(copies[task], 0).unsqueeze(0)
        alone = prepare(repeated, None, None)
        expected = lloyd(alone, means[task : task + 1] - alone.centre) + alone.centre
        # averages of n numbers below 5 in other orders: 2 n u 5 for each of the two
        tolerance = 4 * repeated.shape[1] * 2**-53 * 5
        torch.testing.assert_close(found[task : task + 1], expected, rtol=0, atol=tolerance)


def test_lloyd_keeps_a_mean_without_points():
    X = torch.tensor([[[0.0], [1.0], [2.0]]]).double()
    points = prepare(X, None, None)
    found = lloyd(points, torch.tensor([[[0.0], [100.0]]]).double())
    assert found.tolist() == [[[0.0], [100.0]]]
