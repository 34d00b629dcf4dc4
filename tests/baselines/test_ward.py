"""Ward's tree as a start: scipy's own cut, one group for one more K, the M step of the groups."""

import numpy as np
import pytest
import torch
from em_instances import instance
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.datasets import load_iris

from baselines.em_estimator import EMMixture
from baselines.families import FAMILIES, family_of
from baselines.metrics import adjusted_rand_index
from baselines.points import prepare
from baselines.ward import MOST_POINTS, labels_of, partition_start, ward_labels


def same(one, other):
    one, other = (torch.as_tensor(labels) for labels in (one, other))
    return float(adjusted_rand_index(one, other)) == 1.0


def test_groups_are_scipys_and_exactly_k_even_of_equal_points():
    X = np.random.default_rng(0).normal(size=(40, 3))
    tree = linkage(X, "ward")
    for K, labels in zip(range(1, 8), ward_labels(X, range(1, 8)), strict=True):
        assert same(labels, fcluster(tree, K, "maxclust").astype(np.int64))
    for K, labels in zip((1, 4, 6), ward_labels(np.ones((6, 2)), (1, 4, 6)), strict=True):
        assert sorted(set(labels)) == list(range(K))
    assert ward_labels(np.ones((1, 2)), [1]).tolist() == [[0]]


def test_many_points_join_the_nearest_group_of_a_part():
    generator = np.random.default_rng(1)
    truth = generator.integers(3, size=MOST_POINTS + 500)
    X = 10.0 * np.eye(3)[truth] + generator.normal(size=(len(truth), 3))
    assert same(ward_labels(X, [3])[0], truth)


@pytest.mark.parametrize("name", [f.name for f in FAMILIES])
def test_the_start_is_the_m_step_of_the_groups(name):
    """Averages by numpy, of points of weight above 0 only; sums of 60 terms below 10^3 round by 6e4 u."""
    X, _ = instance(4, 2, 3, 60, batch=(1,))
    weight = torch.ones(1, 60, dtype=torch.float64)
    weight[0, ::7] = 0.0
    points = prepare(X, weight, None)
    labels = labels_of(points, 3)
    start = partition_start(points, labels, 3, family_of(name))
    kept = weight[0] > 0
    means = torch.stack([X[0, kept & (labels[0] == k)].mean(0) for k in range(3)])
    torch.testing.assert_close(start.means[0] + points.centre[0], means, rtol=0, atol=1e-11)
    shares = torch.stack([(kept & (labels[0] == k)).sum() for k in range(3)]) / kept.sum()
    torch.testing.assert_close(start.weights[0], shares.double(), rtol=0, atol=1e-7)
    if name == "full":
        own = torch.stack([X[0, kept & (labels[0] == k)].T.cov(correction=0) for k in range(3)])
        torch.testing.assert_close(start.covariances[0], own, rtol=0, atol=1e-11)
    if name == "tied_spherical":
        own = [X[0, kept & (labels[0] == k)] - means[k] for k in range(3)]
        pooled = torch.cat(own).square().mean()
        torch.testing.assert_close(start.covariances[0], pooled, rtol=0, atol=1e-11)


def test_groups_of_few_points_take_the_pooled_covariance():
    X = torch.tensor([[0.0, 0.0], [1.0, 0.3], [0.2, 1.0], [0.4, 0.1], [9.0, 9.0]], dtype=torch.float64)[None]
    points = prepare(X, None, None)
    labels = labels_of(points, 2)
    start = partition_start(points, labels, 2, family_of("full"))
    alone = int(labels[0, 4])
    crowd = X[0, :4].T.cov(correction=0) * 4 / 5
    torch.testing.assert_close(start.covariances[0, alone], crowd, rtol=0, atol=1e-14)


def test_the_estimator_starts_there_without_a_draw():
    X = load_iris().data
    fits = [EMMixture(3, covariance_type="full", init="ward", random_state=seed).fit(X) for seed in (0, 1)]
    np.testing.assert_array_equal(fits[0].means_, fits[1].means_)
    more = EMMixture(3, covariance_type="full", init="ward", n_init=3, random_state=0).fit(X)
    assert more.lower_bound_ >= fits[0].lower_bound_
