"""How far an average moves whose weights are known up to intervals: the lemmas that all M steps share.

The layers weigh point i by ``u_i = exp f(w_i')`` with w' near the responsibility w. Of a statistic whose
average under w is 0, the average under u is ``sum_i u_i o_i / sum_i u_i``: its numerator is bounded here.
Arrays over components and points are (B, K, N). Proofs: paper_notes/theorem_1_em.md, lemmas 2, 4 and 5.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from constructions.em.constructed import ConstructedEM
from constructions.language.rounding import above, approximately, length, number, unit_roundoff

U64 = unit_roundoff(torch.float64)

MOST_MOVED = 700.0
"""How far a logit may move: its exponential is a number of float64."""


def log_odds(logits: Tensor) -> Tensor:
    """``s_k - log sum_{l != k} exp(s_l)`` along dimension 1 of (B, K, N); +inf where K = 1."""
    K = logits.shape[1]
    others = []
    for k in range(K):
        rest = torch.cat([logits[:, :k], logits[:, k + 1 :]], dim=1)
        others.append(torch.logsumexp(rest, dim=1) if K > 1 else torch.full_like(logits[:, 0], -math.inf))
    return torch.where(logits == -math.inf, -math.inf, logits - torch.stack(others, dim=1))


def responsibility_range(log_resp: Tensor, eta: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest responsibilities when the logit of (i, k) moves by at most ``eta_ik``.

    At points where one of them may move by more than ``MOST_MOVED``, which is as good as infinitely far,
    nothing is known: 0 and 1.
    """
    unknown = ~(above(eta) <= MOST_MOVED).all(1, keepdim=True)
    eta = torch.where(unknown, 0.0, eta)
    low, high = [], []
    for k in range(log_resp.shape[1]):
        own = torch.zeros_like(eta)
        own[:, k] = 2 * eta[:, k]
        low.append((log_resp[:, k] - eta[:, k]) - torch.logsumexp(log_resp + eta - own, 1))
        high.append((log_resp[:, k] + eta[:, k]) - torch.logsumexp(log_resp - eta + own, 1))
    low, high = torch.stack(low, 1).exp(), torch.stack(high, 1).exp()
    return torch.where(unknown, 0.0, low), torch.where(unknown, 1.0, high)


def best_scaled_distance(
    u_low: Tensor, u_high: Tensor, w: Tensor, distance: Tensor, share_error: Tensor
) -> Tensor:
    """``min_c sum_i max(|u_high_i - c w_i|, |u_low_i - c w_i|) g_i`` over the last dimension.

    With m and r the middle and half length of ``[u_low, u_high]`` the summand is ``(|m - c w| + r) g``, so
    the best c is the median of ``m_i / w_i`` weighted by ``w_i g_i``. Every c gives a valid bound for exact
    w and g; here w is off by ``share_error`` and by underflow, which c multiplies (lemma 6, (vii)).

    Args:
        u_low, u_high, w: (B, K, N). distance: (B, K, N), at least g. share_error: relative, of w; it
            broadcasts.
    """
    middle, half = (u_low + u_high) / 2, (u_high - u_low) / 2
    pull = w * distance
    # Any c will do: it is chosen in float64.
    ratio = approximately(torch.where(w > 0, middle / w, 0.0))
    pull = approximately(pull)
    order = ratio.argsort(-1)
    reached = approximately(pull.gather(-1, order).cumsum(-1))
    half_way = approximately(reached[..., -1:] / 2)
    place = (reached < half_way).sum(-1, keepdim=True).clamp_max(w.shape[-1] - 1)
    mass = w.sum(-1, keepdim=True)
    least, most = (
        approximately(torch.where(mass > 0, u.sum(-1, keepdim=True) / mass, 0.0)) for u in (u_low, u_high)
    )
    c = torch.minimum(torch.maximum(ratio.gather(-1, order.gather(-1, place)), least), most)
    lost = torch.where(share_error > 0, torch.finfo(torch.float64).tiny, 0.0)
    off = c * ((share_error + 4 * U64) * w + lost)
    return (((middle - c * w).abs() + half + off) * distance).sum(-1)


def expanded_numerator(
    em: ConstructedEM,
    log_w: Tensor,
    token_mask: Tensor,
    constant: Tensor,
    own_rounding: Tensor,
    function_rounding: Tensor | float,
    low: Tensor,
    top: Tensor,
    distance: Tensor,
    offsets: Callable[[int], Tensor],
    off: Tensor,
) -> Tensor:
    """(B, K) bound on ``|sum_i u_i o_i|`` over e^top, to first order in the logit errors (lemma 5).

    The logit error of a component is one number for all points, so its effects on different points cancel as
    the offsets do. With ``u0_i = exp f(w_i)``, ``g_i >= |o_i|`` and ``V_l = sum_i u0_i w_il o_i`` over the
    points with ``lo_i`` above the floor, the sum is at most

        |sum_i u0_i o_i| + (S/2) (|sum_l V_l| + sum_l |V_l|) + sum_i u0_i E_i g_i,      l != k

    where, with ``t_i = (1 - w_i) S``, a the largest slope of f against log, and r_i the rounding of w_i,

        E_i = s_i t_i + a (S^2/8 + r_i) + (rounding of f) + (v_i^2 / 2) e^{v_i}
        v_i = a (t_i + S^2/8 + r_i) + (rounding of f)

    and s_i is how far the slope of f against log can be from 1, or a where ``lo_i`` is below the floor.

    Args:
        em: of which the log of responsibilities is f. log_w: (B, K, N) the responsibilities aimed at.
        token_mask: (B, N). constant: S, broadcasts. own_rounding: r_i, broadcasts.
        function_rounding: of f. low: (B, K, N) the least w'. top: (B, K, 1). distance: g.
        offsets: k -> (B, N, D) the o_i. off: (B, K) how far the computed offsets may be from these.
    """
    real = token_mask[:, None, :]
    w = torch.where(real, log_w.exp(), 0.0)
    u0 = torch.where(real, (em.log_resp(w) - top).exp(), 0.0)
    z = -number(em.floor).log() / em.log_resp.pieces
    steepest, flattest = z / -torch.expm1(-z), z / torch.expm1(z)
    above_floor = low >= em.floor
    slope_gap = torch.where(above_floor, torch.maximum(steepest - 1, 1 - flattest), steepest)
    tilt = (1 - w) * constant
    moved = steepest * (tilt + constant**2 / 8 + own_rounding) + function_rounding
    remainder = (
        slope_gap * tilt
        + steepest * (constant**2 / 8 + own_rounding)
        + function_rounding
        + moved.square() / 2 * moved.exp()
    )
    numerators = []
    for k in range(w.shape[1]):
        offset = offsets(k)
        base = length(u0[:, k, None] @ offset)[:, 0]
        others = w * torch.where(above_floor, u0, 0.0)[:, k, None]
        others = torch.cat([others[:, :k], others[:, k + 1 :]], 1) @ offset
        linear = (length(others.sum(1)) + length(others).sum(1)) * constant[:, 0, 0] / 2
        apart = above(distance[:, k]) > 0  # a remainder that overflows moves no point lying on the mean
        rest = torch.where(apart, (u0 * remainder * distance)[:, k], 0.0).sum(-1)
        wrong = off[:, k] if off.shape[1] > 1 else off[:, 0]
        wrong = wrong * u0[:, k].sum(-1) * (1 + constant[:, 0, 0])
        numerators.append(base + linear + rest + wrong)
    return torch.stack(numerators, 1)
