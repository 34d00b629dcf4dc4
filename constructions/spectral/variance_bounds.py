"""How far the estimated variance can be from the least eigenvalue of the covariance C.

In exact arithmetic b is C^-M b_0 over its length, M = steps (1 + 2^squarings), and s = <b, C b> is above the
least eigenvalue by the share of the others in b, which falls like (least / eigenvalue)^(2 M). Rounding: lemma
6 of paper_notes/spectral_in_attention.md.
"""

from __future__ import annotations

import torch
from torch import Tensor

from constructions.language.rounding import gamma, number, unit_roundoff
from constructions.spectral.exact import Problem
from constructions.spectral.plan import Plan


def variance_error(problem: Problem, plan: Plan, u: float) -> Tensor:
    """(B,) of the layers, in exact arithmetic with ``u = 0``; 0 where it is given, inf if not claimed."""
    if plan.variance == "given":
        return torch.zeros_like(problem.s)
    X, m = problem.X, 2.0**plan.squarings
    N, d = X.shape[1:]
    values, start = _spectrum(problem)
    steps = plan.inverse_steps * (1 + m)
    excess = _excess(values, start, steps)
    within = growth_of_squares(problem, plan) < LARGEST_GROWTH
    if u == 0:
        return torch.where(within, 1.001 * excess, torch.inf)
    least = values[:, 0].clamp_min(torch.finfo(X.dtype).tiny)
    average, ratio = X.square().sum(-1).mean(-1), values[:, -1] / least
    inverse = gamma(d + 4, u) * (2 * number(d).sqrt() + 2.1 * (d * (1 + ratio))) + d * number(gamma(d + 2, u))
    rounding = 4 * gamma(N + 6, u) * average + 4 * gamma(2 * d + 16, u) * values.norm(dim=-1)
    within &= inverse * (m + 2 * plan.squarings + plan.squarings**2 * ratio) < 1
    lost = 4 * steps * inverse
    within &= lost < LARGEST_GROWTH
    excess = 1.1 * lost.exp() * excess
    return torch.where(within, excess + rounding + 9 * d * inverse * least, torch.inf)


LARGEST_GROWTH = 80.0
"""Of a natural logarithm, of the largest eigenvalue of a squared inverse for instance: e^80 is a float32."""


def growth_of_squares(problem: Problem, plan: Plan) -> Tensor:
    """(B,) ``2^squarings log(s_1 / least)``: s_1 is what the first steps take for the least eigenvalue."""
    values, start = _spectrum(problem)
    least = values[:, 0].clamp_min(torch.finfo(values.dtype).tiny)
    first = least + _excess(values, start, plan.inverse_steps)
    return 2.0**plan.squarings * (first / least).log()


def _spectrum(problem: Problem) -> tuple[Tensor, Tensor]:
    """(B, d) rising eigenvalues of the covariance, and the squares of the first direction along its axes."""
    centred = problem.X - problem.X.mean(1, keepdim=True)
    values, vectors = torch.linalg.eigh(centred.mT @ centred / problem.X.shape[1])
    return values, (vectors.mT @ problem.directions[:, 0, :, None])[..., 0].square()


def _excess(values: Tensor, start: Tensor, steps: float) -> Tensor:
    """(B,) of <b, C b> over the least eigenvalue after so many steps of the inverse."""
    least = values[:, :1].clamp_min(torch.finfo(values.dtype).tiny)
    # Shares relative to the largest of them, so that none leaves the range.
    logs = start.log() - 2 * steps * values.clamp_min(least).log()
    shares = (logs - logs.amax(-1, keepdim=True)).exp()
    return ((values - values[:, :1]) * shares).sum(-1) / shares.sum(-1)


def reference_variance_error(problem: Problem, plan: Plan) -> Tensor:
    """(B,) of LAPACK in float64: (N + 4 + 8 d) u times the average of |x|^2, and the centre's squared."""
    if plan.variance == "given":
        return torch.zeros_like(problem.s)
    u = unit_roundoff(torch.float64)
    N, d = problem.X.shape[1:]
    squares = problem.X.square().sum(-1)
    return u * (N + 4 + 8 * d) * squares.mean(-1) + (N * u) ** 2 * squares.amax(-1)
