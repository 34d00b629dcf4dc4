"""One step of EM over a box of data and states: responsibilities, new state, derivatives, and the chords.

Arrays over components and points are (K, N). A state is (K, 1 + d): a row ``(log pi_k, mu_k)`` a component.
With ``p_ik = w_ik / W_k``, ``phi_ij = (1, x_i - mu_j)``, ``psi_ik = (1, x_i - mu_k^+)``, mu^+ the new means,

    d(new state)_k / d(state)_j = sum_i p_ik (delta_kj - w_ij) psi_ik phi_ij^T
    d(new state)_k / d x_i      = p_ik (psi_ik g_ik^T + (0, I)),      g_ik = sum_l w_il (mu_k - mu_l)

The first is J of theorem_1_em.md, lemma 7; the second follows from ``dw_ik = w_ik <g_ik, dx_i>``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verify.certify.regions.chords import Hinges
from verify.certify.regions.intervals import Array, Interval, concatenate, stack
from verify.certify.regions.softmax import average, log_share, shares


@dataclass(frozen=True, eq=False)
class Step:
    """EM on all data of ``points`` from all states of ``state``.

    Attributes:
        points: (N, d). state: (K, 1 + d). resp: (K, N) responsibilities. shares: (K, N) the p_ik.
        after: (K, 1 + d) the new states: log of weights from sums, means from the optimum over the scores.
    """

    points: Interval
    state: Interval
    resp: Interval
    shares: Interval
    after: Interval

    @classmethod
    def over(cls, points: Interval, state: Interval) -> Step:
        """Evaluate it."""
        K, N = len(state.lo), len(points.lo)
        log_resp = stack([log_share(_score_differences(points, state, k)) for k in range(K)])
        # Of each component on the scale of its own largest responsibility: far ones do not underflow.
        scale = Interval.exact(np.maximum(log_resp.middle, -1e300).max(1))
        relative = (log_resp - scale[:, None]).exp()
        mass = relative.sum(1)
        log_weights = (scale + mass.log()) - Interval.exact(np.full(K, float(N))).log()
        log_weights = Interval(log_weights.lo, np.minimum(log_weights.hi, 0.0))
        columns = Interval(points.lo.T[None], points.hi.T[None])
        means = average(Interval(relative.lo[:, None], relative.hi[:, None]), columns)
        resp = log_resp.exp()
        resp = Interval(resp.lo, np.minimum(resp.hi, 1.0))
        after = concatenate([log_weights[:, None], means], 1)
        return cls(points, state, resp, shares(relative, 1), after)

    @property
    def offsets(self) -> Interval:
        """(K, N, 1 + d) the psi_ik."""
        return _with_one(self.points[None] - self.after[:, None, 1:])

    def by_state(self) -> Interval:
        """(K (1 + d), K (1 + d)) the derivative in the state."""
        K, width = self.state.shape
        psi, phi = self.offsets, _with_one(self.points[None] - self.state[:, None, 1:])
        same = Interval.exact(np.eye(K)[:, :, None])
        moved = self.shares[:, None] * (same - self.resp[None])
        terms = (moved[..., None, None] * psi[:, None, :, :, None]) * phi[None, :, :, None, :]
        blocks = terms.sum(2)  # (K, K, 1 + d, 1 + d)
        flat = [np.swapaxes(end, 1, 2).reshape(K * width, K * width) for end in (blocks.lo, blocks.hi)]
        return Interval(*flat)

    def by_points(self) -> Interval:
        """(K (1 + d), N d) the derivative in the points."""
        K, width = self.state.shape
        d = width - 1
        means = self.state[:, 1:]
        apart = means[:, None] - means[None]  # (K, K, d)
        pull = (self.resp[None, :, :, None] * apart[:, :, None, :]).sum(1)  # (K, N, d)
        own = Interval.exact(np.concatenate([np.zeros((1, d)), np.eye(d)]))
        terms = self.offsets[..., :, None] * pull[..., None, :] + own[None, None]
        found = self.shares[..., None, None] * terms  # (K, N, 1 + d, d)
        flat = [np.swapaxes(end, 1, 2).reshape(K * width, -1) for end in (found.lo, found.hi)]
        return Interval(*flat)

    def constructed(self, log_resp: Hinges) -> Interval:
        """(K, 1 + d) the states that the construction makes of these: the same weights, averages by exp f."""
        u = log_resp.values_on(self.resp).exp()
        columns = Interval(self.points.lo.T[None], self.points.hi.T[None])
        means = average(Interval(u.lo[:, None], u.hi[:, None]), columns)
        return concatenate([self.after[:, :1], means], 1)

    def chord_errors(self, log_resp: Hinges) -> Interval:
        """(K, d) the mean that weights ``u_i = exp f(w_ik)`` make, minus the one that w_ik make.

            sum_i u_i x_i / sum_i u_i - mu_k = sum_i (u_i / sum_j u_j) (1 - c w_ik / u_i) (x_i - mu_k)

        for every c, since ``sum_i w_ik (x_i - mu_k) = 0``. ``w / u = exp(log w - f(w))``: the chord's.
        """
        ratio = (-log_resp.errors_on(self.resp)).exp()
        weight = shares(log_resp.values_on(self.resp).exp(), 1)
        scale = _best_scale(weight.middle, ratio.middle)
        gap = Interval.exact(np.ones(ratio.shape)) - Interval.exact(scale[:, None]) * ratio
        offsets = self.offsets[..., 1:]
        return ((weight * gap)[..., None] * offsets).sum(1)


def _best_scale(weight: Array, ratio: Array) -> Array:
    """(K,) c for which ``1 - c w/u`` is 0 on average; any number is allowed, this one is near the best."""
    weighted = (weight * np.minimum(ratio, 1e300)).sum(1)
    found = weight.sum(1) / weighted
    return np.where(np.isfinite(found), found, 1.0)


def _with_one(x: Interval) -> Interval:
    return concatenate([Interval.exact(np.ones((*x.shape[:-1], 1))), x], -1)


def _score_differences(points: Interval, state: Interval, k: int) -> Interval:
    """(N, K - 1) of ``s_l - s_k = a_l - a_k + <x - (mu_l + mu_k)/2, mu_l - mu_k>``, l other than k.

    Each product holds a coordinate of a point once, of a mean twice: exact over the points.
    """
    others = [j for j in range(len(state.lo)) if j != k]
    own, rest = state[k], state[others]
    half = Interval.exact(0.5)
    centre = (rest[:, 1:] + own[None, 1:]) * half
    apart = rest[:, 1:] - own[None, 1:]
    inner = ((points[:, None] - centre[None]) * apart[None]).sum(-1)
    return inner + (rest[:, 0] - own[None, 0])[None]
