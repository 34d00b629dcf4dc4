"""How far Lloyd's algorithm in softmax attention can be from Lloyd's algorithm, along the path.

Let a(i) be the nearest centre of point i at the state c of the layers, ``gap_il = s_ia - s_il`` with
``s_ik = <x_i, c_k> - |c_k|^2 / 2``, S_k the points of cluster k, m_k their average, n_k their number.

    assignment   the logits are off by at most A = beta d e / 2 (chords of the square, all on one side) and
                 by R_ik in floating point, so the other slots get
                     delta_i = sum_{l != a} exp(-beta gap_il + A + R_ia + R_il)
    average      resp_ia >= 1 - delta_i and resp_il <= delta_i. With lambda_i = gain delta_i the weight of a
                 point over e^gain is between e^-lambda and e^lambda in S_k, and at most e^(lambda - gain)
                 outside. x_i - m_k sums to 0 over S_k, so |c_k+ - m_k| is at most
                     sum_{S_k} expm1(lambda_i) |x_i - m_k| + sum_{others} e^(lambda_i - gain) |x_i - m_k|
                 over sum_{S_k} e^-lambda_i, and at most max |x_i - m_k|: both are averages of the points.
    path         the averages depend on the assignments alone. If the exact centres are within r_k of the
                 state, s_ik moves by at most |x_i - c_k| r_k + r_k^2 / 2; where every gap is above these
                 two, the exact path has the same assignments, and its next centres are the same m_k.
                 Nothing is carried on; where one gap is not, or a cluster is empty, nothing is claimed from
                 there on.

Rounding, u the unit roundoff: R_ik = gamma_{d0+8} (logit size) + beta (copies and the rounding of the
square); a softmax over N tokens gamma_{4N+10} and 2 u times its argument; 2 (N + 1) tiny where weights are
flushed. Tokens with one slot hold copies of one centre, apart by their rounding.
All values are evaluated in float64, or in intervals or balls (verify.intervals, verify.balls), which enclose
them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.language.piecewise import PiecewiseLinear
from constructions.language.rounding import (
    above,
    approximately,
    below,
    gamma,
    number,
    or_infinity,
    unit_roundoff,
)
from constructions.language.shown import short_repr

U64 = unit_roundoff(torch.float64)


@dataclass(frozen=True, eq=False)
class LloydData:
    """Points (B, N, d), float64, padded with zeros, and the true sizes (B,) of each task."""

    X: Tensor
    counts: Tensor
    components: Tensor
    dims: Tensor

    __repr__ = short_repr

    @property
    def real(self) -> Tensor:
        """(B, N) points that are there."""
        return torch.arange(self.X.shape[1]) < self.counts[:, None]

    def present(self, K: int) -> Tensor:
        """(B, K) components that are there."""
        return torch.arange(K) < self.components[:, None]


@dataclass(frozen=True, eq=False)
class LloydBound:
    """(B, L, K) bounds after each step on ``|c_k' - c_k|``; inf where nothing is claimed, 0 at absent
    components.

    Attributes:
        total: all of it. approximation: what is left in real arithmetic.
        margin: (B, L) least gap between the nearest centre and the next, at the state of the layers.
    """

    total: Tensor
    approximation: Tensor
    margin: Tensor

    __repr__ = short_repr


@dataclass(frozen=True, eq=False)
class Assigned:
    """Exact assignments at a state, from float64.

    Attributes:
        nearest: (B, K, N) one-hot. gap: (B, K, N), 0 at the nearest. size: (B, K, N) of the terms of s_ik.
        means, sizes: (B, K, d), (B, K) of the clusters.
    """

    nearest: Tensor
    gap: Tensor
    size: Tensor
    means: Tensor
    sizes: Tensor

    __repr__ = short_repr

    @classmethod
    def at(cls, data: LloydData, centres: Tensor) -> Assigned:
        """Of the centres nearest up to rounding one is taken; if another is nearer, its gap is negative."""
        half = centres.square().sum(-1)[..., None] / 2
        scores = (centres @ data.X.mT - half).masked_fill(
            ~data.present(centres.shape[1])[..., None], -math.inf
        )
        best = approximately(scores).argmax(1, keepdim=True)
        slots = torch.arange(centres.shape[1])[:, None]
        nearest = ((slots == best) & data.real[:, None]).to(torch.float64)
        sizes = nearest.sum(-1)
        means = nearest @ data.X / sizes.clamp_min(1)[..., None]
        return cls(
            nearest, scores.gather(1, best) - scores, centres.abs() @ data.X.abs().mT + half, means, sizes
        )


def lloyd_bound(
    data: LloydData, path: Tensor, beta: float, gain: float, square: PiecewiseLinear, dtype: torch.dtype
) -> LloydBound:
    """The bound at the head of this file for a path (B, L + 1, K, d) that was run in ``dtype``."""
    K = path.shape[2]
    present, real = data.present(K), data.real
    radius, alive = torch.zeros_like(path[:, 0, :, 0]), torch.ones(len(path), dtype=torch.bool)
    mean_error = 2 * gamma(data.X.shape[1] + 4, U64) * data.X.norm(dim=-1).amax(1)[:, None]
    total, approximation, margin = [], [], []
    for t in range(path.shape[1] - 1):
        at = Assigned.at(data, path[:, t])
        others = (at.nearest == 0) & present[..., None] & real[:, None]
        distance = torch.cdist(path[:, t], data.X, compute_mode="donot_use_mm_for_euclid_dist")
        moved = distance * radius[..., None] + radius.square()[..., None] / 2
        moved = moved + 2 * gamma(path.shape[-1] + 6, U64) * at.size
        own = (moved * at.nearest).sum(1, keepdim=True)
        same = torch.where(others, below(at.gap) > above(moved + own), True).flatten(1).all(1)
        alive = alive & same & ((at.sizes > 0) | ~present).all(1)
        offset = torch.cdist(at.means, data.X, compute_mode="donot_use_mm_for_euclid_dist")
        offset = torch.where(real[:, None], offset + mean_error[..., None], 0.0)
        parts = [
            _step(data, at, others, offset, _Errors.of(data, at, beta, gain, square, kind, refreshed=t > 0))
            for kind in (dtype, None)
        ]
        margin.append(at.gap.masked_fill(~others, math.inf).flatten(1).amin(1))
        known = alive[:, None] & present
        radius, exact = (
            torch.where(known, above(part), torch.where(present, math.inf, 0.0))
            for part in (parts[0] + mean_error, parts[1])
        )
        total.append(radius)
        approximation.append(exact)
    return LloydBound(torch.stack(total, 1), torch.stack(approximation, 1), torch.stack(margin, 1))


@dataclass(frozen=True, eq=False)
class _Errors:
    """Errors of the layers. chords: A. logits: (B, K, N) R plus beta gap's share. gain: as built.

    soft: relative, of a softmax. scores: absolute, of the logits of the update. flushed: of an average.
    """

    beta: float
    gain: float
    chords: Tensor
    logits: Tensor
    soft: Tensor
    scores: Tensor
    flushed: Tensor

    @classmethod
    def of(
        cls,
        data: LloydData,
        at: Assigned,
        beta: float,
        gain: float,
        square: PiecewiseLinear,
        dtype: torch.dtype | None,
        refreshed: bool,
    ) -> _Errors:
        """Of layers in ``dtype``, or in real arithmetic (None); ``refreshed``: after the first step."""
        _, K, N = at.size.shape
        d = data.dims.double()[:, None, None]
        chord = square.error * d / 2 if refreshed else torch.zeros_like(d)
        if dtype is None:
            return cls(beta, gain, beta * chord, torch.zeros_like(at.size), *[number(0.0)] * 3)
        u, d0, tiny = unit_roundoff(dtype), data.X.shape[2], torch.finfo(dtype).tiny
        soft, scores = (number(gamma(n, u)) for n in (4 * N + 10, K + 4))
        scores = gain * (scores + 4 * u)
        flushed, farthest = number(2 * (N + 1) * tiny), data.X.norm(dim=-1)
        largest = farthest.amax(1)[:, None, None]
        stored = torch.zeros_like(at.size)
        if refreshed:
            reach = float(square.domain[1])
            copies = 4 * (torch.expm1(2 * scores) + soft) * largest + 4 * flushed * (largest + d.sqrt())
            units = d0 * (square.units + 4)
            own = d * square.rounding_error(dtype) / 2 + gamma(units, u) * d * number(reach).square() / 2
            stored = own + copies * (farthest[:, None] + reach * d.sqrt())
        logits = beta * (at.size + chord + stored) + number(N).log()
        logits = (
            (number(gamma(d0 + 8, u)) + gamma(d0 + 8, U64)) * logits
            + beta * stored
            + (2 * d0 + 10) * tiny * (1 + number(beta))
        )
        # A softmax rounds its argument, at most the gap and all errors: 2 u of it.
        return cls(beta, gain, beta * chord, logits + 4 * u * (beta * at.gap + logits), soft, scores, flushed)


def _step(data: LloydData, at: Assigned, others: Tensor, offset: Tensor, errors: _Errors) -> Tensor:
    """(B, K) bound on the distance of the new centres from the means of the clusters."""
    own = torch.where(at.nearest > 0, errors.logits, 0.0).sum(1, keepdim=True)
    exponent = -errors.beta * at.gap + errors.chords + errors.logits + own
    leaked = torch.where(others, exponent.exp().clamp_max(1.0), 0.0).sum(1)
    leaked = leaked * (1 + 2 * errors.soft) + errors.flushed
    lam = errors.gain * (leaked + 2 * errors.soft) + errors.scores + errors.gain * errors.flushed
    inside = at.nearest * torch.expm1(lam)[:, None] * offset
    outside = torch.where(others, torch.exp(lam - errors.gain)[:, None] * offset, 0.0)
    kept = (at.nearest * torch.exp(-lam)[:, None]).sum(-1)
    found = (inside.sum(-1) + outside.sum(-1)) / kept
    most = offset.amax(-1)
    found = torch.minimum(or_infinity(found), most)
    largest = data.X.norm(dim=-1).amax(1)[:, None]
    return found + 2 * errors.soft * largest + errors.flushed * (largest + data.dims.sqrt()[:, None])
