"""One-dimensional functions that a ReLU layer approximates, each with what its error needs.

On an interval the chord of a convex or concave ``f`` is furthest from ``f`` where the tangent is parallel
to the chord, ``f'(x*) = slope``; so the exact error of a chord is known as soon as ``f'`` can be inverted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from constructions.language.rounding import number
from constructions.language.shown import short_repr

Array = NDArray[np.float64]
Numbers = TypeVar("Numbers", Array, Tensor)


@dataclass(frozen=True)
class Curve:
    """A convex or concave function, and the inverse of its derivative.

    Attributes:
        name: how it prints.
        value: ``f``, vectorised in float64: what a construction's weights are made of.
        formula: ``f`` in torch, for bounds. parallel: slope -> the point where ``f'`` equals it, in torch.
    """

    name: str
    value: Callable[[Array], Array]
    formula: Callable[[Tensor], Tensor]
    parallel: Callable[[Tensor], Tensor]

    __repr__ = short_repr


def _reciprocal(x: Numbers) -> Numbers:
    return 1.0 / x


def _inverse_sqrt(x: Array) -> Array:
    return x**-0.5


def _inverse_sqrt_parallel(slope: Tensor) -> Tensor:
    return (-(number(2.0) / 3) * (-2.0 * slope).log()).exp()


def _reciprocal_parallel(slope: Tensor) -> Tensor:
    return (-slope).rsqrt()


def _complement(x: Numbers) -> Numbers:
    return 1.0 - x


def _half(slope: Tensor) -> Tensor:
    return slope / 2.0


# Functions with names, not lambdas: only these can be pickled, and with them every construction.
log = Curve("log", np.log, torch.log, _reciprocal)
inverse_sqrt = Curve("1/sqrt", _inverse_sqrt, torch.rsqrt, _inverse_sqrt_parallel)
reciprocal = Curve("1/x", _reciprocal, _reciprocal, _reciprocal_parallel)
square = Curve("square", np.square, torch.square, _half)
# A line is its own chord: every point is as good as another.
complement = Curve("1 - x", _complement, _complement, torch.zeros_like)
