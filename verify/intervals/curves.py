"""A piecewise-linear function of intervals: at both ends, and at the knots between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from constructions.language.rounding import remembered
from verify.intervals.array import Intervals, intervals
from verify.intervals.entrywise import add, divide, multiply, subtract


def interpolated(function: Any, x: Tensor) -> Intervals:
    """The interpolant of ``function.values`` at ``function.knots``, constant outside of them: exact floats.

    Between two ends its least and largest value are among those at the ends and at the knots between.
    """
    x = intervals(x)
    line = _Lines.of(function)
    low, first = line.at(x.low)
    if x.exact:
        return low
    high, last = line.at(x.high)
    least, most = torch.minimum(low.low, high.low), torch.maximum(low.high, high.high)
    crossed = last > first
    if bool(crossed.any()):
        least, most = least.clone(), most.clone()
        heights = line.values.numpy()
        for place in crossed.nonzero().tolist():
            at = tuple(place)
            between = heights[int(first[at]) + 1 : int(last[at]) + 1]
            least[at] = min(float(least[at]), float(between.min()))
            most[at] = max(float(most[at]), float(between.max()))
    return Intervals.of(least, most)


@dataclass(frozen=True, eq=False)
class _Lines:
    """The knots (n,), values (n,), and the slopes of the pieces between (n - 1,), which are intervals."""

    knots: Tensor
    values: Tensor
    slopes: Intervals

    @classmethod
    def of(cls, function: Any) -> _Lines:
        """Of a piecewise-linear function, once for each."""
        return remembered(function, "lines in intervals", cls._made)

    @classmethod
    def _made(cls, function: Any) -> _Lines:
        knots, values = (
            torch.from_numpy(np.array(x, dtype=float)) for x in (function.knots, function.values)
        )
        return cls(knots, values, divide(_steps(values), _steps(knots)))

    def at(self, x: Tensor) -> tuple[Intervals, Tensor]:
        """The function at floats, and the pieces they lie in; NaN stays NaN."""
        inside = x.clamp(self.knots[0], self.knots[-1]).contiguous()
        piece = (torch.searchsorted(self.knots, inside, right=True) - 1).clamp_(0, len(self.knots) - 2)
        a, b = self.values[piece], self.values[piece + 1]
        slope = Intervals.of(self.slopes.low[piece], self.slopes.high[piece])
        found = add(a, multiply(subtract(inside, self.knots[piece]), slope))
        # A line stays between its ends.
        low = torch.maximum(found.low, torch.minimum(a, b))
        high = torch.minimum(found.high, torch.maximum(a, b))
        return Intervals.of(low, high), piece


def _steps(x: Tensor) -> Intervals:
    return subtract(x[1:], x[:-1])
