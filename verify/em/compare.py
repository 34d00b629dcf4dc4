"""Constructed EM steps against the reference algorithm of baselines, and against their bounds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.em_paths import reference_step
from constructions.em.bounds import StepBound, one_step_bound
from constructions.em.step_rounding import StepData
from constructions.em.unit import EMConstruction
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
        bound = one_step_bound(em, StepData.uniform(X, *before, refreshed), dtype)
    mean_error = length(after[1].to(torch.float64) - reference.means)
    weight_error = (after[0].to(torch.float64) - reference.weights).abs()
    return StepComparison(mean_error, weight_error, bound, ~(reference.empty | bound.undefined))
