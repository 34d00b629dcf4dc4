"""The divergence of matched components: against torch's own, brute force, and the mixtures' own."""

import itertools

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from baselines.mixture import Mixture
from training.model.estimate import Estimate
from training.tasks import TaskBatch, TaskDistribution, sample_tasks
from training.trainer.losses import component_divergences, divergence, likelihood, log_joint, matched

U = 2.0**-53


def tasks(kind: str, K: int = 3, d: int = 2, N: int = 9, n_tasks: int = 5) -> TaskBatch:
    law = TaskDistribution(d, (K,), covariance=kind, max_cosine=2.0, weights="dirichlet")
    generator = torch.Generator().manual_seed(0)
    return sample_tasks(law, n_tasks, K, N, generator, dtype=torch.float64)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def estimate(batch: TaskBatch, kind: str) -> Estimate:
    B, K, d = batch.truth.means.shape
    weights, means = normal(B, K).log_softmax(-1), 3 * normal(B, K, d)
    if kind == "unit":
        return Estimate(weights, means)
    if kind == "diagonal":
        return Estimate(weights, means, normal(B, K, d + 1)[..., :d])
    L = normal(B, K, d, d).tril(-1) + torch.diag_embed(normal(B, K, d).exp())
    return Estimate(weights, means, factors=L)


def covariances(mixture: Mixture, d: int) -> Tensor:
    eye = torch.eye(d, dtype=torch.float64)
    S = mixture.covariances
    if mixture.covariance_type == "unit":
        return eye.expand(*mixture.means.shape, d)
    if mixture.covariance_type == "spherical":
        return S[..., None, None] * eye
    return torch.diag_embed(S) if mixture.covariance_type == "diagonal" else S


def condition(*matrices: Tensor) -> float:
    """The largest condition number."""
    return max(float(torch.linalg.cond(S).max()) for S in matrices)


def solving(*matrices: Tensor) -> float:
    """Relative error of squares of solves with roots of these: 2 sides, 4 d (d + 1) roundings, times cond."""
    return 2 * 4 * 2 * 3 * U * condition(*matrices)


@pytest.mark.parametrize("truth", ["unit", "spherical", "diagonal", "full", "inverse-wishart"])
@pytest.mark.parametrize("said", ["unit", "diagonal", "full"])
def test_pairs_are_those_of_torch(truth: str, said: str) -> None:
    batch = tasks(truth)
    found = estimate(batch, said)
    pairs = component_divergences(found, batch)
    mixture, K = found.to_mixture(), 3
    S_hat, S = covariances(mixture, 2), covariances(batch.truth, 2)
    for task, j, k in itertools.product(range(5), range(K), range(K)):
        q = MultivariateNormal(mixture.means[task, j], S_hat[task, j])
        p = MultivariateNormal(batch.truth.means[task, k], S[task, k])
        weight = batch.truth.weights[task, k]
        expected = weight * (weight.log() - found.log_weights[task, j] + kl_divergence(p, q))
        terms = weight * (kl_divergence(p, q) + 2 + weight.log().abs() + found.log_weights[task, j].abs())
        tolerance = solving(S_hat[task, j], S[task, k]) * float(terms)
        assert abs(float(pairs[task, j, k]) / K - float(expected)) <= tolerance


def test_the_smallest_of_all_permutations_and_above_the_mixtures_divergence() -> None:
    """KL(p || p_hat) by 20,000 points of p, whose standard error is beside it."""
    batch = tasks("full")
    found = estimate(batch, "full")
    pairs = component_divergences(found, batch) / 3
    loss = divergence(found, batch)
    for task in range(5):
        sums = [
            sum(float(pairs[task, j, k]) for k, j in enumerate(order))
            for order in itertools.permutations(range(3))
        ]
        # Sums of three numbers in another order.
        assert abs(min(sums) - float(loss[task])) <= 8 * U * float(pairs[task].abs().sum())
    X, _ = batch.truth.sample(20_000, torch.Generator().manual_seed(1))
    ratio = batch.truth.score_samples(X) - found.to_mixture().score_samples(X)
    assert bool((ratio.mean(-1) - 5 * ratio.std(-1) / 20_000**0.5 <= loss).all())


def test_the_truth_has_none() -> None:
    batch = tasks("full")
    truth = batch.truth
    found = Estimate(truth.weights.log(), truth.means, factors=torch.linalg.cholesky(truth.covariances))
    assert float(divergence(found, batch).abs().max()) <= 2 * solving(truth.covariances)


def test_units_do_not_count() -> None:
    """Truth and estimate in units that are powers of two: only logarithms of roots are rounded otherwise."""
    batch = tasks("full")
    found, A = estimate(batch, "full"), torch.tensor([2.0**10, 2.0**-7], dtype=torch.float64).diag()
    truth = batch.truth
    moved = Mixture(truth.weights, truth.means @ A, A @ truth.covariances @ A, "full")
    other = Estimate(found.log_weights, found.means @ A, factors=A @ found.factors)
    there = TaskBatch(batch.X, batch.n_samples, batch.labels, moved)
    # Two sums of two logarithms below 16 on either side, and three more operations on what they make.
    tolerance = 8 * 4 * 16 * U + 8 * U * float(component_divergences(found, batch).abs().max())
    assert float((divergence(found, batch) - divergence(other, there)).abs().max()) <= tolerance


def test_the_likelihood_of_full_covariances_is_the_mixtures() -> None:
    batch = tasks("full")
    found = estimate(batch, "full")
    mixture = found.to_mixture()
    ours, theirs = log_joint(found, batch.X), mixture.log_joint(batch.X)
    tolerance = solving(mixture.covariances) * (float(theirs.abs().max()) + 8)
    assert float((ours - theirs).abs().max()) <= tolerance
    # A logsumexp moves by no more than what it sums, and the average of N by that and N + 3 roundings.
    levels = likelihood(found, batch) + mixture.log_likelihood_per_point(batch.X)
    assert float(levels.abs().max()) <= 2 * tolerance


def test_gradients_are_those_of_differences() -> None:
    batch = tasks("full", n_tasks=2)
    found = estimate(batch, "full")

    def loss(weights: Tensor, means: Tensor, factors: Tensor) -> Tensor:
        return divergence(Estimate(weights.log_softmax(-1), means, factors=factors.tril()), batch)

    inputs = [part.clone().requires_grad_() for part in (found.log_weights, found.means, found.factors)]
    assert torch.autograd.gradcheck(loss, inputs)


def test_not_finite_is_not_a_number_and_squares_are_not_for_factors() -> None:
    batch = tasks("full")
    found = estimate(batch, "full")
    found.means[1, 0, 0] = torch.nan
    assert divergence(found, batch).isnan().tolist() == [False, True, False, False, False]
    with pytest.raises(ValueError, match="needs the loss 'divergence' or 'likelihood'"):
        matched(found, batch)
