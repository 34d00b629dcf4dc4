"""Rounding and underflow of one constructed EM step, and of the float64 reference beside it (lemma 6).

Arrays over points are (B, N). The derivation stands in paper_notes/theorem_1_em.md, lemma 6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.em.tasks import CovarianceType
from constructions.em.unit import EMConstruction
from constructions.language.rounding import gamma, length, number, unit_roundoff
from constructions.language.shown import short_repr


@dataclass(frozen=True, eq=False)
class StepData:
    """B padded tasks and the weights and means that a step starts from, in float64.

    Attributes:
        X: (B, N, d). token_mask: (B, N). weights: (B, K). means: (B, K, d). component_mask: (B, K).
        n_features: (B,) true d.
        refreshed: the start came out of an M layer, so log pi and |mu|^2/2 are approximate; False for the
            first step, whose start is read in exactly.
        covariances: (B, ...) laid out as in TaskBatch; None of unit ones. covariance_type: their kind.
    """

    X: Tensor
    token_mask: Tensor
    weights: Tensor
    means: Tensor
    component_mask: Tensor
    n_features: Tensor
    refreshed: bool
    covariances: Tensor | None = None
    covariance_type: CovarianceType = "unit"

    __repr__ = short_repr

    @classmethod
    def uniform(
        cls,
        X: Tensor,
        weights: Tensor,
        means: Tensor,
        refreshed: bool,
        covariances: Tensor | None = None,
        covariance_type: CovarianceType = "unit",
    ) -> StepData:
        """B tasks of one size, nothing padded: X (B, N, d), weights (B, K), means (B, K, d) of any dtype."""
        B, N, d = X.shape
        S = None if covariances is None else covariances.to(torch.float64)
        X, weights, means = (v.to(torch.float64) for v in (X, weights, means))
        tokens = torch.ones(B, N, dtype=torch.bool, device=X.device)
        components = torch.ones_like(weights, dtype=torch.bool)
        features = torch.full((B,), d, device=X.device)
        return cls(X, tokens, weights, means, components, features, refreshed, S, covariance_type)

    @property
    def feature_mask(self) -> Tensor:
        """(B, d) bool, True at coordinates that the task has."""
        return torch.arange(self.X.shape[2], device=self.X.device) < self.n_features[:, None]

    @property
    def samples(self) -> Tensor:
        """(B, 1) float64: the true N. A whole number times a Python float would be a float32 in torch."""
        return self.token_mask.sum(-1, keepdim=True).to(torch.float64)

    @property
    def components(self) -> Tensor:
        """(B, 1) float64: the true K."""
        return self.component_mask.sum(-1, keepdim=True).to(torch.float64)

    @property
    def dims(self) -> Tensor:
        """(B, 1) float64: the true d."""
        return self.n_features[:, None].to(torch.float64)


@dataclass(frozen=True, eq=False)
class Rounding:
    """Rounding of one step at one unit roundoff u; derived in lemma 6.

    Attributes:
        logits: (B, N) bound on the error of a logit. resp: (B, N) relative error of a responsibility beyond
            that of the logits. log_resp, log_pi, half_norm2: the piecewise functions. pooling: (B, 1)
            relative error of the weights of the M layer's average.
        underflow: (B, 1) absolute error of a sum over all points, each of whose terms may have been flushed
            to 0, in the dtype of the layers; reference_underflow: in float64.
        log_underflow: (B, 1) how far that moves the log of a number above the floor.
        shares: (B, 1) relative error of the exact responsibilities, as the bounds compute them in float64.
        centre: (B, 1) Euclidean error of the exact means that follow from them.
    """

    logits: Tensor
    resp: Tensor
    log_resp: Tensor
    log_pi: Tensor
    half_norm2: Tensor
    pooling: Tensor
    underflow: Tensor
    reference_underflow: Tensor
    log_underflow: Tensor
    shares: Tensor
    centre: Tensor

    __repr__ = short_repr

    @classmethod
    def none(cls, data: StepData) -> Rounding:
        """Exact arithmetic."""
        per_task = data.X.new_zeros(len(data.X), 1)
        return cls(per_task, per_task, *[number(0.0)] * 2, *[per_task] * 7)


def box_diagonal(data: StepData) -> Tensor:
    """(B, 1) diagonal of the box around the points, at least their diameter."""
    real = data.token_mask[:, :, None]
    high, low = data.X.masked_fill(~real, -math.inf).amax(1), data.X.masked_fill(~real, math.inf).amin(1)
    return length(high - low)[:, None]


def sum_underflow(samples: Tensor, dtype: torch.dtype) -> Tensor:
    """``2 (N + 1) tiny``: what flushing takes from a softmax average over N keys, for values of size 1.

    One for each weight and each product, at most N / 5 + 1 rescalings of a block, one division.
    """
    return 2 * (samples + 1) * torch.finfo(dtype).tiny


def step_rounding(em: EMConstruction, data: StepData, log_odds_reach: Tensor, dtype: torch.dtype) -> Rounding:
    """Rounding of the layers in ``dtype`` plus that of the float64 reference (lemma 6).

    Args:
        em: the construction.
        data: tasks and start of the step, float64.
        log_odds_reach: (B, N) spread of the logits at each point.
        dtype: in which the layers run.
    """
    d, samples = data.dims, data.samples
    absolute = (data.means.abs() @ data.X.abs().mT).amax(1)
    floored = data.weights.clamp_min(em.floor).log().abs()
    stored = floored + data.means.square().sum(-1) / 2 + d * em.square.error / 2
    biases = torch.where(data.component_mask, stored, 0.0).amax(1, keepdim=True)
    logit_size = absolute + biases + (samples / data.components).ceil().log()
    reach = log_odds_reach + number(2.0).log()

    u, u64 = unit_roundoff(dtype), unit_roundoff(torch.float64)
    most = 4 * float(samples.max()) + 10
    size = float(data.n_features.max())
    flushed = (2 * size + 10) * (number(torch.finfo(dtype).tiny) + torch.finfo(torch.float64).tiny)
    norm = length(data.X)
    size_of_both = norm + 3 * length(data.means).amax(1, keepdim=True)
    reference = gamma(2 * size + 8, u64) * (size_of_both.square() / 2 + biases)
    soft = number(gamma(most, u)) + gamma(most, u64)
    pooled = gamma(most, u) - 2 * u * number(em.floor).log()
    underflow = sum_underflow(samples, dtype)
    log_underflow = torch.log1p(underflow / em.floor)
    farthest = norm.amax(-1, keepdim=True)
    shares = 2 * reference.amax(1, keepdim=True) + gamma(most, u64) + 4 * u64 * reach.amax(1, keepdim=True)
    lost = samples * torch.finfo(torch.float64).tiny
    # After an M layer each token holds its own rounded copy of its mean and of the weights.
    apart = 4 * (pooled * farthest + underflow * (d.sqrt() + farthest))
    copies = 4 * (pooled + log_underflow) + apart * (norm + farthest)
    return Rounding(
        logits=gamma(size + 5, u) * logit_size
        + reference
        + flushed
        + (copies if data.refreshed else torch.zeros_like(norm)),
        resp=soft + 2 * (u + u64) * reach,
        log_resp=em.log_resp.rounding_error(dtype),
        log_pi=em.log_pi.rounding_error(dtype),
        half_norm2=d * em.square.rounding_error(dtype) / 2
        + gamma(size * (em.square.units + 4), u) * d * number(em.radius).square() / 2,
        pooling=pooled + gamma(most, u64) + 2 * reference.amax(1, keepdim=True),
        underflow=underflow,
        reference_underflow=sum_underflow(samples, torch.float64),
        log_underflow=log_underflow,
        shares=shares,
        centre=(shares + lost) * box_diagonal(data) + gamma(most, u64) * farthest,
    )
