"""How far the constructed spectral algorithm can be from the exact one: means and weights, task by task.

The whitening of the layers (whitening_bounds.py), the third moment it gives, the power iteration along its
path (power_bounds.py), means and weights. Everything is computed from the task, nothing from the run. Proofs:
paper_notes/spectral_in_attention.md. Written for float64 and for balls (constructions.language.rounding).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.language.piecewise import PiecewiseLinear
from constructions.language.rounding import gamma, number, unit_roundoff
from constructions.language.shown import short_repr
from constructions.spectral.exact import Exact, Problem, exact
from constructions.spectral.moments import REST
from constructions.spectral.plan import Plan
from constructions.spectral.power_bounds import Arithmetic, Component, Distance, Side, components
from constructions.spectral.variance_bounds import reference_variance_error, variance_error
from constructions.spectral.whitening_bounds import WhiteningError, constructed_whitening, reference_whitening

U64 = unit_roundoff(torch.float64)


@dataclass(frozen=True, eq=False)
class SpectralBound:
    """(B, K) bounds, component by component in the order found; inf where nothing is claimed.

    Attributes:
        means: of |mu_c - mu|. weights, raw_weights: of |pi_c - pi|, normalised and not.
        whitening: (B,) of |W_c M2 W_c^T - I|. tangent: (B,) of the angle between the spaces.
        variance: (B,) of |s_c - s|.
    """

    means: Tensor
    weights: Tensor
    raw_weights: Tensor
    whitening: Tensor
    tangent: Tensor
    variance: Tensor

    __repr__ = short_repr


def moment_shift(
    found: Exact, error: WhiteningError, plan: Plan, u: float, variance: Tensor, square: Tensor | None
) -> Tensor:
    """|T_c - T|_F up to the rotation, T_c made symmetric: of W_c in M3(W_c, W_c, W_c), and of rounding.

    M3((I + F) W + B U'^T, ...) - M3(W, W, W) is 3 |F| |T| + 3 |B| |M3(U'^T, W, W)| and terms of second order.
    ``variance`` is the error of s; ``square`` that of a square by the MLP, twice its rounding included, None
    with products. Nothing is claimed where W or y may leave the ranges of the MLP.
    """
    X, K = found.problem.X, found.problem.n_components
    N, d = X.shape[1:]
    size, norm = found.T.flatten(1).norm(dim=-1), found.least.rsqrt()
    change = error.inside * norm + error.beyond
    first = 3 * error.inside * size + 3 * error.beyond * found.outside
    second = found.third * change.square() * (3 * norm + change)
    m = X.mean(1).norm(dim=-1)
    total = first + second + 3 * variance * m * number(K).sqrt() * (norm + change) ** 3
    within = norm + change <= plan.gate
    if square is not None:
        total = total + square / 4 * K * (found.spread + change * found.length)
        within &= found.reach + 2 * change * (found.longest + m + 1) <= plan.reach
    if u:
        wider = (1 + change / norm) ** 3
        if square is None:
            sums = gamma(2 * N + 6 * d + 24, u) * found.absolute + 12 * u * number(plan.gate) * found.gated
        else:
            sums = gamma(4 * N + 6 * d + 30, u) * (found.absolute + found.cubes)
        total = total + wider * (sums + 12 * u * number(plan.largest_variance) * found.noise)
    return torch.where(within, total, torch.inf)


def start_error(found: Exact, error: WhiteningError, u: float) -> tuple[Tensor, Tensor]:
    """Starts v (B, S, K) of length 1 and how far W_c g / |W_c g| may be from them, (B, S)."""
    g = found.problem.directions
    K, d = found.W.shape[1:]
    image = g @ found.W.mT
    length, whole = image.norm(dim=-1), g.norm(dim=-1)
    off = error.inside[:, None] * length + error.beyond[:, None] * whole
    if u:
        off = off + gamma(d + 2, u) * number(K).sqrt() * found.least.rsqrt()[:, None] * whole * 1.1
    e = off / (length - off) + gamma(K + 10, u) + (2 * REST / length).square()
    return image / length[..., None], torch.where((off < length / 2) & (e < 0.5), e, torch.inf)


def newton_error(p: Tensor, start: float, steps: int, u: float, K: int) -> Tensor:
    """Relative error of X after ``steps`` of X <- X (2 - p X) from X = start: (1 - p start)^(2^steps)."""
    defect = (1 - p * start).abs()
    defect = torch.where(defect < 1, defect ** (2.0**steps), torch.inf)
    return defect + 8 * gamma(K + 4, u)


def recovered(
    found: Exact, error: WhiteningError, rounds: tuple[Component, ...], plan: Plan | None, u: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(B, K) errors of means, weights and raw weights; ``plan`` None for the reference."""
    K = found.problem.n_components
    value, off, product = (
        torch.stack([getattr(one, name) for one in rounds], 1)
        for name in ("value", "value_error", "product_error")
    )
    top = found.largest.sqrt()[:, None]
    size = value.abs() + product
    means = (
        product * top + size * error.image[:, None] + gamma(K + 3, u) * number(K).sqrt() * size * top * 1.1
    )
    low = value.abs() - off
    raw = torch.where(low > 0, low.square().reciprocal() - value.square().reciprocal(), torch.inf)
    most = torch.where(low > 0, low.square().reciprocal(), torch.inf)
    newton = torch.zeros_like(raw)
    if plan is not None:
        largest = (value.abs() + off).square()
        start = plan.first_reciprocal
        newton = torch.maximum(
            newton_error(low.square(), start, plan.reciprocals, u, K),
            newton_error(largest, start, plan.reciprocals, u, K),
        )
    raw = raw + most * (newton + gamma(6, u))
    pi = value.square().reciprocal()
    total, slack = pi.sum(1, keepdim=True), raw.sum(1, keepdim=True)
    slack = slack if plan is None else slack + 4 * u * number(plan.sum_bound)
    again = torch.zeros_like(total)
    if plan is not None:
        start = plan.first_reciprocal
        again = torch.maximum(
            newton_error(total - slack, start, plan.reciprocals, u, K),
            newton_error(total + slack, start, plan.reciprocals, u, K),
        )
    weights = (raw + pi / total * slack) / (total - slack)
    weights = weights + (pi + raw) / (total - slack) * (again + gamma(K + 8, u))
    weights = torch.where(slack < total / 2, weights, torch.inf)
    return tuple(torch.where(e.isfinite(), e, torch.inf) for e in (means, weights, raw))  # pyright: ignore


@dataclass(frozen=True, eq=False)
class Computation:
    """The layers or the reference beside the base, before their power iterations.

    Attributes:
        whitened: of W. at: (B, S) of the starts. side: of the tensor. variance: (B,) of s.
        plan: None of the reference. u: unit roundoff.
    """

    whitened: WhiteningError
    at: Distance
    side: Side
    variance: Tensor
    plan: Plan | None
    u: float

    __repr__ = short_repr

    def found(self, exact: Exact, side: Side) -> tuple[Tensor, Tensor, Tensor]:
        """Errors of means, weights and raw weights, with ``side`` after the iterations."""
        return recovered(exact, self.whitened, side.past, self.plan, self.u)


def _computations(
    found: Exact, plan: Plan, dtype: torch.dtype | None, square: PiecewiseLinear | None
) -> list[Computation]:
    """The layers, and the reference unless the arithmetic is exact."""
    problem, K = found.problem, found.problem.n_components
    u = 0.0 if dtype is None else unit_roundoff(dtype)
    off = None
    if square is not None:
        off = square.error if dtype is None else square.error + 2 * square.rounding_error(dtype)
    ref_variance = reference_variance_error(problem, plan)
    variance = variance_error(problem, plan, u) + (0.0 if dtype is None else ref_variance)
    own = constructed_whitening(found, plan, u, variance)
    shift = moment_shift(found, own, plan, u, variance, off)
    _, e = start_error(found, own, u)
    none = torch.zeros_like(found.skew)
    skew = found.skew if square is None else none
    by = Arithmetic.of_layers(plan, u)
    nothing = torch.zeros_like(e)
    if dtype is None:
        return [Computation(own, Distance(e, nothing), Side(by, shift, skew), variance, plan, u)]
    fresh = 2 * by.unit(K) + 2 * e
    # The base is computed in float64: it has an error of the kind of the reference's.
    ref = reference_whitening(found, 2 * ref_variance)
    again = moment_shift(found, ref, plan, U64, 2 * ref_variance, None)
    _, e_ref = start_error(found, ref, U64)
    theirs = Side(Arithmetic.of_reference(), 2 * again, none)
    own = own.plus(ref)
    return [
        Computation(
            own, Distance(e + e_ref, fresh), Side(by, shift + again, skew), variance + ref_variance, plan, u
        ),
        Computation(ref.plus(ref), Distance(2 * e_ref, nothing), theirs, ref_variance, None, U64),
    ]


def _followed(found: Exact, plan: Plan, beside: list[Computation]) -> list[Side]:
    """All of them through the power iterations of one base."""
    starts, _ = start_error(found, beside[0].whitened, beside[0].u)
    return components(found.T, starts, [one.at for one in beside], [one.side for one in beside], plan.steps)


def _together(found: Exact, beside: list[Computation], sides: list[Side]) -> SpectralBound:
    """The errors of the layers and of the reference against the base add up."""
    parts = zip(*(one.found(found, side) for one, side in zip(beside, sides, strict=True)), strict=True)
    means, weights, raw = (torch.stack(part).sum(0) for part in parts)
    own = beside[0]
    return SpectralBound(means, weights, raw, own.whitened.defect, own.whitened.tangent, own.variance)


def spectral_bounds(
    problem: Problem, plan: Plan, dtype: torch.dtype | None, square: PiecewiseLinear | None
) -> SpectralBound:
    """Of the layers run in ``dtype`` against baselines/spectral.py in float64, from the same starts.

    Without a dtype in exact arithmetic, for the base alone.
    """
    found = exact(problem)
    beside = _computations(found, plan, dtype, square)
    return _together(found, beside, _followed(found, plan, beside))


def split_bounds(
    problem: Problem, plan: Plan, dtype: torch.dtype, square: PiecewiseLinear | None
) -> tuple[SpectralBound, SpectralBound]:
    """As :func:`spectral_bounds` with ``dtype``, and without: of one base, so that both cost little more."""
    found = exact(problem)
    run, left = (_computations(found, plan, kind, square) for kind in (dtype, None))
    sides = _followed(found, plan, run + left)
    return _together(found, run, sides[: len(run)]), _together(found, left, sides[len(run) :])
