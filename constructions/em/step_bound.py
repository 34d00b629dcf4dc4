"""The bounds of one constructed EM step, as one value."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from constructions.language.shown import short_repr


@dataclass(frozen=True, eq=False)
class StepBound:
    """Bounds of one step for every component, (B, K); 0 at absent components.

    Attributes:
        exact_weights, exact_means: EM(start), (B, K) and (B, K, d); where ``undefined``, the mean is 0.
        mean_instance, weight_instance: instance bounds of ``|mu_hat_k - mu_k|_2`` and ``|pi_hat_k - pi_k|``.
        mean_apriori, weight_apriori: the bounds uniform over data of this size and spread.
        mean_rounding, weight_rounding: the share of the instance bounds that comes from rounding.
        undefined: the component's share of the points is below the smallest normal number, so EM itself is
            0/0 for it.
        dying: ``N floor > W_k / 100``: the floor, and not only the pieces, can decide the error.
        share_error, centre_error: (B, 1) of the exact responsibilities (relative) and ``exact_means``
            (Euclidean), which are computed in float64 (lemma 6, (vii)).
        exact_covariances: those of EM(start), as the kind lays them out; None of unit ones, as all of these:
        covariance_instance, covariance_apriori, covariance_rounding: (B, K), or (B, 1) where they are tied,
            of the Frobenius norm of ``S_hat_k - S_k``, for diagonals the Euclidean one of their numbers.
        out_of_range: (B, K) an eigenvalue of EM's own covariance lies outside the range of the construction.
    """

    exact_weights: Tensor
    exact_means: Tensor
    mean_instance: Tensor
    weight_instance: Tensor
    mean_apriori: Tensor
    weight_apriori: Tensor
    mean_rounding: Tensor
    weight_rounding: Tensor
    undefined: Tensor
    dying: Tensor
    share_error: Tensor
    centre_error: Tensor
    exact_covariances: Tensor | None = None
    covariance_instance: Tensor | None = None
    covariance_apriori: Tensor | None = None
    covariance_rounding: Tensor | None = None
    out_of_range: Tensor | None = None

    __repr__ = short_repr

    def without_rounding(self) -> StepBound:
        """The instance bounds of exact arithmetic in place of those with rounding; inf where these are."""

        def exact(bound: Tensor, rounding: Tensor) -> Tensor:
            return torch.where(bound.isfinite(), bound - rounding, bound)

        return replace(
            self,
            mean_instance=exact(self.mean_instance, self.mean_rounding),
            weight_instance=exact(self.weight_instance, self.weight_rounding),
            mean_rounding=torch.zeros_like(self.mean_rounding),
            weight_rounding=torch.zeros_like(self.weight_rounding),
        )


DYING_FRACTION = 0.01
"""A component is named as dying when the floor puts more than this share of its mass at wrong points."""
