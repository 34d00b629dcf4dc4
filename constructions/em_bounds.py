"""How far one constructed EM step can be from EM: the instance bound, the a-priori bound, and rounding.

Both compare the constructed step with an exact EM step from the same weights and means. Arrays over
components and points are (B, K, N). The proofs are in paper_notes/theorem_1_em.md, lemmas 1 to 7; the
bounds themselves are evaluated in float64, without directed rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.em import EMConstruction
from constructions.em_pieces import log_chord_error
from constructions.rounding import gamma, unit_roundoff


@dataclass(frozen=True, eq=False)
class StepData:
    """B padded tasks and the weights and means that a step starts from, in float64.

    Attributes:
        X: (B, N, d). token_mask: (B, N). weights: (B, K). means: (B, K, d). component_mask: (B, K).
        n_features: (B,) true d.
        refreshed: the start came out of an M layer, so log pi and |mu|^2/2 are approximate; False for the
            first step, whose start is read in exactly.
    """

    X: Tensor
    token_mask: Tensor
    weights: Tensor
    means: Tensor
    component_mask: Tensor
    n_features: Tensor
    refreshed: bool


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


DYING_FRACTION = 0.01
"""A component is named as dying when the floor puts more than this share of its mass at wrong points."""


@dataclass(frozen=True, eq=False)
class Rounding:
    """Rounding of one step at one unit roundoff u; derived in lemma 6.

    Attributes:
        logits: (B, N) bound on the error of a logit. resp: (B, N) relative error of a responsibility beyond
            that of the logits. log_resp, log_pi, half_norm2: the piecewise functions. pooling: (B, 1)
            relative error of the weights of the M layer's average. underflow: (B, 1) absolute error of a sum
            over all points, each of whose terms may have been flushed to 0.
    """

    logits: Tensor
    resp: Tensor
    log_resp: float
    log_pi: float
    half_norm2: Tensor
    pooling: Tensor
    underflow: Tensor

    @classmethod
    def none(cls, data: StepData) -> Rounding:
        """Exact arithmetic."""
        per_task = data.X.new_zeros(len(data.X), 1)
        return cls(per_task, per_task, 0.0, 0.0, per_task, per_task, per_task)


def one_step_bound(em: EMConstruction, data: StepData, dtype: torch.dtype = torch.float64) -> StepBound:
    """Bounds on one constructed step against exact EM from the same start.

    Instance bound, the smaller of two numerators over ``sum_i exp f(lo_i)``: lemma 4, minimised over c,
        sum_i max(|exp f(hi_i) - c w_i|, |exp f(lo_i) - c w_i|) |x_i - mu_k|
    and lemma 5, to first order in the logit errors. A-priori bound (lemma 3), with ``rho = S + e`` and
    ``b = N floor exp(rho) / W_k``:
        |mu_hat_k - mu_k| <= D (tanh(rho / 4) + b / (1 + b)),     |pi_hat_k - pi_k| <= tanh(S / 4)
    Both with the rounding of ``dtype`` and of a float64 reference added.

    Args:
        em: the construction.
        data: tasks and start of the step, float64.
        dtype: in which the layers run.
    """
    geometry = _geometry(em, data)
    rounding = _rounding(em, data, geometry, dtype)
    with_rounding = _instance_bound(em, data, geometry, rounding)
    exact_arithmetic = _instance_bound(em, data, geometry, Rounding.none(data))
    mean_apriori, weight_apriori = _apriori_bound(em, data, geometry, rounding)
    present = data.component_mask
    undefined = (geometry.new_weights < torch.finfo(torch.float64).tiny) & present
    samples = data.token_mask.sum(-1, keepdim=True)

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
        dying=present & (samples * em.floor > DYING_FRACTION * geometry.mass),
    )


@dataclass(frozen=True, eq=False)
class _Geometry:
    """Exact EM at the start, and the logits that the construction aims at (weights held at the floor).

    logits, log_odds: (B, K, N) of the floored weights. resp: (B, K, N) exact responsibilities.
    mass: (B, K) their sums. distance: (B, K, N) from each point to the new mean.
    lift: (B, 1) how far the floor raises the lowest log pi.
    """

    logits: Tensor
    log_odds: Tensor
    resp: Tensor
    mass: Tensor
    new_weights: Tensor
    new_means: Tensor
    distance: Tensor
    lift: Tensor


def log_odds(logits: Tensor) -> Tensor:
    """``s_k - log sum_{l != k} exp(s_l)`` along dimension 1 of (B, K, N); +inf where K = 1."""
    K = logits.shape[1]
    others = []
    for k in range(K):
        rest = torch.cat([logits[:, :k], logits[:, k + 1 :]], dim=1)
        others.append(torch.logsumexp(rest, dim=1) if K > 1 else torch.full_like(logits[:, 0], -math.inf))
    return torch.where(logits == -math.inf, -math.inf, logits - torch.stack(others, dim=1))


def _geometry(em: EMConstruction, data: StepData) -> _Geometry:
    half_norm2 = data.means.square().sum(-1) / 2
    inner = data.means @ data.X.mT - half_norm2[:, :, None]
    absent = ~data.component_mask[:, :, None]
    log_pi = data.weights.log()[:, :, None]
    floored = data.weights.clamp_min(em.floor).log()[:, :, None]
    logits = (inner + floored).masked_fill(absent, -math.inf)
    resp = torch.softmax((inner + log_pi).masked_fill(absent, -math.inf), dim=1)
    resp = torch.where(data.token_mask[:, None, :], resp, 0.0)
    mass = resp.sum(-1)
    samples = data.token_mask.sum(-1, keepdim=True)
    new_means = torch.where((mass > 0)[:, :, None], resp @ data.X / mass[:, :, None], 0.0)
    distance = torch.where(
        data.token_mask[:, None, :],
        torch.cdist(new_means, data.X, compute_mode="donot_use_mm_for_euclid_dist"),
        0.0,
    )
    lift = torch.where(absent, 0.0, floored - log_pi).amax(1)
    return _Geometry(logits, log_odds(logits), resp, mass, mass / samples, new_means, distance, lift)


def _rounding(em: EMConstruction, data: StepData, geometry: _Geometry, dtype: torch.dtype) -> Rounding:
    """Rounding of the layers in ``dtype`` plus that of the float64 reference (lemma 6)."""
    d = data.n_features[:, None].to(torch.float64)
    samples = data.token_mask.sum(-1, keepdim=True).to(torch.float64)
    components = data.component_mask.sum(-1, keepdim=True)
    absolute = (data.means.abs() @ data.X.abs().mT).amax(1)
    floored = data.weights.clamp_min(em.floor).log().abs()
    stored = floored + data.means.square().sum(-1) / 2 + d * em.square.approximation_error / 2
    biases = torch.where(data.component_mask, stored, 0.0).amax(1, keepdim=True)
    logit_size = absolute + biases + (samples / components).ceil().log()
    present = data.component_mask[:, :, None]
    lowest = torch.where(present, geometry.logits, math.inf).amin(1)
    reach = torch.where(data.token_mask, geometry.logits.amax(1) - lowest, 0.0) + math.log(2)

    u, u64 = unit_roundoff(dtype), unit_roundoff(torch.float64)
    most = 4 * float(samples.max()) + 10
    size = float(data.n_features.max())
    norm = data.X.square().sum(-1).sqrt() + 3 * data.means.square().sum(-1).amax(1, keepdim=True).sqrt()
    reference = gamma(2 * size + 8, u64) * (norm.square() / 2 + biases)
    soft = gamma(most, u) + gamma(most, u64)
    pooled = gamma(most, u) + 2 * u * -math.log(em.floor)
    length = data.X.square().sum(-1).sqrt()
    farthest = length.amax(-1, keepdim=True)
    # After an M layer each token holds its own rounded copy of its mean and of the weights.
    copies = 4 * pooled * (1 + (length + farthest) * farthest) if data.refreshed else torch.zeros_like(length)
    return Rounding(
        logits=gamma(size + 5, u) * logit_size + reference + copies,
        resp=soft + 2 * (u + u64) * reach,
        log_resp=em.log_resp.rounding_error(dtype),
        log_pi=em.log_pi.rounding_error(dtype),
        half_norm2=d * em.square.rounding_error(dtype) / 2
        + gamma(size * (em.square.units + 4), u) * d * em.radius**2 / 2
        + 2 * pooled * d * em.radius**2,
        pooling=pooled + gamma(most, u64) + 2 * reference.amax(1, keepdim=True),
        underflow=samples * torch.finfo(dtype).tiny,
    )


def _logit_spread(em: EMConstruction, data: StepData, rounding: Rounding) -> Tensor:
    """(B, N) or (B, 1): ``S``, the most by which the logit errors of two components differ at one point."""
    spread = 2 * rounding.logits
    if data.refreshed:
        d = data.n_features[:, None].to(torch.float64)
        chords = em.log_pi.approximation_error + d * em.square.approximation_error / 2
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
    u_low = torch.where(real, torch.exp(em.log_resp(low) - rounding.log_resp), 0.0)
    u_high = torch.where(real, torch.exp(em.log_resp(high) + rounding.log_resp), 0.0)
    pointwise = best_scaled_distance(u_low, u_high, geometry.resp, geometry.distance)
    expanded = _expanded_numerator(em, data, geometry, rounding, spread, low)
    mean_bound = torch.minimum(pointwise, expanded) / u_low.sum(-1)
    largest = data.X.square().sum(-1).amax(-1, keepdim=True).sqrt()
    samples = data.token_mask.sum(-1, keepdim=True)
    above = high.sum(-1) / samples - geometry.new_weights
    below = geometry.new_weights - low.sum(-1) / samples
    pooled_weights = rounding.pooling * high.sum(-1) / samples
    weight_bound = torch.maximum(above, below) + pooled_weights + rounding.underflow
    lost = _lost_to_underflow(geometry, rounding, samples)
    return mean_bound + 2 * rounding.pooling * largest + lost, weight_bound


def _lost_to_underflow(geometry: _Geometry, rounding: Rounding, samples: Tensor) -> Tensor:
    """(B, K) underflow in the layers' average, and in the reference's, which then divides by the mass."""
    return rounding.underflow + samples * torch.finfo(torch.float64).tiny / geometry.mass


def _expanded_numerator(
    em: EMConstruction, data: StepData, geometry: _Geometry, rounding: Rounding, spread: Tensor, low: Tensor
) -> Tensor:
    """(B, K) bound on ``|sum_i u_i (x_i - mu_k)|`` to first order in the logit errors (lemma 5).

    The logit error of a component is one number for all points, so its effects on different points cancel as
    the offsets ``x_i - mu_k`` do. With ``u0_i = exp f(w_i)``, ``g_i = |x_i - mu_k|`` and
    ``V_l = sum_i u0_i w_il (x_i - mu_k)`` over the points with ``lo_i`` above the floor, the sum is at most

        |sum_i u0_i (x_i - mu_k)| + (S/2) (|sum_l V_l| + sum_l |V_l|) + sum_i u0_i E_i g_i,      l != k

    where, with ``t_i = (1 - w_i) S``, a the largest slope of f against log, and r_i the rounding of w_i,

        E_i = s_i t_i + a (S^2/8 + r_i) + (rounding of f) + (v_i^2 / 2) e^{v_i}
        v_i = a (t_i + S^2/8 + r_i) + (rounding of f)

    and s_i is how far the slope of f against log can be from 1, or a where ``lo_i`` is below the floor.
    """
    real = data.token_mask[:, None, :]
    log_w = torch.log_softmax(geometry.logits, dim=1)
    w = torch.where(real, log_w.exp(), 0.0)
    u0 = torch.where(real, em.log_resp(w).exp(), 0.0)
    constant = spread.amax(-1, keepdim=True) if data.refreshed else torch.zeros_like(spread[..., :1])
    own_rounding = (rounding.resp + 2 * rounding.logits + rounding.underflow / em.floor)[:, None, :]
    z = -math.log(em.floor) / em.pieces.log_resp
    steepest, flattest = z / -math.expm1(-z), z / math.expm1(z)
    above = low >= em.floor
    slope_gap = torch.where(above, max(steepest - 1, 1 - flattest), steepest)
    tilt = (1 - w) * constant
    moved = steepest * (tilt + constant**2 / 8 + own_rounding) + rounding.log_resp
    remainder = (
        slope_gap * tilt
        + steepest * (constant**2 / 8 + own_rounding)
        + rounding.log_resp
        + moved.square() / 2 * moved.exp()
    )
    numerators = []
    for k in range(w.shape[1]):
        offset = data.X - geometry.new_means[:, k, None]
        base = (u0[:, k, None] @ offset).norm(dim=-1)[:, 0]
        others = w * (u0 * above)[:, k, None]
        others = torch.cat([others[:, :k], others[:, k + 1 :]], 1) @ offset
        linear = (others.sum(1).norm(dim=-1) + others.norm(dim=-1).sum(1)) * constant[:, 0, 0] / 2
        apart = geometry.distance[:, k] > 0  # a remainder that overflows moves no point lying on the mean
        rest = torch.where(apart, (u0 * remainder * geometry.distance)[:, k], 0.0).sum(-1)
        numerators.append(base + linear + rest)
    return torch.stack(numerators, 1)


def best_scaled_distance(u_low: Tensor, u_high: Tensor, w: Tensor, distance: Tensor) -> Tensor:
    """``min_c sum_i max(|u_high_i - c w_i|, |u_low_i - c w_i|) g_i`` over the last dimension.

    With m and r the middle and half length of ``[u_low, u_high]`` the summand is ``(|m - c w| + r) g``, so
    the best c is the median of ``m_i / w_i`` weighted by ``w_i g_i``. It is taken between
    ``sum u_low / sum w`` and ``sum u_high / sum w``: every c gives a valid bound, but beyond these the
    rounding of ``g_i``, times c, would not be small beside it.
    """
    middle, half = (u_low + u_high) / 2, (u_high - u_low) / 2
    pull = w * distance
    ratio = torch.where(w > 0, middle / w, 0.0)
    order = ratio.argsort(-1)
    reached = pull.gather(-1, order).cumsum(-1)
    place = (reached < reached[..., -1:] / 2).sum(-1, keepdim=True).clamp_max(w.shape[-1] - 1)
    mass = w.sum(-1, keepdim=True)
    least, most = (torch.where(mass > 0, u.sum(-1, keepdim=True) / mass, 0.0) for u in (u_low, u_high))
    c = torch.minimum(torch.maximum(ratio.gather(-1, order.gather(-1, place)), least), most)
    return (((middle - c * w).abs() + half) * distance).sum(-1)


def _apriori_bound(
    em: EMConstruction, data: StepData, geometry: _Geometry, rounding: Rounding
) -> tuple[Tensor, Tensor]:
    real = data.token_mask
    spread = torch.where(real, _logit_spread(em, data, rounding), 0.0).amax(1, keepdim=True) + geometry.lift
    soft = torch.where(real, rounding.resp + rounding.logits, 0.0).amax(1, keepdim=True)
    error = float(log_chord_error(em.floor, em.pieces.log_resp))
    rho = spread + 2 * soft + error + 2 * rounding.log_resp
    samples = real.sum(-1, keepdim=True)
    misplaced = samples * em.floor * rho.exp() / geometry.mass
    share = torch.where(misplaced.isinf(), 1.0, misplaced / (1 + misplaced))
    X = data.X
    high = torch.where(real[:, :, None], X, -math.inf).amax(1)
    low = torch.where(real[:, :, None], X, math.inf).amin(1)
    diameter = (high - low).square().sum(-1, keepdim=True).sqrt()
    largest = X.square().sum(-1).amax(-1, keepdim=True).sqrt()
    relative = torch.where(real, rounding.resp, 0.0).amax(1, keepdim=True)
    entry = torch.tanh(spread / 4) + torch.expm1(relative)
    lost = _lost_to_underflow(geometry, rounding, samples)
    mean_bound = diameter * (torch.tanh(rho / 4) + share) + 2 * rounding.pooling * largest + lost
    weight_bound = entry + rounding.pooling * (geometry.new_weights + entry) + rounding.underflow
    return mean_bound, weight_bound
