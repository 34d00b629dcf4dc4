"""A piecewise-linear function of a ball, between the knots that the ball reaches."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

import numpy as np

from verify.balls.flint import arb
from verify.balls.numbers import EVERY_NUMBER, ends


def curve_between(knots: np.ndarray, values: np.ndarray) -> Callable[[arb], arb]:
    """x -> the interpolant of the values at the knots, constant outside of them: floats, hence exact.

    Over a ball that reaches over knots, the least and largest of the function are among its values at the
    ends of the ball and at these knots.
    """
    at, heights = knots.tolist(), values.tolist()
    last = len(at) - 2

    def inside(x: arb, piece: int) -> arb:
        left, right = arb(at[piece]), arb(at[piece + 1])
        low, high = arb(heights[piece]), arb(heights[piece + 1])
        return low + (x - left) * ((high - low) / (right - left))

    def found(x: arb) -> arb:
        if x.is_nan():
            return x
        low, high = ends(x)
        first, end = (min(max(bisect_right(at, e) - 1, -1), last + 1) for e in (low, high))
        if high == at[0] or (first == end - 1 and x.is_exact() and low == high == at[end]):
            first = end
        if first == end:
            if first < 0 or (first > last):
                return arb(heights[0] if first < 0 else heights[-1])
            return inside(x, first)
        parts = [arb(heights[i]) for i in range(max(first + 1, 0), min(end, last + 1) + 1)]
        parts += [inside(arb(e), p) for e, p in ((low, first), (high, end)) if 0 <= p <= last]
        hull = parts[0]
        for part in parts[1:]:
            hull = hull.union(part)
        return hull if hull.is_finite() else EVERY_NUMBER

    return found
