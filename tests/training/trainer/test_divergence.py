"""The divergence of matched components: against torch's own, brute force, and the mixtures' own."""

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from baselines.mixture import Mixture
from training.model.tgmm import Estimate
from training.tasks import TaskBatch, TaskDistribution, sample_tasks
from training.trainer.losses import component_divergences, divergence, likelihood, log_joint, matched


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
        # Either side solves with roots of condition at most 1e5 in float64.
        assert math.isclose(float(pairs[task, j, k]) / K, float(expected), rel_tol=1e-8, abs_tol=1e-10)


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
        assert math.isclose(min(sums), float(loss[task]), rel_tol=1e-12)
    X, _ = batch.truth.sample(20_000, torch.Generator().manual_seed(1))
    ratio = batch.truth.score_samples(X) - found.to_mixture().score_samples(X)
    assert bool((ratio.mean(-1) - 5 * ratio.std(-1) / 20_000**0.5 <= loss).all())


def test_the_truth_has_none() -> None:
    batch = tasks("full")
    truth = batch.truth
    found = Estimate(truth.weights.log(), truth.means, factors=torch.linalg.cholesky(truth.covariances))
    assert float(divergence(found, batch).abs().max()) < 1e-12


def test_units_do_not_count() -> None:
    """Points, truth and estimate in other units: the same loss."""
    batch = tasks("full")
    found, A = estimate(batch, "full"), torch.tensor([[40.0, 0.0], [-3.0, 0.02]], dtype=torch.float64)
    truth = batch.truth
    moved = Mixture(truth.weights, truth.means @ A.mT + 7, A @ truth.covariances @ A.mT, "full")
    other = Estimate(found.log_weights, found.means @ A.mT + 7, factors=A @ found.factors)
    there = TaskBatch(batch.X, batch.n_samples, batch.labels, moved)
    assert torch.allclose(divergence(found, batch), divergence(other, there), rtol=1e-8)


def test_the_likelihood_of_full_covariances_is_the_mixtures() -> None:
    batch = tasks("full")
    found = estimate(batch, "full")
    assert torch.allclose(
        log_joint(found, batch.X), found.to_mixture().log_joint(batch.X), rtol=1e-9, atol=1e-9
    )
    assert torch.allclose(
        likelihood(found, batch), -found.to_mixture().log_likelihood_per_point(batch.X), rtol=1e-9
    )


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
