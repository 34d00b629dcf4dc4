"""How far mirror descent on mixture weights in attention can be from mirror descent, along the path.

The state is a vector of logits t up to a constant, pi = softmax(t). Errors are measured by the range of a
difference, ``range(v) = max_k v_k - min_k v_k``, which no constant changes; if two logit vectors are sigma
apart in it, then |log pi'_k - log pi_k| <= sigma, since both sum to 1, and g_k changes by a factor within
e^(+-sigma).

    one step     f <= log by at most e (chords), and f(r) = log floor for r below it, so
                     ell - log pi_k in [-e, 0],       G_k = mean_i e^(f(r_ik) - f(pi_k)),
                     |G_k - g_k| <= (e^e - 1) g_k + e^e (floor / pi_k) (share of i with r_ik < floor)
                 Chords of 1/x at knots of ratio q are above it by a factor 1 + (q - 1)^2 / (4 q) at most:
                     inv - (1 + G_k) in [0, (q - 1)^2 / (4 q) (1 + G_k)]
                 Together, with b_k the bound of |inv - 1 - g_k|,
                     range <= e + 2 eta max_k b_k
    path         sigma <- sigma + 2 eta max_k g_k (e^sigma - 1) + that of the step,
                 |pi'_k - pi_k| <= pi'_k (e^sigma - 1)

Claimed while every weight is above the floor and the bound below 1. Rounding, every softmax as in
Theorem 1: logits gamma_{K+8} of the size of their terms, a softmax gamma_{4N+14} and 2 u times the range of
its argument; f is steeper than log by at most s = z / (1 - e^-z), z the log of the ratio of its knots. Tokens
of one slot hold copies, apart by twice the rounding of the step before. The chord of 1/x moves by at most
q |1/a' - 1/a|.
All values are evaluated in float64, or in intervals or balls (verify.intervals, verify.balls), which enclose
them;
the rounding of the former counts as a second u.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.language.piecewise import PiecewiseLinear, knot_ratio
from constructions.language.rounding import above, below, gamma, number, remembered, unit_roundoff
from constructions.language.shown import short_repr

U64 = unit_roundoff(torch.float64)


@dataclass(frozen=True, eq=False)
class Functions:
    """What the layers were built from: log and 1/x by chords, eta and the floor."""

    log: PiecewiseLinear
    reciprocal: PiecewiseLinear
    rate: float
    floor: float

    __repr__ = short_repr

    @property
    def deepest(self) -> Tensor:
        """-log floor."""
        return -number(self.floor).log()

    @property
    def ratio(self) -> Tensor:
        """q, between two knots of 1/x."""
        return knot_ratio(self.reciprocal)

    @property
    def reciprocal_error(self) -> Tensor:
        """``(q - 1)^2 / (4 q)``."""
        return remembered(self.reciprocal, "excess", _excess)

    @property
    def steepest(self) -> Tensor:
        """s: the largest slope of the chords against log."""
        return remembered(self.log, "steepest against log", _steepest)


def _excess(function: PiecewiseLinear) -> Tensor:
    q = knot_ratio(function)
    return (q - 1).square() / (4 * q)


def _steepest(function: PiecewiseLinear) -> Tensor:
    z = knot_ratio(function).log()
    return z / -torch.expm1(-z)


@dataclass(frozen=True, eq=False)
class MirrorBound:
    """(B, L, K) bounds after each step on ``|pi'_k - pi_k|``; inf where nothing is claimed, 0 at absent
    components.

    Attributes:
        total: all of it. approximation: what is left in real arithmetic.
    """

    total: Tensor
    approximation: Tensor

    __repr__ = short_repr


def mirror_bound(
    loglik: Tensor, counts: Tensor, present: Tensor, logits: Tensor, functions: Functions, dtype: torch.dtype
) -> MirrorBound:
    """The bound at the head of this file.

    Args:
        loglik: (B, N, K), logits: (B, L + 1, K) of the path, float64. counts: (B,). present: (B, K).
    """
    real = torch.arange(loglik.shape[1]) < counts[:, None]
    u, eta = unit_roundoff(dtype), functions.rate
    size = logits[:, 0].abs().masked_fill(~present, 0.0).amax(1)
    start = 4 * (u + U64) * size + 8 * U64 * (size + loglik.shape[2])
    sigma, exact = start, torch.zeros_like(size)
    copies, alive = torch.zeros_like(size), torch.ones_like(size, dtype=torch.bool)
    flushed = 2 * torch.finfo(torch.float64).tiny
    total, approximation = [], []
    for t in range(logits.shape[1] - 1):
        step = _Step.at(loglik, real, present, logits[:, t], functions)
        rounded, own, copies = step.rounding(loglik, logits[:, t], copies, functions, dtype)
        alive = alive & (
            (below(step.pi) > above(functions.floor * step.guard.exp()[:, None])) | ~present
        ).all(1)
        g = step.g.masked_fill(~present, 0.0).amax(1)
        local = step.chords(functions)
        exact = above(exact + 2 * eta * g * torch.expm1(exact) + local)
        sigma = above(sigma + 2 * eta * g * torch.expm1(sigma) + local + 2 * rounded + 2 * own)
        log_then = torch.log_softmax(logits[:, t + 1].masked_fill(~present, -math.inf), -1)
        read = logits[:, t + 1].abs().masked_fill(~present, 0.0).amax(1)
        decoded = gamma(loglik.shape[2] + 8, U64) + 8 * U64 * read
        for found, range_ in ((total, sigma + decoded), (approximation, exact)):
            # pi' (e^sigma - 1) in logs: a weight that is 0 in float64 is not 0.
            value = torch.exp(log_then + (range_ + torch.log(-torch.expm1(-range_)))[:, None])
            known = alive[:, None] & (above(value) <= 1)
            found.append(torch.where(present, torch.where(known, value + flushed, math.inf), 0.0))
    return MirrorBound(torch.stack(total, 1), torch.stack(approximation, 1))


@dataclass(frozen=True, eq=False)
class _Step:
    """Exact quantities of one step. pi, g, below: (B, K); log_resp: (B, N, K); real: (B, N); present: (B, K).

    below: the share of points whose responsibility is under the floor. guard: (B,) rounding of the logs here.
    """

    pi: Tensor
    g: Tensor
    below: Tensor
    log_resp: Tensor
    real: Tensor
    present: Tensor
    guard: Tensor

    @classmethod
    def at(cls, loglik: Tensor, real: Tensor, present: Tensor, t: Tensor, functions: Functions) -> _Step:
        log_pi = torch.log_softmax(t.masked_fill(~present, -math.inf), -1)
        log_resp = torch.log_softmax(loglik + log_pi[:, None], -1)
        counts = real.sum(1)[:, None]
        there = real[..., None] & present[:, None]
        terms = torch.where(there, (log_resp - log_pi[:, None]).exp(), 0.0)
        largest = loglik.abs().masked_fill(~there, 0.0).flatten(1).amax(1)
        held = t.abs().masked_fill(~present, 0.0).amax(1)
        guard = gamma(4 * t.shape[1] + 16, U64) * (1 + functions.deepest + largest + held)
        # A point whose responsibility is within rounding of the floor counts as below it.
        low = there & (below(log_resp) < above(guard[:, None, None] - functions.deepest))
        return cls(log_pi.exp(), terms.sum(1) / counts, low.sum(1) / counts, log_resp, real, present, guard)

    def spread(self, functions: Functions) -> Tensor:
        """(B, K) b_k."""
        e = functions.log.error
        low = torch.exp(e) * functions.floor / self.pi.clamp_min(functions.floor) * self.below
        moved = torch.expm1(e) * self.g + low
        return moved + functions.reciprocal_error * (1 + self.g + moved)

    def chords(self, functions: Functions) -> Tensor:
        """(B,) the range of the error of one step in real arithmetic."""
        most = self.spread(functions).masked_fill(~self.present, 0.0).amax(1)
        return functions.log.error + 2 * functions.rate * most

    def rounding(
        self, loglik: Tensor, t: Tensor, copies: Tensor, functions: Functions, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(B,) each: the layers' error of a logit after the step, the reference's, and how far copies are
        apart."""
        _, N, K = loglik.shape
        u, tiny = unit_roundoff(dtype), torch.finfo(dtype).tiny
        deep, eta = functions.deepest, functions.rate
        there = self.real[..., None] & self.present[:, None]
        held = t.abs().masked_fill(~self.present, 0.0).amax(1)
        largest = loglik.abs().masked_fill(~there, 0.0).flatten(1).amax(1)
        terms = largest + 2 * held + 2 * deep + number(N + 1).log()

        def softmax_error(unit: float) -> Tensor:
            logit = (number(gamma(K + 8, unit)) + gamma(K + 8, U64)) * terms
            return 2 * logit + gamma(4 * N + 14, unit) + gamma(4 * N + 14, U64) + 4 * (unit + U64) * terms

        def log_error(exact: Tensor) -> Tensor:
            """Of f at a softmax weight of which the value in real arithmetic is given."""
            least = exact * torch.exp(-soft.reshape(-1, *[1] * (exact.ndim - 1)))
            at = functions.log.rounding_error_at(dtype, least)
            return functions.steepest * soft.reshape(-1, *[1] * (exact.ndim - 1)) + at

        flushed = number(2 * (N + 2) * tiny) / functions.floor
        soft = softmax_error(u) + 2 * copies + torch.log1p(flushed)
        resp = torch.where(there, self.log_resp.exp(), 1.0)
        pi = torch.where(self.present, self.pi, 1.0)
        of_pi, of_score = log_error(pi), gamma(2 * K + 8, u) * (2 * deep + number(N + 1).log())
        score = log_error(resp) + of_score
        # The log of a sum is off by that of the average of e^error, weighted by its terms. These are e^f(r),
        # within e^-e of max(r, floor); the other side is no larger (harmonic and arithmetic mean).
        terms_of = torch.where(there, resp.clamp_min(functions.floor), 0.0)
        mean = (terms_of * torch.expm1(score)).sum(1) / terms_of.sum(1).clamp_min(functions.floor)
        mean = torch.exp(functions.log.error) * mean
        reach = 2 * deep + number(N + 1).log() + 2 * score.amax((1, 2))[:, None]
        share = torch.log1p(mean) + of_pi + of_score + gamma(4 * N + 14, u) + 4 * u * reach
        share = share + torch.log1p(2 * flushed)
        G = (self.g + self.spread(functions)).masked_fill(~self.present, 0.0)
        inverse = functions.ratio * (1 + G) * torch.expm1(share)
        least = torch.exp(-share) / (1 + G)
        inverse = inverse + functions.reciprocal.rounding_error_at(dtype, least)
        picked = gamma(6, u) * (3 * deep + 2)
        rounded = (of_pi + eta * inverse).masked_fill(~self.present, 0.0).amax(1) + picked
        own = softmax_error(U64) * (1 + eta * self.g.masked_fill(~self.present, 0.0).amax(1)) + 8 * U64 * (
            held + deep
        )
        own = own + eta * gamma(N + 8, U64) * self.g.masked_fill(~self.present, 0.0).amax(1)
        return rounded, own, 2 * rounded
