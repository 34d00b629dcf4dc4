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


log = Curve("log", np.log, lambda slope: 1.0 / slope)
inverse_sqrt = Curve("1/sqrt", lambda x: x**-0.5, lambda slope: (-2.0 * slope) ** (-2.0 / 3.0))
square = Curve("square", np.square, lambda slope: slope / 2.0)
