"""How far an error turns a vector: only its part across the vector does.

Lemma 5 of paper_notes/theorem_2_tensor_power.md, (v) and (vi). Where an error is known up to a width, as that
of softmax heads is, its part along ``T(I, v, v)`` changes no direction and is left out; at an eigenvector,
and in one dimension, that is nearly all of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.language.rounding import approximately, below, or_infinity
from constructions.language.shown import short_repr


@dataclass(frozen=True, eq=False)
class Signed:
    """An error known up to a width.

    Attributes:
        middle: (B, d). width: (B, d) the error differs from the middle by at most that, entry by entry; inf
            where nothing is known.
    """

    middle: Tensor
    width: Tensor

    __repr__ = short_repr


def euclidean(x: Tensor) -> Tensor:
    """Euclidean length over the last dimension, scaled so that no square under- or overflows."""
    largest = approximately(x.abs().amax(-1, keepdim=True))
    scale = torch.where((largest > 0) & largest.isfinite(), largest, 1.0)
    return scale[..., 0] * (x / scale).norm(dim=-1)


def ratio(top: Tensor, bottom: Tensor) -> Tensor:
    """top / bottom, and inf where the bottom is not positive: nothing is claimed there."""
    return torch.where(below(bottom) > 0, top / bottom, math.inf)


def turned(x: Tensor, e: Tensor) -> Tensor:
    """``|(x + e)/|x + e| - x/|x||``, (B,): inf where x is 0 or the angle theta is not below a right one.

    ``2 sin(theta / 2) = sin(theta) (2 / (1 + cos(theta)))^(1/2)`` with ``sin(theta) = |P e| / |x + e|``, P
    the projection off x: nothing cancels where the angle is small.
    """
    size, after = euclidean(x), euclidean(x + e)
    unit = torch.where(below(size)[:, None] > 0, x / size[:, None], 0.0)
    across = euclidean(e - unit * (unit * e).sum(-1, keepdim=True))
    along = (unit * (x + e)).sum(-1)
    facing = below(along) > 0
    cosine = torch.where(facing, ratio(along, after), 1.0)
    return torch.where(facing, ratio(across, after) * (2 / (1 + cosine)).sqrt(), math.inf)


def turned_within(x: Tensor, width: Tensor) -> Tensor:
    """Bound on ``|(x + e)/|x + e| - x/|x||`` for every e with ``|e_i| <= width_i``, (B,).

    The smaller of two, with u = x / |x| and the projection P off x taken entry by entry:

        2 |width| / (2 |x| - |width|),        | |P| width | / (|x| - sum_i |u_i| width_i)
    """
    size, length = euclidean(x), euclidean(width)
    unit = torch.where(below(size)[:, None] > 0, x / size[:, None], 0.0)
    projection = torch.eye(x.shape[1], dtype=x.dtype, device=x.device) - unit[:, :, None] * unit[:, None, :]
    across = euclidean(torch.einsum("bij,bj->bi", projection.abs(), width))
    least = size - (unit.abs() * width).sum(-1)
    return torch.minimum(ratio(2 * length, 2 * size - length), or_infinity(ratio(across, least)))


def direction_error(x: Tensor, exact: Signed, run: Signed | None, scale: Tensor) -> Tensor:
    """Bound on how far the heads turn x, (B,).

    With m the middle in real arithmetic and ``y = x + m``, r the middle that rounding adds and ``z = y + r``,
    w and W the widths without and with rounding:

        turned(x, m) + turned(y, r) + max(turned_within(y, w), turned_within(z, W))

    Without rounding the middle term and W are left out; so it is never more than with it.

    Args:
        x: (B, d) ``T(I, v, v)`` at v of length 1. exact: the heads' error in real arithmetic. run: what
            rounding adds to its middle, and the width of all errors together; None without rounding.
        scale: (B, 1) squared length of the state that the errors belong to.
    """
    y = x + exact.middle / scale
    found, rest = turned(x, exact.middle / scale), turned_within(y, exact.width / scale)
    if run is not None:
        added = run.middle / scale
        found = found + turned(y, added)
        rest = torch.maximum(rest, turned_within(y + added, run.width / scale))
    return or_infinity(found + rest)
