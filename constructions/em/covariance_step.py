"""An exact EM step of a state with covariances, in float64 and in the terms of the bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from constructions.em.matrices import MatrixEM
from constructions.em.step_rounding import StepData
from constructions.em.variances import VarianceEM
from constructions.language.rounding import above, below
from constructions.language.shown import short_repr

CovarianceEM = VarianceEM | MatrixEM


@dataclass(frozen=True, eq=False)
class ExactStep:
    """An exact EM step.

    Attributes:
        shares: (B, K, N) responsibilities over the largest of their component. mass, weights: (B, K).
        means: (B, K, d). own: (B, K, D) covariances of the components, before they are tied, as rows of
            numbers. covariances: as the kind lays them out.
        out_of_range: (B, K) an eigenvalue of the new covariance lies outside the range of the construction.
    """

    shares: Tensor
    mass: Tensor
    weights: Tensor
    means: Tensor
    own: Tensor
    covariances: Tensor
    out_of_range: Tensor
    tied: bool

    __repr__ = short_repr


def statistic(em: CovarianceEM, data: StepData, centre: Tensor) -> Tensor:
    """(B, N, D) squares or products of ``x - centre``, centre (B, 1, d)."""
    offset = (data.X - centre) * data.feature_mask[:, None]
    if isinstance(em, MatrixEM):
        return (offset[..., :, None] * offset[..., None, :]).flatten(-2)
    return by_kind(em, data, offset.square())


def by_kind(em: VarianceEM, data: StepData, squares: Tensor) -> Tensor:
    """(B, N, d) -> the same for diagonal covariances, (B, N, 1) their mean over coordinates for spherical."""
    return squares if em.covariance_type == "diagonal" else squares.sum(-1, keepdim=True) / data.dims[:, None]


def exact_step(em: CovarianceEM, data: StepData, logits: Tensor) -> ExactStep:
    """The step in float64, of the exact logits (B, K, N)."""
    real, present = data.token_mask[:, None], data.component_mask
    log_resp = torch.log_softmax(logits, dim=1).masked_fill(~real, -math.inf)
    largest = log_resp.amax(-1, keepdim=True)
    shares = torch.where(largest > -math.inf, (log_resp - largest).exp(), 0.0)
    total = shares.sum(-1, keepdim=True)
    middle = data.X.sum(1, keepdim=True) / data.samples[..., None]  # of the points; padding holds zeros
    centred = (data.X - middle) * data.token_mask[..., None]
    means = torch.where(total > 0, shares @ centred / total + middle, 0.0) * data.feature_mask[:, None]
    own = torch.stack(
        [
            (shares[:, k, None] @ statistic(em, data, means[:, k, None]))[:, 0]
            / torch.where(total[:, k] > 0, total[:, k], 1.0)
            for k in range(shares.shape[1])
        ],
        1,
    )
    mass = largest[..., 0].exp() * total[..., 0]
    weights = mass / data.samples
    own = torch.where(present[..., None], own, 0.0)
    tied = em.covariance_type.startswith("tied")
    pooled = (weights[..., None] * own).sum(1) if tied else own
    covariances = _laid_out(em, pooled)
    outside = ~inside(em, data, covariances)
    return ExactStep(shares, mass, weights, means, own, covariances, outside, tied)


def _laid_out(em: CovarianceEM, rows: Tensor) -> Tensor:
    if isinstance(em, MatrixEM):
        size = math.isqrt(rows.shape[-1])
        return rows.unflatten(-1, (size, size))
    return rows if em.covariance_type == "diagonal" else rows[..., 0]


def within_range(em: CovarianceEM, data: StepData) -> tuple[StepData, Tensor]:
    """The data with harmless numbers for tasks whose state is not one, and (B,) True at the others.

    A state is finite, its weights are positive and the eigenvalues of its covariances in the range.
    """
    S = data.covariances
    if S is None:
        raise ValueError("the data of a step have no covariances")
    present = data.component_mask
    known = inside(em, data, S).all(-1) & torch.where(present, data.weights > 0, True).all(-1)
    known = known & data.weights.isfinite().all(-1) & data.means.isfinite().flatten(1).all(-1)
    if bool(known.all()):
        return data, known
    weights = torch.where(known[:, None], data.weights, present / data.components)
    means = torch.where(known[:, None, None], data.means, 0.0)
    unit = torch.eye(S.shape[-1]).to(S) if isinstance(em, MatrixEM) else torch.ones_like(S)
    unit = unit * math.sqrt(em.eigenvalues.low * em.eigenvalues.high)
    S = torch.where(known.reshape(-1, *[1] * (S.dim() - 1)), S, unit)
    return replace(data, weights=weights, means=means, covariances=S), known


def inside(em: CovarianceEM, data: StepData, covariances: Tensor) -> Tensor:
    """(B, K) whether the eigenvalues of the component's covariance lie in the range."""
    span = em.eigenvalues
    features, present = data.feature_mask, data.component_mask
    between = math.sqrt(span.low * span.high)
    if isinstance(em, MatrixEM):
        S = covariances if em.covariance_type == "full" else covariances[:, None]
        S = S + between * torch.diag_embed((~features).to(S))[:, None]
        known = S.isfinite().flatten(-2).all(-1)
        eye = torch.eye(S.shape[-1]).to(S)
        found = torch.linalg.eigvalsh(torch.where(known[..., None, None], S, eye))
        held = span.holds(below(found[..., 0]), above(found[..., -1])) & known
    elif em.covariance_type == "diagonal":
        values = covariances.masked_fill(~features[:, None], between)
        held = span.holds(below(values.amin(-1)), above(values.amax(-1)))
    else:
        values = covariances if em.covariance_type == "spherical" else covariances[:, None]
        held = span.holds(below(values), above(values))
    return held.expand(present.shape) | ~present
