"""What a network says of data sets, in their units or in others."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from baselines.mixture import Mixture
from constructions.em.tasks import CovarianceType
from constructions.language.shown import short_repr
from training.model.frame import Frame


class Estimate(NamedTuple):
    """What TGMM says of B tasks: log weights (B, K), means (B, K, d), and at most one of what follows.

    log_variances  (B, K, d), of diagonal covariances.
    covariances    laid out as in Mixture: those of EM layers of another type than unit.
    factors        (B, K, d, d), lower triangular with a positive diagonal: S_k = L_k L_k^T.
    """

    log_weights: Tensor
    means: Tensor
    log_variances: Tensor | None = None
    covariances: Tensor | None = None
    factors: Tensor | None = None

    __repr__ = short_repr

    def to_mixture(self, covariance_type: CovarianceType = "unit") -> Mixture:
        """The mixtures in float64; ``covariance_type`` is that of the covariances, if there are any."""
        weights = self.log_weights.double().softmax(-1)
        if self.covariances is not None:
            return Mixture(weights, self.means.double(), self.covariances.double(), covariance_type)
        if self.factors is not None:
            L = self.factors.double()
            S = L @ L.mT
            return Mixture(weights, self.means.double(), (S + S.mT) / 2, "full")
        if self.log_variances is None:
            return Mixture(weights, self.means.double())
        return Mixture(weights, self.means.double(), self.log_variances.double().exp(), "diagonal")


def in_units(frame: Frame, estimate: Estimate) -> Estimate:
    """What is said of points inside of the frame, said of the points themselves."""
    variances, factors = estimate.log_variances, estimate.factors
    return Estimate(
        estimate.log_weights,
        frame.means(estimate.means),
        None if variances is None else frame.log_variances(variances),
        factors=None if factors is None else frame.factors(factors),
    )


def joined(parts: list[Estimate]) -> Estimate:
    """One estimate of all tasks."""
    rest = list(zip(*(part[2:] for part in parts), strict=True))
    return Estimate(
        torch.cat([part.log_weights for part in parts]),
        torch.cat([part.means for part in parts]),
        *(None if field[0] is None else torch.cat(field) for field in rest),
    )
