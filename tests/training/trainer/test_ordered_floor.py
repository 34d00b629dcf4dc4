"""The floor of the ordered loss: posterior of the ranks against independent computations; the loss itself."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import dblquad
from scipy.special import loggamma

from training.model.estimate import Estimate
from training.tasks import TaskDistribution, sample_tasks
from training.trainer.losses import ordered
from training.trainer.ordered_floor import (
    angular_frequency,
    informed_estimate,
    label_counts,
    ordered_floor,
    rank_posterior,
    task_figures,
)

F64 = torch.float64
N_TASKS = 500

# What the trapezoid rule may miss (the test of the aliasing bound); the nodes in r miss less, which refining
# them shows. Rounding is below: exponents of some hundreds in float64, 1e3 * 1e-16.
ACCURACY = 1e-9


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def tasks_of(d, K, n_samples, n_tasks, seed=0):
    distribution = TaskDistribution(d, (K,), sort_weights=True)
    return sample_tasks(distribution, n_tasks, K, n_samples, seeded(seed), dtype=F64)


def standard_errors_from_zero(values):
    return abs(float(values.mean() / values.std())) * math.sqrt(len(values))


@pytest.mark.parametrize("counts", [(1, 0), (1, 1), (60, 68), (50, 78), (3, 61), (300, 340)])
def test_two_components_against_scipys_quadrature(counts):
    a, b = counts

    def likelihood(second, first):
        return math.exp(
            a * math.log(2 * first) + b * math.log(2 * second) - (a + b) * math.log(first + second)
        )

    def integral(function, low, high):
        return dblquad(function, 0.2, 0.8, low, high, epsabs=0, epsrel=1e-10)[0]

    first_smaller = integral(likelihood, lambda r: r, 0.8)
    first_larger = integral(likelihood, 0.2, lambda r: r)
    p = first_smaller / (first_smaller + first_larger)
    found = rank_posterior(torch.tensor([counts]))
    torch.testing.assert_close(
        found.ranks[0], torch.tensor([[p, 1 - p], [1 - p, p]], dtype=F64), rtol=0, atol=ACCURACY
    )

    def smaller_weight(second, first):
        return likelihood(second, first) * min(first, second) / (first + second)

    least = integral(smaller_weight, lambda r: r, 0.8) + integral(smaller_weight, 0.2, lambda r: r)
    least = least / (first_smaller + first_larger)
    assert float(found.weights[0, 0]) == pytest.approx(least, abs=ACCURACY)


@pytest.mark.parametrize("counts", [(30, 40, 58), (0, 3, 2), (20, 25, 30, 20, 33)])
def test_against_importance_sampling_from_the_prior(counts):
    K, draws = len(counts), 100_000
    rng = np.random.default_rng(1)
    raw = rng.uniform(0.2, 0.8, size=(draws, K))
    pi = raw / raw.sum(1, keepdims=True)
    log_likelihood = np.log(pi) @ np.array(counts)
    likelihood = np.exp(log_likelihood - log_likelihood.max())
    rank = pi.argsort(1).argsort(1)
    ascending = np.sort(pi, axis=1)
    found = rank_posterior(torch.tensor([counts]))

    def deviations(values, mean):
        """Distance of `mean` from the self-normalised estimate, in standard errors (delta method)."""
        ratio = likelihood @ values / likelihood.sum()
        error = np.sqrt(np.sum((likelihood * (values - ratio)) ** 2)) / likelihood.sum()
        return abs(ratio - mean) / error

    for k in range(K):
        for i in range(K):
            # 5 standard errors: 6e-7 by chance for each of 35 comparisons at most; the seed is fixed.
            assert deviations(rank[:, i] == k, float(found.ranks[0, k, i])) < 5
        assert deviations(ascending[:, k], float(found.weights[0, k])) < 5


@settings(max_examples=25)
@given(st.lists(st.integers(0, 80), min_size=1, max_size=4).filter(any))
def test_refining_changes_nothing_and_rows_and_columns_sum_to_one(counts):
    counts = torch.tensor([counts])
    found, finer = rank_posterior(counts), rank_posterior(counts, refine=2)
    for mine, theirs in zip(found, finer, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=ACCURACY)
    one = torch.ones(1, counts.shape[1], dtype=F64)
    for sums in (found.ranks.sum(1), found.ranks.sum(2), found.weights.sum(1, keepdim=True)):
        torch.testing.assert_close(sums, one[:, : sums.shape[1]], rtol=0, atol=ACCURACY)
    assert bool((found.weights.diff(dim=1) > 0).all())  # ascending means of ascending numbers


@pytest.mark.parametrize("n_samples", [1, 2, 5, 20, 128, 4096, 100_000])
def test_bound_on_what_the_trapezoid_rule_misses(n_samples):
    w = angular_frequency(n_samples)
    missed = 2 * sum(
        math.exp(loggamma(n_samples + 1j * m * w).real - loggamma(n_samples).real) for m in (1, 2, 3)
    )
    assert missed < ACCURACY


def test_equal_counts_say_nothing_of_the_order():
    found = rank_posterior(torch.tensor([[7, 7, 7, 7]]))
    torch.testing.assert_close(found.ranks, torch.full((1, 4, 4), 0.25, dtype=F64), rtol=0, atol=ACCURACY)


def test_relabelled_counts_relabel_the_posterior():
    found = rank_posterior(torch.tensor([[20, 50, 31], [31, 20, 50]]))
    torch.testing.assert_close(found.ranks[1], found.ranks[0][:, [2, 0, 1]], rtol=0, atol=ACCURACY)
    torch.testing.assert_close(found.weights[1], found.weights[0], rtol=0, atol=ACCURACY)


def test_a_batch_of_several_lengths_equals_each_task_alone():
    counts = torch.tensor([[2, 1, 0], [40, 40, 48], [500, 300, 200]])
    together = rank_posterior(counts)
    for t in range(3):
        alone = rank_posterior(counts[t : t + 1])
        torch.testing.assert_close(together.ranks[t], alone.ranks[0], rtol=0, atol=ACCURACY)
        torch.testing.assert_close(together.weights[t], alone.weights[0], rtol=0, atol=ACCURACY)


@pytest.mark.parametrize("d", [2, 8])
def test_two_components_follow_the_formula(d):
    batch = tasks_of(d, 2, 128, 500)
    p = rank_posterior(label_counts(batch)).ranks[:, 0, 0]
    gap = (batch.truth.means[:, 0] - batch.truth.means[:, 1]).square().sum(-1)
    risk, aligned, _, _ = task_figures(batch)
    # Rounding of squares of at most d * 100: 1e3 * 1e-16.
    torch.testing.assert_close(risk, p * (1 - p) * gap / d, rtol=0, atol=1e-12)
    torch.testing.assert_close(aligned, torch.minimum(p, 1 - p).square() * gap / d, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("d", "K"), [(2, 2), (8, 3)])
def test_the_loss_of_the_informed_estimate_is_the_floor(d, K):
    batch = tasks_of(d, K, torch.randint(64, 129, (N_TASKS,), generator=seeded(5)), N_TASKS)
    estimate = informed_estimate(batch)
    risk, _, cross_entropy, _ = task_figures(batch)
    surplus = ordered(estimate, batch) - risk - cross_entropy
    assert standard_errors_from_zero(surplus) < 4  # given the data the average is 0: risk is a posterior mean

    # The plug-in order, each mean at the rank of its count: given the data its loss is larger by the squared
    # distance of the two estimates.
    rank = label_counts(batch).argsort(-1)
    means = batch.truth.means.gather(1, rank[:, :, None].expand_as(batch.truth.means))
    more = ordered(Estimate(estimate.log_weights, means), batch) - ordered(estimate, batch)
    distance = (means - estimate.means).square().mean((1, 2))
    assert distance.mean() > 0.3 * risk.mean()
    assert standard_errors_from_zero(more - distance) < 4


def test_informed_estimate_uses_no_order_it_is_not_told():
    batch = tasks_of(2, 3, 64, 5)
    first = informed_estimate(batch)
    batch.truth.means.copy_(batch.truth.means[:, [1, 2, 0]])
    batch.labels.copy_((batch.labels + 2) % 3)  # component 1 is component 0 now, and so on
    second = informed_estimate(batch)
    torch.testing.assert_close(second.means, first.means, rtol=0, atol=100 * ACCURACY)
    torch.testing.assert_close(second.log_weights, first.log_weights, rtol=0, atol=100 * ACCURACY)


def test_floor_at_one_length_and_at_a_range_of_one():
    floor = ordered_floor(2, 2, 64, 100, seeded(3))
    assert floor == ordered_floor(2, 2, (64, 64), 100, seeded(3))
    assert 0 < floor.aligned < floor.risk
    assert floor.risk_se > 0
    assert floor.entropy < math.log(2)


def test_floor_falls_with_the_number_of_points():
    few, between, many = (ordered_floor(2, 2, n, N_TASKS, seeded(1)) for n in (16, (16, 128), 512))
    for higher, lower in ((few, between), (between, many)):
        assert higher.risk - lower.risk > 4 * math.hypot(higher.risk_se, lower.risk_se)
    assert few.aligned - many.aligned > 4 * math.hypot(few.aligned_se, many.aligned_se)


def test_one_component_has_no_order():
    floor = ordered_floor(3, 1, 10, 5, seeded())
    assert max(map(abs, (floor.risk, floor.aligned, floor.cross_entropy, floor.entropy))) < ACCURACY


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        (torch.tensor([1, 2]), r"counts is torch.int64 of shape \(2,\), needs integers \(T, K\)"),
        (torch.tensor([[1.0, 2.0]]), "counts is torch.float32"),
        (torch.zeros(0, 2, dtype=torch.long), r"of shape \(0, 2\)"),
        (torch.tensor([[3, 1], [0, 0]]), "needs counts >= 0 with a sum >= 1"),
        (torch.tensor([[3, -1]]), "a negative count"),
    ],
)
def test_bad_counts(counts, line):
    with pytest.raises(ValueError, match=line):
        rank_posterior(counts)


def test_bad_requests():
    with pytest.raises(ValueError, match="n_tasks is 1, needs an integer of at least 2"):
        ordered_floor(2, 2, 64, 1, seeded())
    with pytest.raises(ValueError, match=r"samples\[1\] is 3, needs an integer of at least 5"):
        ordered_floor(2, 2, (5, 3), 10, seeded())
    with pytest.raises(ValueError, match="a number of components is 0"):
        ordered_floor(2, 0, 64, 10, seeded())
