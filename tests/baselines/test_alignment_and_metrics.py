"""Alignment in the right direction, errors by hand, the adjusted Rand index against sklearn, summaries."""

from itertools import permutations

import numpy as np
import pytest
import torch
from em_instances import COVARIANCE_TYPES, instance
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from baselines.align import align, best_permutation, pair_costs
from baselines.metrics import adjusted_rand_index, errors, mean_error, summarise, weight_error
from baselines.mixture import Mixture

SEEDS = st.integers(0, 2**31 - 1)


def shuffles(seed, n_tasks, K):
    keys = torch.rand(n_tasks, K, generator=torch.Generator().manual_seed(seed))
    return keys.argsort(-1)


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(1, 8), st.integers(1, 4), st.sampled_from(COVARIANCE_TYPES))
def test_a_permuted_truth_has_no_error_at_all(seed, K, d, covariance_type):
    _, truth = instance(seed, d, K, K, covariance_type, batch=(5,))
    permutation = shuffles(seed, 5, K)
    estimate = truth.permute(permutation)
    assert torch.equal(errors(estimate, truth).total, torch.zeros(5, dtype=torch.float64))
    aligned, found = align(estimate, truth)
    assert torch.equal(found, permutation.argsort(-1))
    assert torch.equal(aligned.means, truth.means)
    assert torch.equal(aligned.weights, truth.weights)
    assert truth.covariances is None or torch.equal(aligned.covariances, truth.covariances)


def test_the_inverse_permutation_is_wrong():
    """A three-cycle is not its own inverse: the published code applies the one where the other is needed."""
    _, truth = instance(0, 2, 3, 3)
    estimate = truth.permute(torch.tensor([1, 2, 0]))
    aligned, permutation = align(estimate, truth)
    assert permutation.tolist() == [2, 0, 1]
    assert mean_error(aligned, truth) == 0
    assert mean_error(estimate.permute(permutation.argsort()), truth) > 0.1


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 6))
def test_the_smallest_of_all_permutations(seed, K):
    cost = torch.rand(2, 3, K, K, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    found = best_permutation(cost)
    for task in np.ndindex(2, 3):
        totals = [sum(float(cost[task][p[k], k]) for k in range(K)) for p in permutations(range(K))]
        mine = sum(float(cost[task][found[task][k], k]) for k in range(K))
        assert mine == pytest.approx(min(totals), abs=1e-15)


@pytest.mark.parametrize("K", [1, 2, 3, 5])
def test_both_ways_of_searching_agree(K, monkeypatch):
    cost = torch.rand(50, K, K, dtype=torch.float64, generator=torch.Generator().manual_seed(K))
    exhaustive = best_permutation(cost)
    monkeypatch.setattr("baselines.align.MOST_EXHAUSTIVE", 0)
    assert torch.equal(best_permutation(cost), exhaustive)


def test_errors_by_hand():
    truth = Mixture(torch.tensor([0.25, 0.75]), torch.tensor([[0.0, 0.0], [4.0, 0.0]]))
    estimate = Mixture(torch.tensor([0.65, 0.35]), torch.tensor([[4.0, 1.0], [0.0, 2.0]]))
    found = errors(estimate, truth)
    assert found.means.item() == pytest.approx((4 / 2 + 1 / 2) / 2)
    assert found.weights.item() == pytest.approx((0.1**2 + 0.1**2) / 2)
    assert found.total.item() == pytest.approx(1.25 + 0.01)
    assert weight_error(estimate, truth).item() == pytest.approx(0.16)


def test_the_order_weighs_means_per_feature_against_weights():
    """As named, only the weights miss, by 0.6: 0.36 a component. Swapped, only the means, by 0.4 in each of
    four features: 0.16 a component (0.64 if it were summed over them)."""
    means = torch.tensor([[0.0] * 4, [0.4] * 4], dtype=torch.float64)
    truth = Mixture(torch.tensor([0.2, 0.8], dtype=torch.float64), means)
    estimate = Mixture(torch.tensor([0.8, 0.2], dtype=torch.float64), means)
    torch.testing.assert_close(
        pair_costs(estimate, truth), torch.tensor([[0.36, 0.16], [0.16, 0.36]]).double()
    )
    assert align(estimate, truth)[1].tolist() == [1, 0]
    assert errors(estimate, truth).total.item() == pytest.approx(0.16)


def test_refusals():
    _, truth = instance(0, 2, 3, 3)
    _, other = instance(0, 3, 3, 3)
    for call, match in (
        (lambda: align(other, truth), r"means of shape \(3, 3\), needs \(3, 2\)"),
        (lambda: align(truth.to(dtype=torch.float32), truth), "dtype torch.float32, needs torch.float64"),
        (lambda: best_permutation(torch.ones(2, 3)), r"cost has shape \(2, 3\), needs \(\.\.\., K, K\)"),
        (lambda: best_permutation(torch.full((2, 2), torch.nan)), r"cost\[0, 0\] is nan"),
        (lambda: adjusted_rand_index(torch.zeros(3), torch.zeros(3)), "labels are torch.float32"),
        (lambda: adjusted_rand_index(torch.tensor([0, -1]), torch.tensor([0, 1])), "needs integers >= 0"),
        (lambda: adjusted_rand_index(torch.zeros(3).long(), torch.zeros(4).long()), r"shape \(3,\), needs"),
        (lambda: summarise(torch.ones(3), torch.ones(2)), r"shapes \(3,\) and \(2,\)"),
        (lambda: summarise(torch.ones(1), torch.ones(1)), "T >= 2"),
    ):
        with pytest.raises(ValueError, match=match):
            call()


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 5), st.integers(1, 5), st.integers(1, 30))
def test_adjusted_rand_index_is_that_of_sklearn(seed, first_groups, second_groups, n):
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(first_groups, (2, 4, n), generator=generator)
    second = torch.randint(second_groups, (2, 4, n), generator=generator)
    second[0, 0] = first[0, 0].flip(-1)
    second[0, 1] = 3 - first[0, 1].clamp(max=3)
    found = adjusted_rand_index(first, second)
    for task in np.ndindex(2, 4):
        expected = adjusted_rand_score(first[task].numpy(), second[task].numpy())
        assert found[task].item() == pytest.approx(expected, abs=1e-12)


def test_adjusted_rand_index_where_there_is_nothing_to_choose():
    apart, together = torch.arange(6), torch.zeros(6, dtype=torch.long)
    assert adjusted_rand_index(apart, apart.flip(0)) == 1
    assert adjusted_rand_index(together, together + 2) == 1
    assert adjusted_rand_index(apart, together) == 0
    assert adjusted_rand_index(together, apart) == 0


def test_summary():
    error = torch.tensor([1.0, 2.0, 3.0, 4.0, 40.0])
    found = summarise(error, torch.tensor([1.0, 0.1, 1.0, 1.0, 4.0]))
    assert found.mean == pytest.approx(10.0)
    assert found.median == pytest.approx(3.0)
    assert found.p90 == pytest.approx(4 + 0.6 * 36)
    assert found.standard_error == pytest.approx(float(np.std(error.numpy(), ddof=1)) / 5**0.5)
    assert found.percent_bad == pytest.approx(20.0)
    assert found.n_tasks == 5


def test_a_task_is_bad_beside_its_own_oracle():
    """Ten times the oracle is 1, 10, 10, 100, 100: of the errors 5, 5, 10, 50, 50 the first alone is above.

    Beside the median of the oracles (1) or their mean two of the five would be bad, beside the least all.
    """
    error = torch.tensor([5.0, 5.0, 10.0, 50.0, 50.0])
    oracle = torch.tensor([0.1, 1.0, 1.0, 10.0, 10.0])
    assert summarise(error, oracle).percent_bad == pytest.approx(20.0)
