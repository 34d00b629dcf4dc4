"""How far one constructed EM step can be from EM: the instance bound, the a-priori bound, and rounding.

Both compare the constructed step with an exact EM step from the same weights and means. Arrays over
components and points are (B, K, N). The proofs are in paper_notes/theorem_1_em.md, lemmas 1 to 7; the
bounds themselves are evaluated in float64, or in intervals or balls (verify.intervals, verify.balls), which
enclose them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.em.averages import best_scaled_distance, expanded_numerator, log_odds
from constructions.em.constructed import ConstructedEM
from constructions.em.covariance_bounds import covariance_step_bound
from constructions.em.covariance_step import CovarianceEM
from constructions.em.step_bound import DYING_FRACTION, StepBound
from constructions.em.step_rounding import Rounding, StepData, box_diagonal, step_rounding
from constructions.em.unit import EMConstruction
from constructions.language.rounding import gamma, length, number, unit_roundoff

U64 = unit_roundoff(torch.float64)


def one_step_bound(em: ConstructedEM, data: StepData, dtype: torch.dtype = torch.float64) -> StepBound:
    """Bounds on one constructed step against exact EM from the same start.

    Instance bound, the smaller of two numerators over ``sum_i exp f(lo_i)``: lemma 4, minimised over c,
        sum_i max(|exp f(hi_i) - c w_i|, |exp f(lo_i) - c w_i|) |x_i - mu_k|
    and lemma 5, to first order in the logit errors. A-priori bound (lemma 3), with ``rho = S + e`` and
    ``b = N floor exp(rho) / W_k``:
        |mu_hat_k - mu_k| <= D (tanh(rho / 4) + b / (1 + b)),     |pi_hat_k - pi_k| <= tanh(S / 4)
    Both with rounding and underflow of ``dtype`` and of a float64 reference added (lemma 6).

    Args:
        em: the construction; for kinds with covariances see constructions.em.covariance_bounds.
        data: tasks and start of the step, float64.
        dtype: in which the layers run.
    """
    return covariance_step_bound(em, data, dtype) if isinstance(em, CovarianceEM) else _unit(em, data, dtype)


def _unit(em: ConstructedEM, data: StepData, dtype: torch.dtype) -> StepBound:
    if not isinstance(em, EMConstruction):
        raise TypeError(f"em is a {type(em).__name__}; a construction made by em_construction is needed")
    geometry = _geometry(em, data)
    rounding = step_rounding(em, data, geometry.reach, dtype)
    with_rounding = _instance_bound(em, data, geometry, rounding)
    exact_arithmetic = _instance_bound(em, data, geometry, Rounding.none(data))
    mean_apriori, weight_apriori = _apriori_bound(em, data, geometry, rounding)
    present = data.component_mask
    undefined = (geometry.new_weights < torch.finfo(torch.float64).tiny) & present

    def at_components(values: Tensor) -> Tensor:
        return torch.where(present, values, 0.0)

    return StepBound(
        exact_weights=at_components(geometry.new_weights),
        exact_means=geometry.new_means,
        mean_instance=at_components(with_rounding[0]),
        weight_instance=at_components(with_rounding[1]),
        mean_apriori=at_components(mean_apriori),
        weight_apriori=at_components(weight_apriori),
        mean_rounding=at_components(with_rounding[0] - exact_arithmetic[0]),
        weight_rounding=at_components(with_rounding[1] - exact_arithmetic[1]),
        undefined=undefined,
        dying=present & (data.samples * em.floor > DYING_FRACTION * geometry.mass),
        share_error=rounding.shares,
        centre_error=rounding.centre,
    )


@dataclass(frozen=True, eq=False)
class _Geometry:
    """Exact EM at the start, and the logits that the construction aims at (weights held at the floor).

    logits, log_odds: (B, K, N) of the floored weights. shares: (B, K, N) exact responsibilities over the
    largest of their component, so that none of a far component underflows. mass: (B, K) sums of the
    responsibilities. distance: (B, K, N) from each point to the new mean.
    lift: (B, 1) how far the floor raises the lowest log pi. reach: (B, N) spread of the logits at a point.
    """

    logits: Tensor
    log_odds: Tensor
    shares: Tensor
    mass: Tensor
    new_weights: Tensor
    new_means: Tensor
    distance: Tensor
    lift: Tensor
    reach: Tensor


def _geometry(em: EMConstruction, data: StepData) -> _Geometry:
    half_norm2 = data.means.square().sum(-1) / 2
    inner = data.means @ data.X.mT - half_norm2[:, :, None]
    absent = ~data.component_mask[:, :, None]
    log_pi = data.weights.log()[:, :, None]
    floored = data.weights.clamp_min(em.floor).log()[:, :, None]
    logits = (inner + floored).masked_fill(absent, -math.inf)
    real = data.token_mask[:, None, :]
    log_resp = torch.log_softmax((inner + log_pi).masked_fill(absent, -math.inf), dim=1)
    log_resp = log_resp.masked_fill(~real, -math.inf)
    # The average is taken on the scale of its own largest weight: a mass of 1e-300 loses no digit.
    largest = log_resp.amax(-1, keepdim=True)
    shares = torch.where(largest > -math.inf, (log_resp - largest).exp(), 0.0)
    total = shares.sum(-1, keepdim=True)
    new_means = torch.where(total > 0, shares @ data.X / total, 0.0)
    mass = largest[..., 0].exp() * total[..., 0]
    size = data.X.abs().amax((1, 2))[:, None, None]
    size = torch.where(size > 0, size, 1.0)  # distances are taken at size 1: no square underflows
    distance = size * torch.cdist(
        new_means / size, data.X / size, compute_mode="donot_use_mm_for_euclid_dist"
    )
    lowest = logits.masked_fill(absent, math.inf).amin(1)
    return _Geometry(
        logits=logits,
        log_odds=log_odds(logits),
        shares=shares,
        mass=mass,
        new_weights=mass / data.samples,
        new_means=new_means,
        distance=torch.where(real, distance, 0.0),
        lift=torch.where(absent, 0.0, floored - log_pi).amax(1),
        reach=torch.where(data.token_mask, logits.amax(1) - lowest, 0.0),
    )


def _logit_spread(em: EMConstruction, data: StepData, rounding: Rounding) -> Tensor:
    """(B, N) or (B, 1): ``S``, the most by which the logit errors of two components differ at one point."""
    spread = 2 * rounding.logits
    if data.refreshed:
        d = data.n_features[:, None].to(torch.float64)
        chords = em.log_pi.error + d * em.square.error / 2
        spread = spread + chords + 2 * rounding.log_pi + 2 * rounding.half_norm2
    return spread


def _instance_bound(
    em: EMConstruction, data: StepData, geometry: _Geometry, rounding: Rounding
) -> tuple[Tensor, Tensor]:
    spread = _logit_spread(em, data, rounding)[:, None, :]
    slack = rounding.resp[:, None, :]
    low = torch.exp(torch.nn.functional.logsigmoid(geometry.log_odds - spread) - slack)
    high = torch.exp(torch.nn.functional.logsigmoid(geometry.log_odds + spread) + slack)
    real = data.token_mask[:, None, :]
    flushed = rounding.underflow[:, None]
    low, high = torch.where(real, (low - flushed).clamp_min(0), 0.0), torch.where(real, high + flushed, 0.0)
    # Numerator and denominator over the largest u of a component: both may be as small as the floor.
    log_high = em.log_resp(high)
    top = log_high.amax(-1, keepdim=True)
    u_low = torch.where(real, torch.exp(em.log_resp(low) - top - rounding.log_resp), 0.0)
    u_high = torch.where(real, torch.exp(log_high - top + rounding.log_resp), 0.0)
    distance = torch.where(real, reach_of_points(geometry.distance, rounding.centre, data), 0.0)
    pointwise = best_scaled_distance(u_low, u_high, geometry.shares, distance, rounding.shares[..., None])
    expanded = _expanded_numerator(em, data, geometry, rounding, spread, low, top, distance)
    # The layers' mean is an average of the points, as the exact one is.
    mean_bound = torch.minimum(torch.minimum(pointwise, expanded) / u_low.sum(-1), distance.amax(-1))
    largest = _largest_norm(data)
    above = high.sum(-1) / data.samples - geometry.new_weights
    below = geometry.new_weights - low.sum(-1) / data.samples
    pooled_weights = rounding.pooling * high.sum(-1) / data.samples
    flushed_weights = rounding.underflow + rounding.reference_underflow
    weight_bound = torch.maximum(above, below) + pooled_weights + flushed_weights
    lost = _lost_to_underflow(data, geometry, rounding)
    return mean_bound + 2 * rounding.pooling * largest + lost, weight_bound


def reach_of_points(distance: Tensor, centre_error: Tensor, data: StepData) -> Tensor:
    """(B, K, N) at least ``|x_i - mu_k|`` for the exact mean, from the distance to the computed one."""
    return distance * (1 + number(gamma(float(data.dims.max()) + 8, U64))) + centre_error[:, :, None]


def _lost_to_underflow(data: StepData, geometry: _Geometry, rounding: Rounding) -> Tensor:
    """(B, K) underflow in the layers' average of the points, and in the reference's, which divides by W_k.

    With t the underflow of a sum, X the largest norm, D the diameter and ``s = t64 / (W_k - t64)``:

        t (sqrt(d) + X) + min(s sqrt(d), X + D) + D min(s, 1)
    """
    root, largest, diameter = data.dims.sqrt(), _largest_norm(data), box_diagonal(data)
    kept = geometry.mass - rounding.reference_underflow
    share = torch.where(kept > 0, rounding.reference_underflow / kept, math.inf)
    share = torch.where(rounding.reference_underflow > 0, share, 0.0)
    products = torch.minimum(share * root, largest + diameter)
    return rounding.underflow * (root + largest) + products + diameter * share.clamp_max(1.0)


def _largest_norm(data: StepData) -> Tensor:
    """(B, 1) ``max_i |x_i|``; padding holds zeros."""
    return length(data.X).amax(-1, keepdim=True)


def _expanded_numerator(
    em: EMConstruction,
    data: StepData,
    geometry: _Geometry,
    rounding: Rounding,
    spread: Tensor,
    low: Tensor,
    top: Tensor,
    distance: Tensor,
) -> Tensor:
    """(B, K) bound on ``|sum_i u_i (x_i - mu_k)|`` over e^top (lemma 5), offsets from the computed mean."""
    constant = spread.amax(-1, keepdim=True) if data.refreshed else torch.zeros_like(spread[..., :1])
    own = rounding.resp + 2 * rounding.logits + rounding.log_underflow + rounding.shares
    return expanded_numerator(
        em,
        torch.log_softmax(geometry.logits, dim=1),
        data.token_mask,
        constant,
        own[:, None, :],
        rounding.log_resp,
        low,
        top,
        distance,
        lambda k: data.X - geometry.new_means[:, k, None],
        rounding.centre,
    )


def _apriori_bound(
    em: EMConstruction, data: StepData, geometry: _Geometry, rounding: Rounding
) -> tuple[Tensor, Tensor]:
    real = data.token_mask
    spread = torch.where(real, _logit_spread(em, data, rounding), 0.0).amax(1, keepdim=True) + geometry.lift
    soft = torch.where(real, rounding.resp + rounding.logits, 0.0).amax(1, keepdim=True)
    rho = spread + 2 * (soft + rounding.log_resp + rounding.log_underflow) + em.log_resp.error
    misplaced = data.samples * (em.floor + rounding.underflow) * rho.exp() / geometry.mass
    share = torch.where(misplaced.isinf(), 1.0, misplaced / (1 + misplaced))
    relative = torch.where(real, rounding.resp, 0.0).amax(1, keepdim=True)
    entry = torch.tanh(spread / 4) + torch.expm1(relative)
    averaging = 2 * rounding.pooling * _largest_norm(data) + _lost_to_underflow(data, geometry, rounding)
    mean_bound = box_diagonal(data) * (torch.tanh(rho / 4) + share) + averaging
    flushed = 2 * rounding.underflow + rounding.reference_underflow
    weight_bound = entry + rounding.pooling * (geometry.new_weights + entry) + flushed
    return mean_bound, weight_bound
