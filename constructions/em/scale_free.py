"""Chords whose relative error is the same at every scale: squares on knots around 0, and 1/x.

On a piece from a to q a the chord of t^2, and that of 1/t, lies above the curve by at most the share

    e = (q - 1)^2 / (4 q)

and by 2 e / 3 on average to leading order; multiplied by 1 / (1 + 2 e / 3) it errs to both sides, from
-2 e / 3 to e / 3 or so, and hardly at all on average. For squares the first piece, from 0, errs absolutely.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from constructions.language import curves
from constructions.language.piecewise import PiecewiseLinear, chords, geometric, knot_ratio
from constructions.language.rounding import number, remembered, unit_roundoff
from constructions.language.shown import short_repr


@dataclass(frozen=True, eq=False)
class ScaleFree:
    """``scale * function``.

    Attributes:
        function: chords. scale: what they are multiplied by. excess: e.
    """

    function: PiecewiseLinear
    scale: float
    excess: float

    __repr__ = short_repr

    def __call__(self, x: Tensor) -> Tensor:
        """Any shape, in float64."""
        return self.scale * self.function(x)

    @property
    def ratio(self) -> Tensor:
        """The largest quotient of two knots, of the positive ones for squares: a number."""
        return knot_ratio(self.function, int(np.searchsorted(self.function.knots, 0.0, side="right")))

    @property
    def relative_error(self) -> tuple[Tensor, Tensor]:
        """Least and largest of ``f / curve - 1`` in exact arithmetic; beyond the first piece for squares."""
        u = 2 * unit_roundoff(torch.float64)  # of the stored scale, and of the values at the knots
        scale = number(self.scale)
        excess = remembered(self, "excess", lambda f: (f.ratio - 1).square() / (4 * f.ratio))
        return scale * (1 - u) - 1, scale * (1 + excess) * (1 + u) - 1


def squares(least: float, reach: float, pieces: int) -> ScaleFree:
    """t^2 for ``|t| <= reach``, with geometric knots on both sides down to ``least``.

    Raises:
        ValueError: ``pieces`` below 4 or not whole, unless ``0 < least < reach``.
    """
    _check_pieces(pieces)
    right = geometric(least, reach, pieces // 2 - 1)
    knots = np.concatenate([-right[::-1], [0.0], right])
    return _centred(chords(curves.square, knots, anchor=len(right)), right)


def reciprocals(low: float, high: float, pieces: int) -> ScaleFree:
    """1/x for x in ``[low, high]``, held at its ends outside."""
    function = chords(curves.reciprocal, geometric(low, high, pieces), inputs=(0.0, 2 * high))
    return _centred(function, function.knots)


def _centred(function: PiecewiseLinear, knots: np.ndarray) -> ScaleFree:
    ratio = float((knots[1:] / knots[:-1]).max())
    excess = (ratio - 1) ** 2 / (4 * ratio)
    return ScaleFree(function, 1 / (1 + 2 * excess / 3), excess)


def least_difference(low: float, pieces: int) -> float:
    """Where the knots of the squares begin: the first piece errs by at most ``low (4 / pieces)^2``.

    Its chord is off by at most ``least^2 / 4``, with ``least = 8 sqrt(low) / pieces``.

    Raises:
        ValueError: ``pieces`` below 4 or not whole.
    """
    _check_pieces(pieces)
    return 8 * math.sqrt(low) / pieces


def _check_pieces(pieces: int) -> None:
    if isinstance(pieces, bool) or not isinstance(pieces, int) or pieces < 4:
        raise ValueError(f"pieces of square are {pieces!r}; a whole number, at least 4, is needed")
