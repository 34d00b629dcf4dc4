"""Does the iteration that fits best grow with the layer? Statistics of a map of R^2, layer by iteration.

    best(l)   argmax_t R^2(l, t) after layer l = 1..L
    peak(t)   argmax_l R^2(l, t) over l = 0..L: the layer that holds iteration t best
    growth    Spearman correlation and least-squares slope of best(l) on l, in iterations a layer
    delay     least-squares slope of peak(t) on t, in layers an iteration
    jump      the largest share of the rise of one column that falls in one layer, and that layer

A layer (a column) counts only if its largest R^2 is at least LEAST: one that holds none of the iterates has no
best one. EM unrolled with two layers a step has growth 1/2 and delay 2 as far as its steps go; a stream that
goes to its answer without passing EM's iterates has growth and delay 0.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

LEAST = 0.5
"""A probe must explain at least as much of a target as it leaves unexplained."""
FEWEST = 3
"""Layers that count, below which there is no correlation to speak of."""


def best_iterations(r2: Tensor) -> Tensor:
    """(..., L) from R^2 (..., L + 1, T + 1): the best iteration after layers 1..L, NaN for a layer below LEAST."""
    largest, place = r2[..., 1:, :].max(-1)
    return torch.where(largest >= LEAST, place.double(), torch.nan)


def peak_layers(r2: Tensor) -> Tensor:
    """(..., T + 1) from R^2 (..., L + 1, T + 1): the best layer 0..L, NaN for an iteration below LEAST."""
    largest, place = r2.max(-2)
    return torch.where(largest >= LEAST, place.double(), torch.nan)


def slope(y: Tensor) -> Tensor:
    """(...) least-squares slope of y (..., n) on its place, NaN left out; NaN for fewer than FEWEST numbers."""
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
    """Share of the rise of R^2 from layer 0 to layer L in one layer, and the layer; column (L + 1,).

    Above 1 where other layers lose some of it; NaN where nothing rises.
    """
    steps = column.diff()
    whole = float(column[-1] - column[0])
    layer = int(steps.argmax())
    return (float(steps[layer]) / whole if whole > 0 else float("nan")), layer + 1


def resampled_r2(error: Tensor, total: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """R^2 = 1 - error / total of tasks drawn with replacement: (B, ...) sums a task -> (draws, ...)."""
    drawn = torch.randint(len(error), (draws, len(error)), generator=generator)
    counts = torch.zeros(draws, len(error), dtype=torch.float64)
    counts.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))
    wrong, whole = (torch.einsum("rb,b...->r...", counts, v) for v in (error, total))
    return 1 - wrong / whole


def interval(values: Tensor) -> tuple[Tensor, Tensor]:
    """2.5 % and 97.5 % quantiles over the first dimension, NaN left out."""
    low, high = (values.nanquantile(q, 0) for q in (0.025, 0.975))
    return low, high


def statistic(r2: Tensor, draws: Tensor, of: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """Its value on the map, with the 95 % interval over the resampled maps."""
    low, high = interval(of(draws))
    return {"value": float(of(r2)), "low": float(low), "high": float(high)}


def trend(r2: Tensor, draws: Tensor) -> dict[str, object]:
    """best, peak, growth and delay of R^2 (L + 1, T + 1), intervals from resampled maps (R, L + 1, T + 1)."""
    found: dict[str, object] = {}
    for name, of in (("best", best_iterations), ("peak", peak_layers)):
        low, high = interval(of(draws))
        found |= {name: of(r2).tolist(), f"{name}_low": low.tolist(), f"{name}_high": high.tolist()}
    return found | {
        "spearman": statistic(r2, draws, lambda v: spearman(best_iterations(v))),
        "growth": statistic(r2, draws, lambda v: slope(best_iterations(v))),
        "delay": statistic(r2, draws, lambda v: slope(peak_layers(v))),
    }
