"""Arrays of real intervals in float64, every rounding enclosed: ``lo <= x <= hi`` for what they stand for.

The end of a sum, product or quotient is rounded to nearest, off by less than one float, and moved to the next
float outward; where a term or a factor is 0 it is exact and stays. exp and log are those of balls
(verify.balls.flint), number by number. An infinite end means "no bound known": the number itself is real, so
0 times it is 0; inside :func:`quietly` numpy does not warn of that. Needed of the machine: rounding to
nearest, subnormal numbers kept (:func:`check_arithmetic`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from verify.balls.flint import arb, precision

Array = NDArray[np.float64]
BITS = 64
"""Of the balls behind exp and log; a float has 53."""


class ArithmeticModeError(ArithmeticError):
    """The processor rounds in another way than the intervals need."""


def check_arithmetic() -> None:
    """Make sure that floats are rounded to nearest and that subnormal numbers are kept.

    Raises:
        ArithmeticModeError: another mode is set, as torch.set_flush_denormal(True) does.
    """
    tiny, one = np.array([2.0**-1022]), np.array([1.0])
    kept = int((tiny * 0.5).view(np.int64)[0]) == 1 << 51  # by its bits: a comparison may flush as well
    nearest = float((one + 2.0**-54)[0]) == 1.0 and float((-one - 2.0**-54)[0]) == -1.0
    nearest = nearest and float((one + 1.5 * 2.0**-53)[0]) == 1.0 + 2.0**-52
    if not (kept and nearest):
        raise ArithmeticModeError("floats are flushed to 0 or not rounded to nearest: nothing is certified")


def quietly() -> np.errstate:
    """Infinite ends are meant: within it, or in a function that it decorates, numpy is silent about them."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore")


@dataclass(frozen=True, eq=False)
class Interval:
    """``[lo, hi]``, number by number, of arrays of one shape."""

    lo: Array
    hi: Array

    @classmethod
    def exact(cls, values: ArrayLike) -> Interval:
        """Floats as they are."""
        array = np.array(values, dtype=np.float64)
        return cls(array, array)

    @classmethod
    def symmetric(cls, radius: Array) -> Interval:
        """``[-radius, radius]``."""
        return cls(-radius, radius)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of both ends."""
        return self.lo.shape

    @property
    def size(self) -> Array:
        """The largest absolute value."""
        return np.maximum(np.abs(self.lo), np.abs(self.hi))

    @property
    def middle(self) -> Array:
        """A float near the middle, between both ends; where one of them is not known, 0."""
        known = np.isfinite(self.lo) & np.isfinite(self.hi)
        lo, hi = np.where(known, self.lo, 0.0), np.where(known, self.hi, 0.0)
        return np.clip(lo / 2 + hi / 2, lo, hi)  # halves of subnormal numbers are rounded

    def radius(self) -> Array:
        """At least the distance of both ends from :attr:`middle`."""
        return (self - Interval.exact(self.middle)).size

    def ravel(self) -> Interval:
        """One row."""
        return Interval(self.lo.ravel(), self.hi.ravel())

    def __getitem__(self, key: Any) -> Interval:
        return Interval(self.lo[key], self.hi[key])

    def __neg__(self) -> Interval:
        return Interval(-self.hi, -self.lo)

    def __add__(self, other: Interval) -> Interval:
        return Interval(_added(self.lo, other.lo, -math.inf), _added(self.hi, other.hi, math.inf))

    def __sub__(self, other: Interval) -> Interval:
        return self + -other

    def __mul__(self, other: Interval) -> Interval:
        return _over_ends(self, other, _multiplied)

    def __truediv__(self, other: Interval) -> Interval:
        """The quotients; no bound where the divisor may be 0."""
        unknown = (other.lo <= 0) & (other.hi >= 0)
        safe = Interval(np.where(unknown, 1.0, other.lo), np.where(unknown, 1.0, other.hi))
        found = _over_ends(self, safe, _divided)
        return Interval(np.where(unknown, -math.inf, found.lo), np.where(unknown, math.inf, found.hi))

    def sum(self, axis: int) -> Interval:
        """Along one axis, in pairs."""
        lo, hi = np.moveaxis(self.lo, axis, 0), np.moveaxis(self.hi, axis, 0)
        if not len(lo):
            return Interval.exact(np.zeros(lo.shape[1:]))
        while len(lo) > 1:
            half = len(lo) // 2
            pairs = Interval(lo[:half], hi[:half]) + Interval(lo[half : 2 * half], hi[half : 2 * half])
            lo, hi = (np.concatenate([a, b[2 * half :]]) for a, b in ((pairs.lo, lo), (pairs.hi, hi)))
        return Interval(lo[0], hi[0])

    def matmul(self, other: Interval) -> Interval:
        """(..., n, m) times (..., m, g)."""
        return (self[..., :, :, None] * other[..., None, :, :]).sum(-2)

    def intersect(self, other: Interval) -> Interval:
        """Of two enclosures of the same numbers."""
        return Interval(np.maximum(self.lo, other.lo), np.minimum(self.hi, other.hi))

    def hull(self, other: Interval) -> Interval:
        """Both, and all between."""
        return Interval(np.minimum(self.lo, other.lo), np.maximum(self.hi, other.hi))

    def exp(self) -> Interval:
        """exp, never below 0."""
        lo, hi = by_balls(self, lambda x: x.exp(), -math.inf, 0.0, math.inf)
        return Interval(np.maximum(lo, 0.0), hi)

    def log(self) -> Interval:
        """log of numbers above 0; no lower bound where ``lo <= 0``."""
        positive = Interval(np.maximum(self.lo, 0.0), self.hi)
        return Interval(*by_balls(positive, lambda x: x.log(), 0.0, -math.inf, math.inf))


def by_balls(
    x: Interval, f: Callable[[Any], Any], least: float, at_least: float, at_most: float
) -> tuple[Array, Array]:
    """An increasing f of both ends by balls, rounded outward; its limits at ``least`` and at infinity."""

    def end(value: float, upper: bool) -> float:
        if value == least or value == math.inf:
            return at_least if value == least else at_most
        ball = f(arb(value))
        return float(ball.upper() if upper else ball.lower())

    with precision(BITS):
        lo = np.array([end(v, False) for v in x.lo.ravel().tolist()]).reshape(x.shape)
        hi = np.array([end(v, True) for v in x.hi.ravel().tolist()]).reshape(x.shape)
    return np.nextafter(lo, -math.inf), np.nextafter(hi, math.inf)


def stack(parts: list[Interval], axis: int = 0) -> Interval:
    """Like np.stack."""
    return Interval(np.stack([p.lo for p in parts], axis), np.stack([p.hi for p in parts], axis))


def concatenate(parts: list[Interval], axis: int = 0) -> Interval:
    """Like np.concatenate."""
    return Interval(np.concatenate([p.lo for p in parts], axis), np.concatenate([p.hi for p in parts], axis))


def length(x: Interval, axis: int = -1) -> Array:
    """At least the Euclidean norm along an axis, of every member."""
    sizes = Interval.exact(x.size)
    square = (sizes * sizes).sum(axis).hi
    # sqrt is correctly rounded (IEEE 754), so the next float is above the root.
    return np.where(square > 0, np.nextafter(np.sqrt(square), math.inf), 0.0)


def _added(a: Array, b: Array, outward: float) -> Array:
    total = a + b
    moved = np.where((a == 0) | (b == 0), total, np.nextafter(total, outward))
    # Of opposite infinities nothing is known.
    return np.where(np.isnan(total), outward, moved)


def _multiplied(a: Array, b: Array) -> tuple[Array, NDArray[np.bool_]]:
    """The product as it is rounded, and where it is 0 exactly."""
    return a * b, (a == 0) | (b == 0)


def _divided(a: Array, b: Array) -> tuple[Array, NDArray[np.bool_]]:
    quotient = a / b
    # Of two unbounded numbers the quotient can be anything of its sign; 0 is among the other ends.
    quotient = np.where(np.isinf(a) & np.isinf(b), np.copysign(math.inf, a) * np.sign(b), quotient)
    return quotient, (a == 0) | (np.isinf(b) & ~np.isinf(a))


def _over_ends(x: Interval, y: Interval, f: Callable[[Array, Array], Any]) -> Interval:
    """Least and largest of f at the four pairs of ends, one float outward unless exactly 0."""
    lows, highs = [], []
    for a in (x.lo, x.hi):
        for b in (y.lo, y.hi):
            value, zero = f(a, b)
            lows.append(np.where(zero, 0.0, np.nextafter(value, -math.inf)))
            highs.append(np.where(zero, 0.0, np.nextafter(value, math.inf)))
    lo = np.minimum(np.minimum(lows[0], lows[1]), np.minimum(lows[2], lows[3]))
    hi = np.maximum(np.maximum(highs[0], highs[1]), np.maximum(highs[2], highs[3]))
    return Interval(lo, hi)
