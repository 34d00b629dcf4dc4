"""How the layers of EM with covariances round: gates, hinges of squares, averages, and what they write.

Every function gives 0 for exact arithmetic (dtype None). The terms are those of the table in
paper_notes/theorem_1_covariances.md, lemma F.
"""

from __future__ import annotations

import torch
from torch import Tensor

from constructions.em.covariance_step import CovarianceEM
from constructions.em.scale_free import ScaleFree
from constructions.em.step_rounding import StepData, sum_underflow
from constructions.em.variances import VarianceEM
from constructions.language.rounding import gamma, length, number, unit_roundoff

U64 = unit_roundoff(torch.float64)


def gate_error(bound: Tensor | float, dtype: torch.dtype | None) -> Tensor:
    """``6 gamma_4 B``: of a number read behind a gate, ``relu(x + B e - B) - relu(-x + B e - B)``."""
    return number(0.0) if dtype is None else 6 * number(gamma(4, unit_roundoff(dtype))) * bound


def rounded_sum(n: float, dtype: torch.dtype | None) -> Tensor:
    """``gamma_n`` of the dtype, 0 of exact arithmetic."""
    return number(0.0 if dtype is None else gamma(n, unit_roundoff(dtype)))


def summed(em: VarianceEM) -> int:
    """How many squares one sum of hinges adds up: those of all coordinates for spherical kinds."""
    return 1 if em.covariance_type == "diagonal" else em.max_dim


def square_rounding(
    square: ScaleFree, difference: Tensor, dtype: torch.dtype | None, count: int = 1
) -> Tensor:
    """Of the hinges of ``square`` at differences t of any shape: ``gamma_{n (H+8)} |t| slope``, n the count.

    All open hinges add with one sign: their sum is at most ``|t| slope`` and so is that of ``c t_m``, with
    the slope of the piece of t, at most ``max(least, 2 q |t|)`` for knots of ratio q; and the stored slopes,
    each of float64, add ``4 M u_64`` of the same.
    """
    if dtype is None:
        return torch.zeros_like(difference)
    f = square.function
    factor = rounded_sum(count * (f.units + 8), dtype) + 4 * f.pieces * U64
    return factor * difference.abs() * slope_bound(square, difference)


def slope_bound(square: ScaleFree, difference: Tensor) -> Tensor:
    """The steepest that ``square`` is up to ``difference``."""
    least, ratio = _first_and_ratio(square)
    return (2 * ratio * difference.abs()).clamp_min(least)


def square_error(square: ScaleFree, reach: Tensor) -> Tensor:
    """The largest ``|square(t) - t^2|`` for ``|t| <= reach``, exact arithmetic."""
    least, _ = _first_and_ratio(square)
    low, high = square.relative_error
    first = torch.minimum(least * reach, (1 + 4 * low.abs()) * number(least).square() / 4)
    return torch.maximum(-low, high) * reach.square() + first


def _first_and_ratio(square: ScaleFree) -> tuple[float, Tensor]:
    return float(square.function.knots[square.function.anchor + 1]), square.ratio


def centre_gate(em: VarianceEM, dtype: torch.dtype) -> Tensor:
    """Of K mu behind a gate whose bound is a power of two, at most twice ``1.0625 K0 R``."""
    return gate_error(2 * 1.0625 * em.max_components * number(em.radius), dtype)


def average_rounding(em: CovarianceEM, data: StepData, dtype: torch.dtype | None) -> Tensor:
    """Relative, of the weights of the M layer's average: ``gamma_{4n + 10} + 2 u log(1/floor)``, n tokens."""
    return weight_rounding(em.floor, most_terms(em, data), dtype)


def weight_rounding(floor: float, terms: int, dtype: torch.dtype | None) -> Tensor:
    """``gamma_terms + 2 u log(1/floor)``."""
    if dtype is None:
        return number(0.0)
    u = unit_roundoff(dtype)
    return gamma(terms, u) - 2 * u * number(floor).log()


def most_terms(em: CovarianceEM, data: StepData) -> int:
    """``4 n + 10`` for all tokens, rows of matrices too."""
    return 4 * data.X.shape[1] + 4 * em.max_dim * em.max_components + 10


def underflow(em: CovarianceEM, data: StepData, dtype: torch.dtype | None) -> Tensor:
    """(B, 1) what an average over all tokens of values of size 1 loses to underflow."""
    if dtype is None:
        return torch.zeros_like(data.samples)
    return sum_underflow(data.samples + em.max_dim * em.max_components, dtype)


def lost(em: CovarianceEM, data: StepData, dtype: torch.dtype | None, size: Tensor) -> Tensor:
    """(B, 1) the same of values up to ``size``."""
    return underflow(em, data, dtype) * (size + data.dims)


def variance_rounding(em: VarianceEM, data: StepData, dtype: torch.dtype | None) -> Tensor:
    """(B, 1, 1): bound on what rounds in a held variance that an M layer writes, whatever its size.

    Averages of squares up to ``(4 R)^2`` a coordinate, a gate, a square and a difference.
    """
    if dtype is None:
        return data.X.new_zeros(len(data.X), 1, 1)
    u, n = unit_roundoff(dtype), data.X.shape[1]
    average = weight_rounding(em.floor, 4 * n + 10, dtype)
    span = data.X.abs().amax((1, 2)) + data.means.abs().amax((1, 2))
    width = 1.0 if em.covariance_type == "diagonal" else float(em.max_dim)
    largest = 2 * width * 1.0625 * em.max_dim * number(2 * em.radius).square()
    square = em.functions.square
    moving = number(gamma(summed(em) * (square.function.units + 20), u)) * 8
    moving = moving * (slope_bound(square, number(1.0)) / 4).clamp_min(1.0)
    average = average * (1 + square.relative_error[1].clamp_min(0.0))
    return ((average + moving) * width * span.square() + gate_error(largest, dtype))[:, None, None]


def largest_norm(data: StepData) -> Tensor:
    """(B, 1) ``max_i |x_i|``; padding holds zeros."""
    return length(data.X).amax(-1, keepdim=True)


def covariance_rounding(em: CovarianceEM, data: StepData, dtype: torch.dtype | None) -> Tensor:
    """(B, 1) of a covariance that the layers make, in the norm of its bound."""
    if dtype is None:
        return torch.zeros_like(data.samples)
    X = largest_norm(data)
    if isinstance(em, VarianceEM):
        held = variance_rounding(em, data, dtype)[:, :, 0]
        size = held * data.dims.sqrt() if em.covariance_type == "diagonal" else held / data.dims
        return size + _differences(em, data, dtype) + lost(em, data, dtype, 4 * X.square())
    d, pooling = em.max_dim, average_rounding(em, data, dtype)
    gates = d * (gate_error(em.bounds.second, dtype) + 2 * em.radius * gate_error(em.bounds.mean, dtype))
    # E[x x^T] once, and mu mu^T twice and to second order; then its products and sums.
    factor = (3 + pooling) * pooling + 4 * rounded_sum(d * d + 20, dtype)
    gates = 2 * gates + d * gate_error(em.bounds.mean, dtype).square()
    return factor * X.square() + gates + lost(em, data, dtype, X.square())


def _differences(em: VarianceEM, data: StepData, dtype: torch.dtype) -> Tensor:
    """(B, 1) of the squares ``(x - mu)^2``: their hinges, and x and mu rounded beside each other."""
    u, n = unit_roundoff(dtype), data.X.shape[1]
    span = (data.X.abs().amax((1, 2)) + data.means.abs().amax((1, 2)))[:, None]
    average = weight_rounding(em.floor, 4 * n + 10, dtype) + 2 * u * number(n).log()
    moved = 8 * average * span + centre_gate(em, dtype) + gamma(4, u) * span
    slope = slope_bound(em.functions.square, span + moved)
    one = square_rounding(em.functions.square, span, dtype, summed(em)) + slope * moved
    width = data.dims.sqrt() if em.covariance_type == "diagonal" else torch.ones_like(span)
    return 2 * width * one
