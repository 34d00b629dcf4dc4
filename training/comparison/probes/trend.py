"""Does the iteration that fits best grow with the layer? Statistics of a map of R^2, layer by iteration.

    best(l)    argmax_t R^2(l, t) after layer l = 1..L
    newest(l)  argmax_t of 1 - (1 - R^2(l, t)) / (1 - R^2(l - 1, t)), t = 1..T, l = 2..L: the iterate of
               which layer l explains the largest share of what was unexplained. A residual stream keeps
               what it had, and so its best iterate may stay the first; what is new in it must still move
               on if it unrolls EM. The start and the layer that it may come from are left out.
    peak(t)    argmax_l R^2(l, t) over l = 0..L: the layer that holds iteration t best
    growth     Spearman correlation of best(l) (of newest(l)) with l, and the least-squares slope of
               best(l) on l, in iterations a layer
    delay      least-squares slope of peak(t) on t = 1..T, in layers an iteration, without the start too
    jump       the largest share of all rises of one column that falls in one layer, and that layer

A layer (a column) counts only if its largest R^2 is at least LEAST: one that holds none of the iterates
has no best one. EM unrolled with two layers a step has growth 1/2 and delay 2 as far as its steps go; a
stream that goes to its answer without passing EM's iterates has growth and delay 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.language.shown import short_repr

LEAST = 0.5
"""A probe must explain at least as much of a target as it leaves unexplained."""
FEWEST = 3
"""Layers that count, below which there is no correlation to speak of."""


def best_iterations(r2: Tensor) -> Tensor:
    """(..., L) from R^2 (..., L + 1, T + 1): the best iteration after layers 1..L, NaN below LEAST."""
    largest, place = _known(r2[..., 1:, :]).max(-1)
    return torch.where(largest >= LEAST, place.double(), torch.nan)


def newest_iterations(r2: Tensor) -> Tensor:
    """(..., L - 1) from R^2 (..., L + 1, T + 1): of which iterate 1..T layer 2..L explains most anew.

    NaN for a layer that holds none of these iterates, as above.
    """
    unexplained = 1 - r2[..., 1:, 1:]
    share = unexplained[..., 1:, :] / unexplained[..., :-1, :]
    place = 1 + share.nan_to_num(torch.inf, torch.inf).argmin(-1)
    return torch.where(_known(r2[..., 2:, 1:]).amax(-1) >= LEAST, place.double(), torch.nan)


def peak_layers(r2: Tensor) -> Tensor:
    """(..., T + 1) from R^2 (..., L + 1, T + 1): the best layer 0..L, NaN below LEAST."""
    largest, place = _known(r2).max(-2)
    return torch.where(largest >= LEAST, place.double(), torch.nan)


def _known(r2: Tensor) -> Tensor:
    """R^2 with -inf where it is NaN, for a target that does not vary: it is nobody's largest."""
    return r2.masked_fill(r2.isnan(), -torch.inf)


def slope(y: Tensor) -> Tensor:
    """(...) least-squares slope of y (..., n) on its place, NaN left out; NaN for fewer than FEWEST."""
    there = ~y.isnan()
    n = there.sum(-1, keepdim=True)
    x = torch.arange(y.shape[-1], dtype=torch.float64).expand(y.shape)
    dx, dy = (_centred(v, there, n) for v in (x, y))
    found = (dx * dy).sum(-1) / dx.square().sum(-1)
    return torch.where(n.squeeze(-1) >= FEWEST, found, torch.nan)


def spearman(y: Tensor) -> Tensor:
    """(...) rank correlation of y (..., n) with its place, NaN left out; ties share their rank.

    0 for a constant y, which does not grow; NaN for fewer than FEWEST numbers.
    """
    there = ~y.isnan()
    n = there.sum(-1, keepdim=True)
    pairs = there[..., None, :]
    lower, equal = y[..., None, :] < y[..., :, None], y[..., None, :] == y[..., :, None]
    ranks = ((lower & pairs).sum(-1) + 0.5 * (equal & pairs).sum(-1), there.cumsum(-1).double())
    dy, dx = (_centred(v, there, n) for v in ranks)
    norm = (dx.square().sum(-1) * dy.square().sum(-1)).sqrt()
    found = torch.where(norm > 0, (dx * dy).sum(-1) / norm, 0.0)
    return torch.where(n.squeeze(-1) >= FEWEST, found, torch.nan)


def _centred(values: Tensor, there: Tensor, n: Tensor) -> Tensor:
    kept = torch.where(there, values, 0.0)
    return torch.where(there, kept - kept.sum(-1, keepdim=True) / n, 0.0)


def largest_share(column: Tensor) -> tuple[float, int]:
    """Share of one layer in all rises of R^2 from layer to layer, and the layer; column (L + 1,).

    NaN where nothing rises.
    """
    rises = column.diff().clamp_min(0)
    layer = int(rises.argmax())
    return float(rises[layer] / rises.sum()), layer + 1


def resampled_r2(error: Tensor, total: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """R^2 = 1 - error / total of tasks drawn with replacement: (B, ...) sums a task -> (draws, ...)."""
    drawn = torch.randint(len(error), (draws, len(error)), generator=generator)
    counts = torch.zeros(draws, len(error), dtype=torch.float64)
    counts.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))
    wrong, whole = (torch.einsum("rb,b...->r...", counts, v) for v in (error, total))
    return 1 - wrong / whole


def interval(values: Tensor) -> tuple[Tensor, Tensor]:
    """2.5 % and 97.5 % quantiles over the first dimension, NaN left out."""
    if values.numel() == 0:  # one layer: nothing is added by a later one, and there is nothing to sort
        return values[0], values[0]
    low, high = (values.nanquantile(q, 0) for q in (0.025, 0.975))
    return low, high


@dataclass(frozen=True)
class Statistic:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Trend:
    """best, newest, peak with the ends of their intervals; spearman and newest_spearman are the growths."""

    best: list[float]
    best_low: list[float]
    best_high: list[float]
    newest: list[float]
    newest_low: list[float]
    newest_high: list[float]
    peak: list[float]
    peak_low: list[float]
    peak_high: list[float]
    spearman: Statistic
    newest_spearman: Statistic
    growth: Statistic
    delay: Statistic

    __repr__ = short_repr


def statistic(r2: Tensor, draws: Tensor, of: Callable[[Tensor], Tensor]) -> Statistic:
    """Its value on the map, with the 95 % interval over the resampled maps."""
    low, high = interval(of(draws))
    return Statistic(float(of(r2)), float(low), float(high))


def trend(r2: Tensor, draws: Tensor) -> Trend:
    """Of R^2 (L + 1, T + 1); 95 % intervals from `draws` (R, ...)."""
    found = [
        part.tolist()
        for of in (best_iterations, newest_iterations, peak_layers)
        for part in (of(r2), *interval(of(draws)))
    ]
    return Trend(
        *found,
        spearman=statistic(r2, draws, lambda v: spearman(best_iterations(v))),
        newest_spearman=statistic(r2, draws, lambda v: spearman(newest_iterations(v))),
        growth=statistic(r2, draws, lambda v: slope(best_iterations(v))),
        delay=statistic(r2, draws, lambda v: slope(peak_layers(v)[..., 1:])),
    )
