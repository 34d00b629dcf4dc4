"""Constructed EM steps against the reference algorithm of baselines, and against their bounds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.em_steps import Update, e_step, isotropic_moments, update
from baselines.gaussian import isotropic_features
from baselines.mixture import Mixture
from constructions.em.bounds import StepBound, one_step_bound
from constructions.em.step_rounding import StepData
from constructions.em.weights import EMConstruction
from constructions.language.rounding import length


@dataclass(frozen=True, eq=False)
class StepComparison:
    """B tasks of one size after one step: errors and bounds, (B, K).

    Attributes:
        mean_error: ``|mu_hat_k - mu_k|_2``. weight_error: ``|pi_hat_k - pi_k|``, against float64 EM.
        bound: the bounds. defined: (B, K) False where EM is 0/0; nothing is compared there.
    """

    mean_error: Tensor
    weight_error: Tensor
    bound: StepBound
    defined: Tensor

    def broken(self) -> Tensor:
        """(B, K) bool, where the instance bound or the a-priori bound of mean or weight is exceeded."""
        limits = (
            (self.mean_error, self.bound.mean_instance),
            (self.mean_error, self.bound.mean_apriori),
            (self.weight_error, self.bound.weight_instance),
            (self.weight_error, self.bound.weight_apriori),
        )
        # Written so that a NaN on either side counts as broken.
        kept = torch.stack([error <= limit for error, limit in limits]).all(0)
        return self.defined & ~kept

    def ratio(self) -> Tensor:
        """Instance bound / measured error of the means, for every defined component, flat."""
        return (self.bound.mean_instance / self.mean_error)[self.defined]


def reference_step(X: Tensor, weights: Tensor, means: Tensor) -> Update:
    """One float64 EM step of ``baselines`` for (B, N, d), (B, K), (B, K, d); weights up to a factor.

    A component that gets no points is marked ``empty`` instead of ending the batch. A start with a weight of
    exactly 0, or with a value that is not finite, is no mixture: all its components come back as ``empty``.
    """
    X, weights, means = (v.to(torch.float64) for v in (X, weights, means))
    known = weights.isfinite().all(-1) & means.isfinite().flatten(1).all(-1)
    dead = ~known[:, None] | (weights <= 0).any(-1, keepdim=True)
    usable, means = torch.where(dead, 1.0, weights), torch.where(dead[..., None], 0.0, means)
    responsibilities, _ = e_step(X, Mixture(usable / usable.sum(-1, keepdim=True), means))
    centre = X.mean(-2, keepdim=True)
    moments = isotropic_moments(responsibilities, isotropic_features(X - centre))
    new = update(moments, torch.zeros_like(means), X.new_full(X.shape[:-2], X.shape[-2]), "unit")
    empty = new.empty | dead
    new_means = torch.where(empty[..., None], 0.0, new.means + centre)
    return new._replace(means=new_means, empty=empty)


def reference_path(X: Tensor, weights: Tensor, means: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """The EM path of ``baselines``: (B, L + 1, K), (B, L + 1, K, d), and (B, L) True while it is defined."""
    path, defined = [(weights, means)], []
    alive = torch.ones(len(X), dtype=torch.bool)
    for _ in range(steps):
        new = reference_step(X, *path[-1])
        alive = alive & ~new.empty.any(-1)
        # A lost task keeps its last state, so that the others can go on; it is not compared any more.
        kept = alive[:, None]
        path.append(
            (
                torch.where(kept, new.weights, path[-1][0]),
                torch.where(kept[..., None], new.means, path[-1][1]),
            )
        )
        defined.append(alive)
    stacked = [torch.stack(part, 1) for part in zip(*path, strict=True)]
    return stacked[0], stacked[1], torch.stack(defined, 1)


def uniform_step_data(X: Tensor, weights: Tensor, means: Tensor, refreshed: bool) -> StepData:
    """:class:`StepData` of B tasks of one size, nothing padded."""
    B, N, d = X.shape
    X, weights, means = (v.to(torch.float64) for v in (X, weights, means))
    tokens = torch.ones(B, N, dtype=torch.bool, device=X.device)
    components = torch.ones_like(weights, dtype=torch.bool)
    features = torch.full((B,), d, device=X.device)
    return StepData(X, tokens, weights, means, components, features, refreshed)


def compare_step(
    em: EMConstruction,
    X: Tensor,
    before: tuple[Tensor, Tensor],
    after: tuple[Tensor, Tensor],
    refreshed: bool,
    dtype: torch.dtype,
    bound: StepBound | None = None,
) -> StepComparison:
    """Compare one constructed step with EM from the same weights and means.

    Args:
        em: the construction.
        X: (B, N, d) points as the layers saw them.
        before, after: weights (B, K) and means (B, K, d) around the step.
        refreshed: whether ``before`` came out of an M layer.
        dtype: in which the layers ran.
        bound: the bound of this step, where it is at hand already.
    """
    reference = reference_step(X, *before)
    if bound is None:
        bound = one_step_bound(em, uniform_step_data(X, *before, refreshed), dtype)
    mean_error = length(after[1].to(torch.float64) - reference.means)
    weight_error = (after[0].to(torch.float64) - reference.weights).abs()
    return StepComparison(mean_error, weight_error, bound, ~(reference.empty | bound.undefined))
