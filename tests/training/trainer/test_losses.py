"""The losses against brute force over permutations, scipy's assignment, and the mixture's own likelihood."""

import dataclasses
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from torch import Tensor

import training.trainer.losses as losses_module
from baselines.mixture import Mixture
from constructions.language.rounding import gamma
from training.model.estimate import Estimate
from training.tasks import TaskBatch, TaskDistribution, sample_tasks
from training.trainer.losses import (
    LOSSES,
    likelihood,
    log_joint,
    matched,
    ordered,
    pair_losses,
    true_log_variances,
)

U = 2.0**-53


def tasks(K: int, d: int = 2, covariance: str = "unit", seed: int = 0, n_tasks: int = 6) -> TaskBatch:
    """Float64 tasks of different lengths, of any K."""
    distribution = TaskDistribution(d, (K,) if d > 1 else (1,), covariance=covariance, max_cosine=2.0)
    lengths = torch.arange(5, 5 + n_tasks)
    generator = torch.Generator().manual_seed(seed)
    return sample_tasks(distribution, n_tasks, K, lengths, generator, dtype=torch.float64)


def random_estimate(batch: TaskBatch, scales: bool = False, seed: int = 1) -> Estimate:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    shape = batch.truth.means.shape
    return Estimate(
        normal(*shape[:2]).log_softmax(-1), 3 * normal(*shape), normal(*shape) if scales else None
    )


def relabelled(estimate: Estimate, order: Tensor) -> Estimate:
    """Component k of the result is component order[..., k], (B, K) or (K,)."""
    order = order.expand(estimate.log_weights.shape)
    rows = order[:, :, None].expand_as(estimate.means)
    variances = estimate.log_variances
    return Estimate(
        estimate.log_weights.gather(1, order),
        estimate.means.gather(1, rows),
        None if variances is None else variances.gather(1, rows),
    )


def with_truth(batch: TaskBatch, truth: Mixture) -> TaskBatch:
    return dataclasses.replace(batch, truth=truth)


def sum_rounding(estimate: Estimate, batch: TaskBatch) -> float:
    """Two sums of the K numbers of a pairing, and of their d terms, in other orders: gamma_{d+K+8} each."""
    size = float(pair_losses(estimate, batch).abs().max())
    d = batch.X.shape[-1]
    return 2 * gamma(d + batch.truth.n_components + 8, U) * size


def by_hand(estimate: Estimate, batch: TaskBatch, order: tuple[int, ...], task: int) -> float:
    """The paper's loss of one task when component order[k] of the estimate stands for k of the truth."""
    truth, d, K = batch.truth, batch.X.shape[-1], batch.truth.n_components
    total = 0.0
    for k, j in enumerate(order):
        gap = estimate.means[task, j] - truth.means[task, k]
        total += float(gap @ gap) / d / K
        total -= float(truth.weights[task, k] * estimate.log_weights[task, j])
        if estimate.log_variances is not None:
            s = 1.0 if truth.covariances is None else truth.covariances[task, k]
            log_gap = estimate.log_variances[task, j] - torch.as_tensor(s).log()
            total += float((log_gap * log_gap).sum()) / d / K
    return total


def matched_errors(K: int, scales: bool = False, d: int = 2, seed: int = 0) -> list[str]:
    """Tasks whose matched loss is not the least over all K! orders."""
    batch = tasks(K, d, "diagonal" if scales else "unit", seed)
    estimate = random_estimate(batch, scales)
    found, in_order, limit = (
        matched(estimate, batch),
        ordered(estimate, batch),
        sum_rounding(estimate, batch),
    )
    broken = []
    for task in range(len(found)):
        totals = [by_hand(estimate, batch, p, task) for p in itertools.permutations(range(K))]
        if not abs(float(found[task]) - min(totals)) <= limit:
            broken.append(f"task {task}: {float(found[task])}, brute force {min(totals)}")
        if not found[task] <= in_order[task] + limit:
            broken.append(f"task {task}: matched {float(found[task])} > ordered {float(in_order[task])}")
        # permutations() begins with the identity
        if not abs(float(in_order[task]) - totals[0]) <= limit:
            broken.append(f"task {task}: ordered {float(in_order[task])}, by hand {totals[0]}")
    return broken


@pytest.mark.parametrize("scales", [False, True])
@pytest.mark.parametrize("K", [1, 2, 3, 4, 5])
def test_matched_is_the_least_over_all_permutations(K: int, scales: bool) -> None:
    assert matched_errors(K, scales) == []


def test_the_inverse_permutation_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The public code's mistake; it shows from K = 3 on, where a permutation can differ from its inverse."""
    right = losses_module.best_permutation
    monkeypatch.setattr(losses_module, "best_permutation", lambda cost: right(cost).argsort(-1))
    assert matched_errors(2) == []
    assert matched_errors(4) != []


def test_a_transposed_cost_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = losses_module.best_permutation
    monkeypatch.setattr(losses_module, "best_permutation", lambda cost: right(cost.mT))
    assert matched_errors(4) != []


def test_rows_and_columns_of_the_pairs_are_not_swapped(monkeypatch: pytest.MonkeyPatch) -> None:
    right = losses_module.pair_losses
    monkeypatch.setattr(losses_module, "pair_losses", lambda e, b: right(e, b).mT)
    assert matched_errors(3) == []  # a matching of columns with rows costs the same
    batch = tasks(3)
    found = losses_module.pair_losses(random_estimate(batch), batch)
    assert not torch.equal(found[:, 0, 1], pair_losses_by_hand(random_estimate(batch), batch)[:, 0, 1])
    monkeypatch.undo()
    found, expected = (f(random_estimate(batch), batch) for f in (pair_losses, pair_losses_by_hand))
    assert (found - expected).abs().max() <= sum_rounding(random_estimate(batch), batch)


def pair_losses_by_hand(estimate: Estimate, batch: TaskBatch) -> Tensor:
    """[b, j, k] with loops; d = 2, no scales."""
    truth, K = batch.truth, batch.truth.n_components
    out = torch.zeros(len(batch.X), K, K, dtype=torch.float64)
    for b, j, k in itertools.product(range(len(out)), range(K), range(K)):
        square = (estimate.means[b, j] - truth.means[b, k]).square().sum() / 2
        out[b, j, k] = square - K * truth.weights[b, k] * estimate.log_weights[b, j]
    return out


@pytest.mark.parametrize("K", [6, 7, 9])
def test_matched_above_five_is_scipys_assignment(K: int) -> None:
    batch = tasks(K, d=3)
    estimate = random_estimate(batch)
    found, cost = matched(estimate, batch), pair_losses(estimate, batch)
    for task in range(len(found)):
        rows, columns = linear_sum_assignment(cost[task].numpy())
        order = tuple(int(rows[columns == k][0]) for k in range(K))
        expected = by_hand(estimate, batch, order, task)
        assert abs(float(found[task]) - expected) <= sum_rounding(estimate, batch)
    assert (found < ordered(estimate, batch)).all()


@pytest.mark.parametrize("scales", [False, True])
@pytest.mark.parametrize("K", [2, 3, 5, 7])
def test_matched_and_likelihood_ignore_the_labels(K: int, scales: bool) -> None:
    """Of the estimate and, for matched, of the truth; ordered does not."""
    batch = tasks(K, 3, "diagonal" if scales else "unit")
    estimate, generator = random_estimate(batch, scales), torch.Generator().manual_seed(5)
    order = torch.stack([torch.randperm(K, generator=generator) for _ in range(len(batch.X))])
    order[0] = torch.arange(K).flip(0)
    moved_truth = with_truth(batch, batch.truth.permute(order))
    moved, limit = relabelled(estimate, order), sum_rounding(estimate, batch)
    for e, b in ((moved, batch), (estimate, moved_truth), (moved, moved_truth)):
        assert (matched(e, b) - matched(estimate, batch)).abs().max() <= limit
    assert (ordered(moved, moved_truth) - ordered(estimate, batch)).abs().max() <= limit
    assert (ordered(moved, batch) - ordered(estimate, batch)).abs()[0] > 1e6 * limit
    # A logsumexp of the same K numbers in another order: K roundings of it, and N sums of size |density|.
    sizes = likelihood(estimate, batch).abs()
    rounding = gamma(2 * K + batch.X.shape[1] + 20, U) * (log_joint(estimate, batch.X).abs().amax((1, 2)) + K)
    assert ((likelihood(moved, batch) - likelihood(estimate, batch)).abs() <= rounding).all()
    assert (rounding < 1e-9 * (1 + sizes)).all()


@pytest.mark.parametrize("scales", [False, True])
@pytest.mark.parametrize("K", [1, 3, 5, 6])
def test_the_gradient_of_matched_is_that_of_ordered_in_the_best_order(K: int, scales: bool) -> None:
    batch = tasks(K, 2, "diagonal" if scales else "unit")
    estimate = Estimate(
        *(None if part is None else part.requires_grad_() for part in random_estimate(batch, scales))
    )
    leaves = [part for part in estimate if part is not None]
    found = torch.autograd.grad(matched(estimate, batch).sum(), leaves)
    order = losses_module.best_permutation(pair_losses(estimate, batch).detach())
    expected = torch.autograd.grad(ordered(relabelled(estimate, order), batch).sum(), leaves)
    for one, other in zip(found, expected, strict=True):
        # The same few products in each entry: 2 (mu_hat - mu) / (K d), pi / K and the like.
        assert ((one - other).abs() <= gamma(16, U) * other.abs()).all()
        assert other.any()


# --- values -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance", ["unit", "diagonal"])
def test_the_means_and_variances_of_the_truth_cost_nothing(covariance: str) -> None:
    """What is left is the cross-entropy of the weights, least at the true ones: their entropy."""
    batch = tasks(4, 3, covariance)
    truth = batch.truth
    scales = true_log_variances(batch) if covariance == "diagonal" else None
    exact = Estimate(truth.weights.log(), truth.means, scales)
    entropy = -(truth.weights * truth.weights.log()).sum(-1)
    for loss in (ordered, matched):
        # K products of size at most 4 * 0.37, their average over K pairs and zeros.
        assert (loss(exact, batch) - entropy).abs().max() <= gamma(20, U) * 2
    nudged = exact._replace(log_weights=(exact.log_weights + torch.tensor([0.1, 0, 0, -0.1])).log_softmax(-1))
    assert (ordered(nudged, batch) > ordered(exact, batch)).all()


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("covariance", ["unit", "diagonal"])
@pytest.mark.parametrize("K", [1, 3])
def test_likelihood_is_that_of_the_mixture_over_the_real_points(K: int, covariance: str, d: int) -> None:
    batch = tasks(K, d, covariance)
    estimate = random_estimate(batch, covariance == "diagonal")
    found, mixture = likelihood(estimate, batch), estimate.to_mixture()
    for task in range(len(found)):
        X = batch.X[task, : batch.n_samples[task]]
        expected = -mixture[task].log_likelihood_per_point(X)
        # Both formulas round a log-density like (d + 4) u R^2 / s (baselines.gaussian), the square expanded
        # or not; the constants d log 2 pi and log pi, the sum over K and that over N add their operations.
        size = X.square().sum(-1).max() + 2 * mixture.means[task].square().sum(-1).max()
        smallest = 1.0 if mixture.covariances is None else float(mixture.covariances[task].min())
        limit = gamma(2 * (d + 4) + K + 20 + len(X), U) * float(2 * size / smallest + 10 * (d + K))
        assert abs(float(found[task] - expected)) <= limit
        assert limit < 1e-9


@pytest.mark.parametrize("filling", [3.0, -1e100])
@pytest.mark.parametrize("scales", [False, True])
def test_likelihood_ignores_padding(scales: bool, filling: float) -> None:
    """To the bit, whatever finite numbers stand there (padded points of a TaskBatch are 0)."""
    batch = tasks(3, 2, "diagonal" if scales else "unit")
    estimate = random_estimate(batch, scales)
    other = dataclasses.replace(batch, X=batch.X.masked_fill(~batch.mask[:, :, None], filling))
    assert not torch.equal(other.X, batch.X)
    assert torch.equal(likelihood(estimate, other), likelihood(estimate, batch))


def test_likelihood_without_the_mask_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = tasks(3)
    estimate = random_estimate(batch)
    right = likelihood(estimate, batch)
    monkeypatch.setattr(TaskBatch, "mask", torch.ones(batch.X.shape[:2], dtype=torch.bool))
    assert (likelihood(estimate, batch)[:-1] > right[:-1] + 0.01).all()


def test_a_larger_likelihood_is_a_smaller_loss() -> None:
    batch = tasks(3)
    truth = Estimate(batch.truth.weights.log(), batch.truth.means)
    assert (likelihood(truth, batch) < likelihood(random_estimate(batch), batch)).all()


def test_log_joint_has_the_constants_of_the_density() -> None:
    """One component N(1, 1) at x = 3, and N(0, e^2) at x = 0."""
    X = torch.tensor([[[3.0]]], dtype=torch.float64)
    zero = torch.zeros(1, 1, dtype=torch.float64)
    unit = log_joint(Estimate(zero, torch.ones(1, 1, 1, dtype=torch.float64)), X)
    assert abs(float(unit) - (-2 - 0.5 * math.log(2 * math.pi))) <= gamma(8, U) * 4
    wide = log_joint(Estimate(zero, zero[..., None], zero[..., None] + 2), 0 * X)
    assert abs(float(wide) - (-1 - 0.5 * math.log(2 * math.pi))) <= gamma(8, U) * 4


# --- edges ------------------------------------------------------------------------------------------------


@st.composite
def edge_cases(draw: st.DrawFn) -> tuple[Estimate, TaskBatch]:
    """Equal means, ties between permutations, tiny weights, one component, one dimension; coarse numbers."""
    K, d = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    coarse = st.sampled_from([-2.0, 0.0, 0.0, 1.0])
    numbers = draw(st.lists(coarse, min_size=2 * K * d, max_size=2 * K * d))
    means = torch.tensor(numbers, dtype=torch.float64).reshape(2, 1, K, d)
    logits = torch.tensor(
        draw(st.lists(st.sampled_from([0.0, -40.0, -600.0]), min_size=2 * K, max_size=2 * K)),
        dtype=torch.float64,
    ).reshape(2, 1, K)
    truth = Mixture(logits[0].softmax(-1), means[0])
    batch = TaskBatch(means[0, :, :1], torch.tensor([1]), torch.zeros(1, 1, dtype=torch.long), truth)
    return Estimate(logits[1].log_softmax(-1), means[1]), batch


@settings(max_examples=60)
@given(edge_cases())
def test_matched_at_the_edges(case: tuple[Estimate, TaskBatch]) -> None:
    estimate, batch = case
    K = batch.truth.n_components
    totals = [by_hand(estimate, batch, p, 0) for p in itertools.permutations(range(K))]
    limit = sum_rounding(estimate, batch)
    assert abs(float(matched(estimate, batch)) - min(totals)) <= limit
    assert float(matched(estimate, batch)) <= float(ordered(estimate, batch)) + limit
    assert math.isfinite(float(likelihood(estimate, batch)))
    leaves = [part.requires_grad_() for part in estimate if part is not None]
    for loss in LOSSES.values():
        gradients = torch.autograd.grad(loss(Estimate(*leaves), batch).sum(), leaves)
        assert all(gradient.isfinite().all() for gradient in gradients)


def test_matched_of_equal_components_is_ordered() -> None:
    batch = tasks(4)
    row = torch.zeros_like(batch.truth.means)
    estimate = Estimate(torch.full_like(batch.truth.weights, 0.25).log(), row)
    assert (matched(estimate, batch) - ordered(estimate, batch)).abs().max() <= sum_rounding(estimate, batch)


def test_full_covariances_are_refused_for_scales() -> None:
    batch = tasks(2, 2, "full")
    with pytest.raises(ValueError, match="type 'full', scales need unit or diagonal"):
        true_log_variances(batch)
    with pytest.raises(ValueError, match="type 'full', scales need unit or diagonal"):
        matched(random_estimate(batch, scales=True), batch)
    assert matched(random_estimate(batch), batch).isfinite().all()  # means and weights alone have a loss


def test_true_log_variances_are_logarithms_of_variances() -> None:
    batch = tasks(3, 2, "diagonal")
    assert batch.truth.covariances is not None
    assert torch.equal(true_log_variances(batch), batch.truth.covariances.log())
    assert not true_log_variances(tasks(3)).any()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e200])  # the square of the last is infinite
def test_what_is_not_finite_is_a_loss_of_nan_for_that_task_alone(value: float) -> None:
    batch = tasks(3)
    estimate = random_estimate(batch)
    before = matched(estimate, batch)
    estimate.means[2, 1, 0] = value
    after = matched(estimate, batch)
    assert after[2].isnan()
    others = torch.arange(len(after)) != 2
    assert torch.equal(after[others], before[others])
