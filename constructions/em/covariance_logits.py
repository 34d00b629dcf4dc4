"""The E step of a state with covariances: exact logits, those that the layers aim at, and how they round.

Arrays over components and points are (B, K, N). ``aimed`` are the logits with the squares and reciprocals of
the layers in place of the exact ones; what is left unknown about them is

    S       by how much constants of two components may differ: chords of log pi and of log det
    delta   (B, K, N) everything that rounds, and the convergence of 1/p in the sweeps

Derivations: paper_notes/theorem_1_covariances.md, lemmas C, E and F.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.em.covariance_rounding import (
    centre_gate,
    gate_error,
    rounded_sum,
    slope_bound,
    square_rounding,
    summed,
    variance_rounding,
    weight_rounding,
)
from constructions.em.matrices import MatrixEM
from constructions.em.step_rounding import StepData, sum_underflow
from constructions.em.tasks import COVARIANCE_SHAPES
from constructions.em.variances import VarianceEM
from constructions.language.piecewise import knot_ratio
from constructions.language.rounding import above, gamma, number, remembered, unit_roundoff
from constructions.language.shown import short_repr
from constructions.matrices.newton_error import reciprocal_error
from constructions.matrices.sweep_error import sweep_gaps

U64 = unit_roundoff(torch.float64)

LEVELS = (2.0**-40, 2.0**-20, 2.0**-10, 2.0**-6)
"""By which part of the least eigenvalue a pivot may be off, where the error of its reciprocal is known."""


@dataclass(frozen=True, eq=False)
class Logits:
    """What the bounds need of the E step.

    Attributes:
        exact, aimed: (B, K, N); minus infinity at absent components.
        constant: (B, 1, 1) S. delta: (B, K, N).
        reference: (B, K, N) how far a float64 evaluation of ``exact`` is from the exact one.
    """

    exact: Tensor
    aimed: Tensor
    constant: Tensor
    delta: Tensor
    reference: Tensor

    __repr__ = short_repr


def variance_logits(em: VarianceEM, data: StepData, dtype: torch.dtype | None) -> Logits:
    """Of diagonal and spherical kinds; ``dtype`` None for exact arithmetic."""
    s = variances(em, data)
    held = s if em.covariance_type == "diagonal" else s * data.dims[:, None]
    f, u = em.functions, 0.0 if dtype is None else unit_roundoff(dtype)
    present = data.component_mask[:, :, None]
    difference = data.X[:, None] - data.means[:, :, None]  # (B, K, N, d)
    features = data.feature_mask[:, None, None, :]
    inverse = torch.where(data.feature_mask[:, None], 1 / s, 0.0)[:, :, None]  # (B, K, 1, d or 1)
    exact_form = (difference.square() * inverse).sum(-1)
    own = torch.where(data.feature_mask[:, None], f.reciprocal(held), 0.0)[:, :, None]
    own = own if em.covariance_type == "diagonal" else own * data.dims[:, None, None]
    aimed_form = (f.square(difference) * features * own).sum(-1)

    per = 1.0 if em.covariance_type == "diagonal" else data.dims[:, :, None]
    log_s = torch.where(data.feature_mask[:, None], s.log(), 0.0) if s.shape[-1] > 1 else s.log()
    log_det = (log_s.sum(-1, keepdim=True) * per) if s.shape[-1] == 1 else log_s.sum(-1, keepdim=True)
    log_pi, floored = data.weights.log()[:, :, None], data.weights.clamp_min(em.floor).log()[:, :, None]
    tied = em.covariance_type == "tied_spherical"
    chords = 0.0 if tied else data.dims[:, :, None] * f.log_variance.error / 2
    constant = _constant(em, data, chords)

    log_size = log_s.abs().sum(-1, keepdim=True) * (1.0 if s.shape[-1] > 1 else per)
    sizes = log_pi.abs() + log_size / 2
    delta = torch.zeros_like(exact_form)
    if dtype is not None:
        delta = _variance_rounding(em, data, dtype, difference, held, own, aimed_form)
        # log v of absent coordinates is that of the least variance.
        absent = (em.max_dim - data.dims[:, :, None]) * number(em.eigenvalues.low).log().abs()
        if em.covariance_type != "diagonal":  # v is d s
            absent = data.dims[:, :, None] * data.dims[:, :, None].log()
        most = data.X.shape[1] + em.stream.width
        delta = delta + rounded_sum(8 + em.stream.squares.width + em.max_dim, dtype) * (
            aimed_form / 2 + sizes + absent + number(most).log()
        )
        count = em.max_dim if em.covariance_type == "diagonal" else 1  # logs that one sum of hinges adds up
        terms = f.log_variance.units + 4
        longer = number(gamma(count * terms, u)) / gamma(terms, u)
        delta = delta + em.max_dim * longer * f.log_variance.rounding_error(dtype) / 2
        delta = delta + _refreshed(em, data, dtype)
    reference = gamma(2 * em.max_dim + 12, U64) * (exact_form / 2 + sizes)
    return _logits(
        data, exact_form, aimed_form, log_det, log_pi, floored, constant, delta, reference, u, present
    )


def variances(em: VarianceEM, data: StepData) -> Tensor:
    """(B, K, d) or (B, K, 1); 1 where a component or coordinate is absent."""
    S = data.covariances
    if S is None:
        raise ValueError("the data of a step have no covariances")
    if em.covariance_type == "diagonal":
        real = data.component_mask[:, :, None] & data.feature_mask[:, None]
        return torch.where(real, S, 1.0)
    S = S[:, :, None] if em.covariance_type == "spherical" else S[:, None, None]
    return torch.where(data.component_mask[:, :, None], S, 1.0)


def _constant(em: VarianceEM | MatrixEM, data: StepData, chords: Tensor | float) -> Tensor:
    """(B, 1, 1) S: one-sided chord errors of log det, and of log pi after an M layer."""
    pi = em.log_pi.error if data.refreshed else 0.0
    return data.X.new_zeros(len(data.X), 1, 1) + pi + chords


def _refreshed(em: VarianceEM | MatrixEM, data: StepData, dtype: torch.dtype) -> Tensor | float:
    """Of log pi after an M layer: its function, and the copies of pi, each rounded by itself (lemma 6)."""
    if not data.refreshed:
        return 0.0
    tokens = data.X.shape[1] + em.max_dim * em.max_components
    z = -number(em.floor).log() / em.log_pi.pieces
    steepest = z / -torch.expm1(-z)
    apart = rounded_sum(4 * tokens + 10, dtype)
    apart = apart + torch.log1p(sum_underflow(data.samples + tokens, dtype) / em.floor)[..., None]
    return 2 * em.log_pi.rounding_error(dtype) + 4 * steepest.clamp_min(1.0) * apart


def _variance_rounding(
    em: VarianceEM,
    data: StepData,
    dtype: torch.dtype,
    difference: Tensor,
    held: Tensor,
    own: Tensor,
    aimed_form: Tensor,
) -> Tensor:
    """(B, K, N) rounding of squares, centres, reciprocals, and of the copies of variances."""
    f, u = em.functions, unit_roundoff(dtype)
    n = data.X.shape[1]
    average = weight_rounding(em.floor, 4 * n + 10, dtype) + 2 * u * number(n).log()
    size = torch.maximum(data.X.abs().amax((1, 2)), data.means.abs().amax((1, 2)))[:, None, None]
    # A centre: K mu averaged over all tokens, behind a gate; after an M layer every copy is rounded apart.
    gate = centre_gate(em, dtype) / data.components[:, :, None]
    centre = (average + 4 * u) * size + gate + (4 * average * size if data.refreshed else 0.0)
    reach = (data.X.abs().amax(-1)[:, None] + data.means.abs().amax(-1)[:, :, None])[..., None]
    moved = centre[..., None] + gamma(4, u) * reach
    squares = f.square.scale * square_rounding(f.square, difference, dtype, summed(em))
    squares = squares + (slope_bound(f.square, difference.abs() + moved)) * moved
    found = (squares * data.feature_mask[:, None, None] * own).sum(-1) / 2
    # 1/v: every hinge is shut by its own knot, so its bias is 0 and v - t is rounded as without a gate. Open
    # ones lie above v: sum c (t - v) <= 1/v and sum c t <= (1 + ratio) / v.
    ratio = f.reciprocal.ratio
    stored = 4 * f.reciprocal.function.pieces * U64 * ratio
    relative = torch.zeros_like(held) + 2 * u + gamma(f.reciprocal.function.units + 8, u) * 4 * ratio + stored
    if data.refreshed:
        relative = relative + 4 * ratio * _copies(em, data, dtype) / held
    relative = relative.amax(-1)[:, :, None]
    found = found * (1 + relative) + aimed_form / 2 * relative
    log_ratio = knot_ratio(f.log_variance)
    return found + (em.max_dim * log_ratio * relative / 2 if data.refreshed else 0.0)


def _copies(em: VarianceEM, data: StepData, dtype: torch.dtype) -> Tensor:
    """(B, 1, 1): half of how far two tokens' copies of a held variance are apart, after an M layer.

    Their averages of squares round apart, and so do the means in ``(mu' - mu)^2``, old and new: by at most
    ``6 average X``, times the slope of the square.
    """
    average = weight_rounding(em.floor, 4 * data.X.shape[1] + 10, dtype)
    X = data.X.abs().amax((1, 2))
    slope = slope_bound(em.functions.square, 2 * X * (1 + 6 * average))
    return variance_rounding(em, data, dtype) + (3 * slope * average * X * summed(em))[:, None, None]


def matrix_logits(em: MatrixEM, data: StepData, dtype: torch.dtype | None) -> Logits:
    """Of full and tied kinds; ``dtype`` None for exact arithmetic, where 1/p has its own error still."""
    S = matrices(em, data)
    u = 0.0 if dtype is None else unit_roundoff(dtype)
    L = torch.linalg.cholesky(S)
    difference = data.X[:, None] - data.means[:, :, None]
    white = torch.linalg.solve_triangular(L, difference.mT, upper=False)
    form = white.square().sum(-2)
    real = data.feature_mask[:, None]
    log_det = torch.where(real, 2 * L.diagonal(dim1=-2, dim2=-1).log(), 0.0).sum(-1, keepdim=True)
    log_pi, floored = data.weights.log()[:, :, None], data.weights.clamp_min(em.floor).log()[:, :, None]
    chords = 0.0
    if em.covariance_type == "full":
        chords = data.dims[:, :, None] * em.log_pivot.error / 2
    constant = _constant(em, data, chords)

    gap = torch.zeros_like(S)
    if dtype is not None:
        gap = gap + gate_error(em.bounds.covariance, dtype) + asymmetry(em, data) + u * S.abs()
    found = sweep_gaps(S, em.bounds.scale, lambda off: _reciprocal(em, off, dtype), dtype, gap)
    inverse = torch.where(found.claimed[..., None, None], found.inverse, math.inf)
    shifts = torch.where(real, found.log_shifts, 0.0).sum(-1, keepdim=True)
    size = difference.abs()
    inverse = torch.where(inverse.isfinite(), inverse, 0.0)
    delta = (size @ inverse * size).sum(-1) / 2 + shifts / 2
    claimed = found.claimed
    if dtype is not None:
        claimed = claimed & _within_gates(em, data, S, inverse)
        # In exact arithmetic P is symmetric; rounded it is not, and (x - mu)^T (P - P^T) mu / 2 remains.
        of_mean = (inverse + inverse.mT) @ data.means.abs()[..., None] / 2
        delta = delta + (size @ of_mean)[..., 0]
    delta = torch.where(claimed[..., None], delta, math.inf)
    if dtype is not None:
        delta = delta + _matrix_rounding(em, data, dtype, S, log_det, log_pi) + _refreshed(em, data, dtype)
    spectrum = torch.linalg.eigvalsh(S)
    condition = (spectrum[..., -1] / spectrum[..., 0])[..., None]
    d = em.max_dim
    # Cholesky and its solves: |Delta S| <= d gamma_{d+1} |S|, twice a solve with gamma_d d sqrt(condition).
    reference = (4 * d * (d + 1) * U64 * condition + gamma(2 * d + 12, U64)) * (form / 2 + d / 2)
    log_size = torch.where(real, 2 * L.diagonal(dim1=-2, dim2=-1).log().abs(), 0.0).sum(-1, keepdim=True)
    reference = reference + gamma(d + 12, U64) * (log_pi.abs() + log_size / 2)
    present = data.component_mask[:, :, None]
    return _logits(data, form, form, log_det, log_pi, floored, constant, delta, reference, u, present)


def matrices(em: MatrixEM, data: StepData) -> Tensor:
    """(B, K, d, d), symmetric; the unit matrix stands for absent components, 1 for absent coordinates."""
    S = data.covariances
    if S is None:
        raise ValueError("the data of a step have no covariances")
    S = S if em.covariance_type == "full" else S[:, None].expand(-1, data.weights.shape[1], -1, -1)
    S = (S + S.mT) / 2
    real = data.component_mask[:, :, None] & data.feature_mask[:, None]
    eye = torch.eye(S.shape[-1]).to(S)
    return torch.where(real[..., :, None] & real[..., None, :], S, eye)


def asymmetry(em: MatrixEM, data: StepData) -> Tensor:
    """(B, K or 1, d, d) how far the state's covariances are from symmetric ones."""
    S = data.covariances
    if S is None:
        raise ValueError("the data of a step have no covariances")
    S = S if COVARIANCE_SHAPES[em.covariance_type] == "Kdd" else S[:, None]
    return (S - S.mT).abs() / 2


def _reciprocal(em: MatrixEM, off: Tensor, dtype: torch.dtype | None) -> Tensor:
    """The relative error of 1/p where p may be off by ``off``."""
    found = torch.full_like(off, math.inf)
    errors = remembered(em, f"errors of 1/p in {dtype}", lambda em: _reciprocal_errors(em, dtype))
    for level, error in reversed(list(zip(LEVELS, errors.unbind(), strict=True))):
        found = torch.where(above(off) <= level * em.start.low, error, found)
    return found


def _reciprocal_errors(em: MatrixEM, dtype: torch.dtype | None) -> Tensor:
    """For each level."""
    start, steps = em.start, em.newton_steps
    args = start.function, start.scale, start.bound, None, steps, dtype
    return torch.stack([torch.as_tensor(reciprocal_error(*args, level).total) for level in LEVELS])


def _within_gates(em: MatrixEM, data: StepData, S: Tensor, off: Tensor) -> Tensor:
    """(B, K) whether P and P mu, as far off as they may be, lie within the bounds of the gates."""
    real = data.feature_mask[:, None, :, None] & data.feature_mask[:, None, None]
    P = torch.where(real, torch.cholesky_inverse(torch.linalg.cholesky(S)), 0.0)
    room = 1 - 2.0**-10  # for the gates' own rounding
    found = above((P.abs() + off).flatten(-2).amax(-1)) <= room * em.bounds.precision
    eta = (P @ data.means[..., None]).abs() + off.mT @ data.means.abs()[..., None]
    return found & (above(eta[..., 0].amax(-1)) <= room * em.bounds.eta)


def _matrix_rounding(
    em: MatrixEM, data: StepData, dtype: torch.dtype, S: Tensor, log_det: Tensor, log_pi: Tensor
) -> Tensor:
    """(B, K, N) of everything after the sweeps: gates, products, the score."""
    u, bounds, d = unit_roundoff(dtype), em.bounds, em.max_dim
    P = torch.cholesky_inverse(torch.linalg.cholesky(S)).abs()
    P = torch.where((data.feature_mask[:, None, :, None] & data.feature_mask[:, None, None]), P, 0.0)
    x, mu = data.X.abs(), data.means.abs()  # (B, N, d), (B, K, d)
    of_mean = (P @ mu[..., None])[..., 0]
    mean_gate = gate_error(bounds.mean, dtype)
    eta = gate_error(bounds.eta, dtype) + mean_gate * P.sum(-1)
    norm = 2 * mean_gate * of_mean.sum(-1) + mean_gate.square() * P.sum((-1, -2))
    first = (x[:, None] @ of_mean[..., None])[..., 0]
    second = ((x[:, None] @ P) * x[:, None]).sum(-1) / 2
    third = ((mu * of_mean).sum(-1) / 2)[..., None]
    largest = torch.maximum(number(em.start.low).log().abs(), number(em.start.high).log().abs())
    pivots = d * (em.log_pivot.rounding_error(dtype) + gamma(d + 8, u) * 2 * largest)
    total = first + second + third + log_pi.abs() + log_det.abs() / 2 + pivots
    gates = (x[:, None] @ eta[..., None])[..., 0] + norm[..., None] / 2
    gates = gates + gate_error(bounds.precision, dtype) * x.sum(-1).square()[:, None] / 2
    return gamma(3 * d * d + 4 * d + em.max_components + 30, u) * total + 2 * gates + pivots


def _logits(
    data: StepData,
    exact_form: Tensor,
    aimed_form: Tensor,
    log_det: Tensor,
    log_pi: Tensor,
    floored: Tensor,
    constant: Tensor,
    delta: Tensor,
    reference: Tensor,
    u: float,
    present: Tensor,
) -> Logits:
    exact = (log_pi - (exact_form + log_det) / 2).masked_fill(~present, -math.inf)
    aimed = (floored - (aimed_form + log_det) / 2).masked_fill(~present, -math.inf)
    # The softmax rounds score - max relative to its size.
    below = torch.where(present, aimed.amax(1, keepdim=True) - aimed, 0.0) + number(2.0).log()
    delta = delta + 2 * (u + U64) * below + (reference if u else 0.0)
    delta = torch.where(present, delta, 0.0)
    return Logits(exact, aimed, constant, delta, torch.where(present, reference + 2 * U64 * below, 0.0))
