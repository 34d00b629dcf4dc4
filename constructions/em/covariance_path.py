"""How far L constructed EM steps with covariances can be from L steps of EM.

    theta_hat_{t+1} - theta_{t+1} = (theta_hat_{t+1} - EM(theta_hat_t)) + (EM(theta_hat_t) - EM(theta_t))

The first difference is the one-step bound from the constructed state. The second is bounded by the same
averages: parameters that are off by (dlog pi, dmu, dS), the latter two against the least eigenvalue s of S,

    m = |dmu| / sqrt(s),    r = |dS| / s < 1,    a_i = the Mahalanobis distance of x_i from mu_k

move the logit of point i by at most ``dlog pi + ((a_i + m)^2 / (1 - r) - a_i^2 - d log(1 - r)) / 2``, hence
the responsibilities into an interval, and the averages as in lemma 4 with f = log.

No contraction is used: the bound grows from step to step where EM's own error shrinks. Proof:
paper_notes/theorem_1_covariances.md, lemma G.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.em.averages import best_scaled_distance, responsibility_range
from constructions.em.covariance_bounds import covariance_step_bound, exact_logits
from constructions.em.covariance_logits import matrices, variances
from constructions.em.covariance_step import CovarianceEM, exact_step, statistic, within_range
from constructions.em.matrices import MatrixEM
from constructions.em.step_bound import StepBound
from constructions.em.step_rounding import StepData
from constructions.language.rounding import above, below, length, or_infinity, unit_roundoff
from constructions.language.shown import short_repr


@dataclass(frozen=True, eq=False)
class Off:
    """How far two mixtures are apart at most: weights, means, covariances, (B, K) each."""

    weight: Tensor
    mean: Tensor
    covariance: Tensor

    __repr__ = short_repr


def carried(em: CovarianceEM, data: StepData, off: Off) -> Off:
    """How far one EM step from ``data`` is from one from parameters that are ``off`` from it."""
    data, known = within_range(em, data)
    logits = exact_logits(em, data)
    exact = exact_step(em, data, logits)
    real, present = data.token_mask[:, None], data.component_mask[:, :, None]
    log_w = torch.log_softmax(logits, dim=1)
    eta = torch.where(present, _moved_logits(em, data, off), 0.0)
    low, high = (torch.where(real, w, 0.0) for w in responsibility_range(log_w, eta))
    means, mass = exact.means, low.sum(-1)

    def averaged(values: list[Tensor]) -> Tensor:
        distance = torch.stack([length(value) for value in values], 1)
        distance = torch.where(real, distance, 0.0)
        found = best_scaled_distance(
            low, high, exact.shares, distance, torch.zeros_like(exact.mass)[..., None]
        )
        found = torch.where(below(mass) > 0, found / mass, math.inf)
        return torch.minimum(or_infinity(found), distance.amax(-1))

    count = range(means.shape[1])
    mean = averaged([data.X - means[:, k, None] for k in count])
    own = averaged([statistic(em, data, means[:, k, None]) - exact.own[:, k, None] for k in count])
    weight = torch.maximum(high.sum(-1) / data.samples - exact.weights, exact.weights - mass / data.samples)
    covariance = own + mean.square()
    if exact.tied:
        S = (exact.weights[..., None] * exact.own).sum(1, keepdim=True)
        terms = (exact.weights + weight) * covariance + weight * length(exact.own - S)
        covariance = torch.where(data.component_mask, terms, 0.0).sum(1, keepdim=True).expand_as(mean)
    nothing = above(off.weight.amax(-1) + off.mean.amax(-1) + off.covariance.amax(-1)) == 0
    found = (torch.where(known[:, None], part, math.inf) for part in (weight, mean, covariance))
    return Off(*(torch.where(nothing[:, None], 0.0, part) for part in found))


def _moved_logits(em: CovarianceEM, data: StepData, off: Off) -> Tensor:
    """(B, K, N)."""
    difference = data.X[:, None] - data.means[:, :, None]
    if isinstance(em, MatrixEM):
        S = matrices(em, data)
        least = torch.linalg.eigvalsh(S)[..., 0]
        form = (
            torch.linalg.solve_triangular(torch.linalg.cholesky(S), difference.mT, upper=False)
            .square()
            .sum(-2)
        )
    else:
        s = torch.where(data.feature_mask[:, None], variances(em, data), math.inf)
        least, form = s.amin(-1), (difference.square() / s[:, :, None]).sum(-1)
    share = off.weight / data.weights
    log_weight = torch.where(above(share) < 1, -torch.log1p(-share), math.inf)[..., None]
    # Every coordinate has the variance of a spherical kind: a matrix, whose largest eigenvalue moves so much.
    r = (off.covariance / least)[..., None]
    m = (off.mean / least.sqrt())[..., None]
    moved = (form.sqrt() + m).square() / (1 - r) - form - data.dims[..., None] * torch.log1p(-r)
    return torch.where(above(r) < 1, log_weight + moved / 2, math.inf)


@dataclass(frozen=True, eq=False)
class CovariancePath:
    """Bounds after each step, (B, L, K), tied covariances (B, L, 1); ``plain`` without rounding."""

    steps: list[StepBound]
    total: list[Off]
    plain: list[Off]
    holds: Tensor

    __repr__ = short_repr


def covariance_path(
    em: CovarianceEM,
    X: Tensor,
    token_mask: Tensor,
    path: tuple[Tensor, Tensor, Tensor],
    component_mask: Tensor,
    n_features: Tensor,
    dtype: torch.dtype,
    refreshed: bool,
) -> CovariancePath:
    """Along weights (B, L + 1, K), means and covariances of a constructed path.

    Two starts whose weights differ by a factor are one start to EM; what rounds in dividing by their sum
    counts.
    """
    weights, means, covariances = (part.to(torch.float64) for part in path)
    nothing = torch.zeros_like(weights[:, 0])
    # A run divides the weights by their rounded sum: each is off by u of itself, beside a factor.
    divided = nothing if refreshed else 2 * unit_roundoff(dtype) * weights[:, 0]
    total, plain = [Off(divided, nothing, nothing)], [Off(nothing, nothing, nothing)]
    steps, holds = [], []
    alive = torch.ones(len(X), dtype=torch.bool, device=X.device)
    for t in range(weights.shape[1] - 1):
        state = weights[:, t], means[:, t], component_mask, n_features, refreshed or t > 0, covariances[:, t]
        data = StepData(X.to(torch.float64), token_mask, *state, em.covariance_type)
        bound = covariance_step_bound(em, data, dtype)
        found = bound.covariance_instance, bound.covariance_rounding, bound.out_of_range
        covariance, rounding, outside = (part if part is not None else nothing for part in found)
        one = Off(bound.weight_instance, bound.mean_instance, covariance.expand_as(nothing))
        bare = Off(
            _less(one.weight, bound.weight_rounding),
            _less(one.mean, bound.mean_rounding),
            _less(one.covariance, rounding.expand_as(nothing)),
        )
        whole, exact = (
            _sum(step, carried(em, data, off)) for step, off in ((one, total[-1]), (bare, plain[-1]))
        )
        above_floor = torch.where(component_mask, weights[:, t + 1] > em.floor, True).all(-1)
        alive = alive & above_floor & ~bound.undefined.any(-1) & ~outside.bool().any(-1)
        for kept, new in ((total, whole), (plain, exact)):
            parts = (new.weight, new.mean, new.covariance)
            kept.append(Off(*(torch.where(alive[:, None], above(part), math.inf) for part in parts)))
        steps.append(bound)
        holds.append(alive)
    return CovariancePath(steps, total[1:], plain[1:], torch.stack(holds, 1))


def _less(bound: Tensor, rounding: Tensor) -> Tensor:
    """The bound without rounding; where that alone makes it infinite it is not known, and stays infinite."""
    return torch.where(bound.isfinite(), bound - rounding, math.inf)


def _sum(a: Off, b: Off) -> Off:
    return Off(a.weight + b.weight, a.mean + b.mean, a.covariance + b.covariance)
