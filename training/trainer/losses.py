"""What meta-training minimises, for B tasks of one K.

    ordered     (1/K) sum_k |mu_hat_k - mu_k|^2 / d - sum_k pi_k log pi_hat_k       (the paper's; /d is ours)
    matched     the same after the permutation of the estimate that makes it smallest
    divergence  sum_k pi_k [log pi_k / pi_hat_k + KL(N(mu_k, S_k) || N(mu_hat_k, S_hat_k))], smallest over
                permutations: at least KL(p || p_hat), by the log-sum inequality
    likelihood  -(1/N) sum_n log sum_k pi_hat_k N(x_n; mu_hat_k, S_hat_k)

With S = R R^T and S_hat = L L^T of lower triangular roots,

    KL(N(mu, S) || N(mu_hat, S_hat)) = (|L^{-1} (mu_hat - mu)|^2 + |L^{-1} R|^2 - d)/2 + log det L/det R,

which no change of the data's units changes. With diagonal variances the first two losses add
(1/K) sum_k |log s_hat_k - log s_k|^2 / d, s the variances. ``ordered`` needs tasks whose components have an
order (weights ascending): as the order is that of the true weights, which the data tell only roughly, its
minimum is an average over orders (paper_notes/learned_model.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from baselines.align import best_permutation
from baselines.mixture import Mixture
from training.model.estimate import Estimate
from training.tasks import TaskBatch

LossName = Literal["ordered", "matched", "divergence", "likelihood"]


def pair_losses(estimate: Estimate, batch: TaskBatch) -> Tensor:
    """The share of the pair (component j of the estimate, k of the truth), (B, K, K): rows of the estimate.

    |mu_hat_j - mu_k|^2 / d + |log s_hat_j - log s_k|^2 / d - K pi_k log pi_hat_j; a loss is the average of
    K pairs.
    """
    if estimate.factors is not None:
        raise ValueError("the estimate has full covariances: needs the loss 'divergence' or 'likelihood'")
    truth = batch.truth
    K = truth.n_components
    cost = (estimate.means[:, :, None] - truth.means[:, None]).square().mean(-1)
    if estimate.log_variances is not None:
        log_variances = true_log_variances(batch)
        cost = cost + (estimate.log_variances[:, :, None] - log_variances[:, None]).square().mean(-1)
    return cost - K * truth.weights[:, None, :] * estimate.log_weights[:, :, None]


def true_log_variances(batch: TaskBatch) -> Tensor:
    """log s (B, K, d) of unit or diagonal tasks; ValueError for others: no diagonal estimate fits them."""
    truth = batch.truth
    if truth.covariance_type == "unit":
        return torch.zeros_like(truth.means)
    if truth.covariance_type == "diagonal" and truth.covariances is not None:
        return truth.covariances.log()
    raise ValueError(
        f"tasks have covariances of type {truth.covariance_type!r}, scales need unit or diagonal"
    )


def ordered(estimate: Estimate, batch: TaskBatch) -> Tensor:
    """Component k of the estimate against component k of the truth: (B,)."""
    return pair_losses(estimate, batch).diagonal(dim1=1, dim2=2).mean(-1)


def matched(estimate: Estimate, batch: TaskBatch) -> Tensor:
    """Against the best permutation, exact (baselines.align.best_permutation): (B,).

    Not finite for a task whose pair losses are not all finite.
    """
    return over_permutations(pair_losses(estimate, batch))


def over_permutations(cost: Tensor) -> Tensor:
    """(B,) the mean of (B, K, K) over the best permutation of rows; NaN where not all are finite."""
    finite = cost.detach().isfinite().flatten(1).all(1)
    permutation = best_permutation(cost.detach().where(finite[:, None, None], torch.zeros_like(cost)))
    cost = cost.where(finite[:, None, None], torch.full_like(cost, torch.nan))
    return cost.gather(1, permutation[:, None, :]).mean((1, 2))


def divergence(estimate: Estimate, batch: TaskBatch) -> Tensor:
    """The smallest over permutations, exact: (B,). Not finite as :func:`matched`."""
    return over_permutations(component_divergences(estimate, batch))


def component_divergences(estimate: Estimate, batch: TaskBatch) -> Tensor:
    """K pi_k [log pi_k / pi_hat_j + KL(N_k || N_hat_j)], (B, K, K): rows j of the estimate, columns k."""
    truth = batch.truth
    K, d = truth.n_components, truth.n_features
    L, log_roots = _roots(estimate)
    R = _true_roots(truth)
    apart = truth.means[:, None] - estimate.means[:, :, None]  # (B, j, k, d)
    columns = torch.cat([R.unsqueeze(1).expand(-1, K, -1, -1, -1), apart.unsqueeze(-1)], -1)
    sides = columns.transpose(2, 3).flatten(
        3
    )  # (B, j, d, k (d + 1)): all right-hand sides of a component at once
    solved = torch.linalg.solve_triangular(L, sides, upper=False)
    squares = solved.square().sum(2).unflatten(-1, (K, d + 1)).sum(-1)
    true_roots = R.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    KL = (squares - d) / 2 + log_roots[:, :, None] - true_roots[:, None]
    weights = truth.weights[:, None]
    return K * weights * (weights.log() - estimate.log_weights[:, :, None] + KL)


def _roots(estimate: Estimate) -> tuple[Tensor, Tensor]:
    """L (B, K, d, d) lower triangular with S_hat = L L^T, and log det L (B, K)."""
    if estimate.factors is not None:
        return estimate.factors, estimate.factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    if estimate.covariances is not None:
        raise ValueError("the estimate has covariances of EM layers, needs unit ones, variances or factors")
    halves = (
        torch.zeros_like(estimate.means) if estimate.log_variances is None else estimate.log_variances / 2
    )
    return torch.diag_embed(halves.exp()), halves.sum(-1)


def _true_roots(truth: Mixture) -> Tensor:
    """R (B, K, d, d) lower triangular with S = R R^T."""
    if truth.covariances is None:
        return torch.diag_embed(torch.ones_like(truth.means))
    if truth.covariance_type == "full":
        return torch.linalg.cholesky(truth.covariances)
    if truth.covariance_type in ("spherical", "diagonal"):
        S = truth.covariances if truth.covariance_type == "diagonal" else truth.covariances[..., None]
        return torch.diag_embed(S.sqrt().expand_as(truth.means))
    raise ValueError(
        f"tasks have covariances of type {truth.covariance_type!r}, needs unit, spherical, diagonal or full"
    )


def likelihood(estimate: Estimate, batch: TaskBatch) -> Tensor:
    """Negative log-likelihood a point, of the points that are not padding: (B,)."""
    mask = batch.mask
    joint = log_joint(estimate, batch.X.masked_fill(~mask[:, :, None], 0.0))  # 0 * NaN is not 0
    density = torch.logsumexp(joint, dim=1)
    return -(density * mask).sum(-1) / batch.n_samples


def log_joint(estimate: Estimate, X: Tensor) -> Tensor:
    """log pi_hat_k + log N(x_n; mu_hat_k, S_hat_k), (B, K, N), constants included.

    Raises ValueError for an estimate with covariances, as EM layers of kinds other than unit leave it.
    """
    if estimate.covariances is not None:
        raise ValueError("the estimate has covariances of EM layers, needs unit ones or log variances")
    difference = X[:, None] - estimate.means[:, :, None]
    d = X.shape[-1]
    constant = estimate.log_weights - 0.5 * d * math.log(2 * math.pi)
    if estimate.factors is not None:
        L, log_roots = _roots(estimate)
        scaled = torch.linalg.solve_triangular(L, difference.mT, upper=False).square().sum(2)
        return (constant - log_roots)[:, :, None] - 0.5 * scaled
    if estimate.log_variances is None:
        return constant[:, :, None] - 0.5 * difference.square().sum(-1)
    scaled = difference.square() * (-estimate.log_variances).exp()[:, :, None]
    return (constant - 0.5 * estimate.log_variances.sum(-1))[:, :, None] - 0.5 * scaled.sum(-1)


LOSSES: dict[str, Callable[[Estimate, TaskBatch], Tensor]] = {
    "ordered": ordered,
    "matched": matched,
    "divergence": divergence,
    "likelihood": likelihood,
}
