"""What meta-training minimises, for B tasks of one K.

    ordered     (1/K) sum_k |mu_hat_k - mu_k|^2 / d - sum_k pi_k log pi_hat_k       (the paper's; /d is ours)
    matched     the same after the permutation of the estimate that makes it smallest
    likelihood  -(1/N) sum_n log sum_k pi_hat_k N(x_n; mu_hat_k, S_hat_k)

With scales, the first two add (1/K) sum_k |log s_hat_k - log s_k|^2 / d, s the variances. ``ordered`` needs
tasks whose components have an order (weights ascending): as the order is that of the true weights, which the
data tell only roughly, its minimum is an average over orders (paper_notes/learned_model.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from baselines.align import best_permutation
from training.model.tgmm import Estimate
from training.tasks import TaskBatch

LossName = Literal["ordered", "matched", "likelihood"]


def pair_losses(estimate: Estimate, batch: TaskBatch) -> Tensor:
    """The share of the pair (component j of the estimate, k of the truth), (B, K, K): rows of the estimate.

    |mu_hat_j - mu_k|^2 / d + |log s_hat_j - log s_k|^2 / d - K pi_k log pi_hat_j; a loss is the average of
    K pairs.
    """
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
    cost = pair_losses(estimate, batch)
    finite = cost.detach().isfinite().flatten(1).all(1)
    permutation = best_permutation(cost.detach().where(finite[:, None, None], torch.zeros_like(cost)))
    cost = cost.where(finite[:, None, None], torch.full_like(cost, torch.nan))
    return cost.gather(1, permutation[:, None, :]).mean((1, 2))


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
    if estimate.log_variances is None:
        return constant[:, :, None] - 0.5 * difference.square().sum(-1)
    scaled = difference.square() * (-estimate.log_variances).exp()[:, :, None]
    return (constant - 0.5 * estimate.log_variances.sum(-1))[:, :, None] - 0.5 * scaled.sum(-1)


LOSSES: dict[str, Callable[[Estimate, TaskBatch], Tensor]] = {
    "ordered": ordered,
    "matched": matched,
    "likelihood": likelihood,
}
