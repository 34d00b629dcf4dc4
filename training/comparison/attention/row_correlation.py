"""Correlation of attention scores with a target inside each query's row, and its permutation test.

    rho = <R, C> / (|R| |C|),   R_ij = s_ij - mean_j s_ij,   C_ij = c_ij - mean_j c_ij

over all rows of a task. s is the score before the softmax: it differs from log attention by a number
that is the same along a row, so that rho is Pearson's correlation of log attention with c within rows.
Pearson, since c (responsibilities) is nearly 0 or 1: among its near zeros Spearman's ranks are those of
the distance. The log, since a head that weighs by exp(-distance^2 / 2) has a log that is linear in
distance^2: taking out -distance^2 then takes out that head entirely.

Taking out a third matrix: R and C are replaced by their residuals. The null distribution moves the rows
and columns of the residual of c together by a random permutation of the points of the task: the Mantel
test, with both matrices residual (the double semi-partialing of Dekker, Krackhardt and Snijders 2007).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from constructions.language.shown import short_repr

Moves = Literal["both", "rows", "columns"]
"""Which sides of a matrix are the points that a permutation moves."""

LIKE = 8
"""So many points of neighbouring distances, in a row, are compared with one another alone."""


def centred(values: Tensor, mask: Tensor) -> Tensor:
    """Minus the mean of the row over the places of `mask` (R, C), 0 elsewhere: (..., R, C)."""
    inside = mask.to(values.dtype)
    kept = values.masked_fill(~mask, 0.0)
    count = inside.sum(-1, keepdim=True).clamp_min(1.0)  # an empty row sums to 0 as well
    return kept - kept.sum(-1, keepdim=True) / count * inside


def residual(values: Tensor, mask: Tensor, control: Tensor) -> Tensor:
    """Centred values without their projection on the centred control, over all rows: (..., R, C)."""
    own, other = centred(values, mask), centred(control, mask)
    size = (other * other).sum((-2, -1), keepdim=True)
    slope = (own * other).sum((-2, -1), keepdim=True) / size
    return own - torch.where(size > 0, slope, 0.0) * other


def among_like(values: Tensor, mask: Tensor, distance: Tensor, size: int = LIKE) -> Tensor:
    """What is left of values among `size` neighbours in the order of distance in the row: (..., R, C).

    In each such group the mean and the regression on distance are taken out, so that a smooth function
    of distance vanishes to second order in the width of the group.
    """
    order = distance.masked_fill(~mask, torch.inf).argsort(stable=True, dim=-1)
    order = order.expand(torch.broadcast_shapes(order.shape, values.shape))
    missing = -values.shape[-1] % size

    def grouped(part: Tensor) -> Tensor:
        sorted_part = part.masked_fill(~mask, 0.0).expand_as(order).gather(-1, order)
        return torch.nn.functional.pad(sorted_part, (0, missing)).unflatten(-1, (-1, size))

    inside = grouped(mask.to(values.dtype))
    count = inside.sum(-1, keepdim=True).clamp_min(1.0)
    parts = (grouped(values), grouped(distance))
    own, other = (part - part.sum(-1, keepdim=True) / count * inside for part in parts)
    length = (other * other).sum(-1, keepdim=True)
    slope = (own * other).sum(-1, keepdim=True) / length
    left = own - torch.where(length > 0, slope, 0.0) * other
    flat = left.flatten(-2)[..., : values.shape[-1]]
    return torch.zeros_like(flat).scatter(-1, order, flat)


def correlation(R: Tensor, C: Tensor) -> Tensor:
    """rho (...) of centred or residual matrices (..., R, C); 0 where one is constant in every row."""
    size = R.square().sum((-2, -1)).sqrt() * C.square().sum((-2, -1)).sqrt()
    return torch.where(size > 0, (R * C).sum((-2, -1)) / size, 0.0)


@dataclass(frozen=True, eq=False)
class PermutationTest:
    """Heads against chance.

    observed    (B, H): rho of each task and head.
    null        (P, H): the mean over tasks under each of P permutations.
    p           (H,): (1 + #{null as far from 0}) / (P + 1), two-sided.
    p_largest   (H,): the same against the largest of all heads: corrected for their number.
    threshold   the 95 % quantile of the largest |mean| of all heads under permutations.
    """

    observed: Tensor
    null: Tensor

    __repr__ = short_repr

    @property
    def p(self) -> Tensor:
        return self._p(self.null.abs())

    @property
    def p_largest(self) -> Tensor:
        return self._p(self.null.abs().amax(1, keepdim=True))

    @property
    def threshold(self) -> float:
        return float(self.null.abs().amax(1).quantile(0.95))

    def _p(self, chance: Tensor) -> Tensor:
        beyond = (chance >= self.observed.mean(0).abs()).sum(0)
        return (1 + beyond).double() / (1 + len(self.null))


def permutation_test(
    R: Tensor, C: Tensor, mask: Tensor, moves: Moves, permutations: int, generator: torch.Generator
) -> PermutationTest:
    """Test heads R (B, H, rows, columns) against C (B, rows, columns), both centred or residual.

    The points of each task are permuted by themselves; the mean over tasks is the statistic. `mask`
    (rows, columns) are the places that R is not 0 at by definition.

    Raises ValueError for fewer than one permutation.
    """
    if permutations < 1:
        raise ValueError(f"permutations is {permutations}, needs at least 1")
    whole = mask | torch.eye(*mask.shape, dtype=torch.bool) if moves == "both" else mask
    everywhere = bool(whole.all())  # then a permutation keeps the mask, the rows' centres and the norm
    observed = correlation(R, centred(C, mask)[:, None] if not everywhere else C[:, None])
    points = C.shape[2] if moves == "columns" else C.shape[1]
    total = R.new_zeros(permutations, R.shape[1])
    for heads, target in zip(R, C, strict=True):
        flat = heads.flatten(1)
        size = flat.norm(dim=1)
        unit = torch.where(size > 0, 1 / size, 0.0)[:, None] * flat
        order = torch.rand(permutations, points, generator=generator).argsort(1)
        moved = _moved(target, order, moves)
        if not everywhere:
            moved = centred(moved, mask)
        moved = moved.flatten(1)
        length = target.norm() if everywhere else moved.norm(dim=1, keepdim=True)
        total += (moved @ unit.mT) / torch.where(length > 0, length, 1.0)
    return PermutationTest(observed, total / len(R))


def _moved(target: Tensor, order: Tensor, moves: Moves) -> Tensor:
    """(P, rows, columns): the target with its points permuted by each order (P, points)."""
    if moves == "rows":
        return target[order]
    if moves == "columns":
        return target[:, order].movedim(1, 0)
    N = len(target)
    return target.flatten()[(order[:, :, None] * N + order[:, None, :])]
