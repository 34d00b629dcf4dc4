"""One-dimensional functions that a ReLU layer approximates, each with what its error needs.

On an interval the chord of a convex or concave ``f`` is furthest from ``f`` where the tangent is parallel
to the chord, ``f'(x*) = slope``; so the exact error of a chord is known as soon as ``f'`` can be inverted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """A convex or concave function, and the inverse of its derivative.

    Attributes:
        name: how it prints.
        value: ``f``, vectorised in float64.
        parallel: slope -> the point where ``f'`` equals it.
    """

    name: str
    value: Callable[[Array], Array]
    parallel: Callable[[Array], Array]


def _reciprocal(slope: Array) -> Array:
    return 1.0 / slope


def _inverse_sqrt(x: Array) -> Array:
    return x**-0.5


def _inverse_sqrt_parallel(slope: Array) -> Array:
    return (-2.0 * slope) ** (-2.0 / 3.0)


def _reciprocal_parallel(slope: Array) -> Array:
    return (-slope) ** -0.5


def _complement(x: Array) -> Array:
    return 1.0 - x


def _half(slope: Array) -> Array:
    return slope / 2.0


# Functions with names, not lambdas: only these can be pickled, and with them every construction.
log = Curve("log", np.log, _reciprocal)
inverse_sqrt = Curve("1/sqrt", _inverse_sqrt, _inverse_sqrt_parallel)
reciprocal = Curve("1/x", _reciprocal, _reciprocal_parallel)
square = Curve("square", np.square, _half)
# A line is its own chord: every point is as good as another.
complement = Curve("1 - x", _complement, np.zeros_like)
