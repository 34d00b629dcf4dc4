"""A hinge sum as its float weights make it, and how far it is from its curve on an interval.

    f(x) = offset + sum_m c_m relu(s_m (x - t_m))

is linear between its knots, with slopes and values that are sums of floats: exact numbers, here in balls. On
a piece ``[a, b]`` with slope s the distance from the curve is convex or concave:

    log:     f(x) - log x    is convex, so at most its ends, at least its value at 1/s
    square:  f(x) - x^2      is concave, so at least its ends, at most its value at s/2

which is what lemma 1 of theorem_1_em.md says of chords whose ends lie on the curve; here the ends are where
the rounded weights put them.
"""

from __future__ import annotations

import bisect
import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from constructions.language.piecewise import PiecewiseLinear
from verify.balls.flint import arb, precision
from verify.certify.regions.intervals import Array, Interval

BITS = 256
"""The sums of c_m are exact in as many bits: their exponents lie within 200 of each other, M below 2^40."""


@dataclass(frozen=True, eq=False)
class Hinges:
    """The function between its knots; ``curve`` is "log" or "square".

    Attributes:
        knots: where the slope changes, increasing. slopes: balls, of the pieces left of each knot and of
            that right of the last. values: balls, at the knots.
        low, high: (pieces,) floats, range of ``f - curve`` on each piece between two knots.
        floor, ceiling: (knots,) floats around the values.
    """

    curve: str
    knots: list[float]
    slopes: list[Any]
    values: list[Any]
    low: Array
    high: Array
    floor: Array
    ceiling: Array

    @classmethod
    def of(cls, f: PiecewiseLinear) -> Hinges:
        """Of the float weights of ``f``.

        Raises:
            ValueError: a curve of another name, or one that is not curved at its knots.
        """
        return _hinges(f)

    def values_on(self, x: Interval) -> Interval:
        """f on intervals: between its values at both ends and at the knots between."""
        return self._each(x, self._value_range)

    def errors_on(self, x: Interval) -> Interval:
        """``f - curve`` on intervals (of log: within x > 0, infinite at 0)."""
        return self._each(x, self._error_range)

    def _each(self, x: Interval, range_of: Any) -> Interval:
        with precision(BITS):
            ends = [range_of(a, b) for a, b in zip(x.lo.ravel().tolist(), x.hi.ravel().tolist(), strict=True)]
        lo, hi = (np.array([end[i] for end in ends], dtype=np.float64).reshape(x.shape) for i in (0, 1))
        return Interval(np.nextafter(lo, -math.inf), np.nextafter(hi, math.inf))

    def _between(self, a: float, b: float) -> tuple[int, int]:
        """Knots i with ``a < knots[i] < b`` are those from the first number to below the second."""
        return bisect.bisect_right(self.knots, a), bisect.bisect_left(self.knots, b)

    def _at(self, x: float) -> tuple[Any, Any]:
        """f at a float, and the slope of a piece that holds it."""
        place = min(bisect.bisect_left(self.knots, x), len(self.knots) - 1)
        slope = self.slopes[place] if x <= self.knots[place] else self.slopes[-1]
        return self.values[place] + slope * (arb(x) - arb(self.knots[place])), slope

    def _value_range(self, a: float, b: float) -> tuple[float, float]:
        first, beyond = self._between(a, b)
        ends = [self._at(a)[0], self._at(b)[0]]
        low = [float(end.lower()) for end in ends] + self.floor[first:beyond].tolist()
        high = [float(end.upper()) for end in ends] + self.ceiling[first:beyond].tolist()
        return min(low), max(high)

    def _error_range(self, a: float, b: float) -> tuple[float, float]:
        first, beyond = self._between(a, b)
        if beyond <= first:  # one piece holds both ends
            return self._part(first, a, b)
        found = [self._part(first, a, self.knots[first]), self._part(beyond, self.knots[beyond - 1], b)]
        if beyond - first > 1:  # whole pieces
            inner = slice(first, beyond - 1)
            found.append((float(self.low[inner].min()), float(self.high[inner].max())))
        return min(low for low, _ in found), max(high for _, high in found)

    def _part(self, piece: int, a: float, b: float) -> tuple[float, float]:
        """Range of ``f - curve`` on ``[a, b]`` within the piece that ends at knot number ``piece``."""
        slope = self.slopes[piece]
        knot = min(piece, len(self.knots) - 1)
        value, at = self.values[knot], arb(self.knots[knot])
        return _range_on_piece(self.curve, slope, value, at, a, b)


def _range_on_piece(curve: str, slope: Any, value: Any, at: Any, a: float, b: float) -> tuple[float, float]:
    """``value + slope (x - at) - curve(x)`` for x in [a, b]: ends, and where the curve is parallel."""
    ends = [_gap(curve, slope, value, at, x) for x in (a, b)]
    low, high = min(e[0] for e in ends), max(e[1] for e in ends)
    if curve == "log":
        # Convex. Derivative slope - 1/x: at an end of the right sign the least value is at that end.
        if slope > 0 and not (a > 0 and slope * arb(a) >= 1) and not (slope * arb(b) <= 1):
            low = min(low, float((value - slope * at + 1 + slope.log()).lower()))
        elif not (slope > 0 or slope <= 0):
            low = -math.inf  # the sign of the slope is not known: never, at BITS bits, but sound
    elif not (slope <= 2 * arb(a)) and not (slope >= 2 * arb(b)):
        high = max(high, float((value - slope * at + slope * slope / 4).upper()))
    return low, high


def _gap(curve: str, slope: Any, value: Any, at: Any, x: float) -> tuple[float, float]:
    if curve == "log" and x <= 0:
        return math.inf, math.inf
    point = arb(x)
    found = value + slope * (point - at) - (point.log() if curve == "log" else point * point)
    return float(found.lower()), float(found.upper())


@functools.lru_cache(maxsize=64)
def _hinges(f: PiecewiseLinear) -> Hinges:
    if f.curve.name not in ("log", "square"):
        raise ValueError(f"the curve is {f.curve.name!r}; it is log or square")
    knots = sorted(set(f.hinge_knots.tolist()))
    place = {knot: i for i, knot in enumerate(knots)}
    with precision(BITS):
        change, first = [arb(0) for _ in knots], arb(0)
        start = arb(f.offset)
        for t, sign, c in zip(
            f.hinge_knots.tolist(), f.hinge_signs.tolist(), f.hinge_weights.tolist(), strict=True
        ):
            change[place[t]] += arb(c)
            if sign < 0:  # open left of its knot: there its slope is -c
                first -= arb(c)
                start += arb(c) * (arb(t) - arb(knots[0]))
        slopes = [first]
        for jump in change:
            slopes.append(slopes[-1] + jump)
        values = [start]
        for i in range(1, len(knots)):
            values.append(values[-1] + slopes[i] * (arb(knots[i]) - arb(knots[i - 1])))
        ranges = [
            _range_on_piece(f.curve.name, slopes[i], values[i], arb(knots[i]), knots[i - 1], knots[i])
            for i in range(1, len(knots))
        ]
        floor, ceiling = [float(v.lower()) for v in values], [float(v.upper()) for v in values]
    low, high = ([r[i] for r in ranges] for i in (0, 1))
    return Hinges(f.curve.name, knots, slopes, values, _down(low), _up(high), _down(floor), _up(ceiling))


def _down(values: list[float]) -> Array:
    return np.nextafter(np.array(values, dtype=np.float64), -math.inf)


def _up(values: list[float]) -> Array:
    return np.nextafter(np.array(values, dtype=np.float64), math.inf)
