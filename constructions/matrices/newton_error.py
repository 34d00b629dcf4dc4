"""How far 1/p and 1/sqrt(p) are off after chords and t Newton steps, relative to the value.

Exact: ``y p = 1 + e`` with ``|e| <= e_0``, then ``e -> -e^2``; ``y sqrt(p) = s``, then
``s -> s (3 - s^2)/2``.

Rounded, the start: the entry is read exactly, or with an absolute error ``2 gamma_3 (2 B + p)``, a relative
one of at most d; then ``f(p') p`` lies between ``1/(1 + d)`` and ``(1 + e_c)/(1 - d)``, for the root
``f(p') sqrt(p)`` between the roots of these factors of d, also where p' falls out of the domain. The rounding
of the chords is that of :meth:`PiecewiseLinear.rounding_error_at`, largest at the left end of each piece;
putting the value adds ``2 gamma_3 (2 B' + y)``. Later steps are those of the matrix iterations at n = 1, in
relative units: off the diagonal everything is an exact 0. So rounding of the start matters only where it
nears 1, at a ratio of largest to least value of about ``1/(12 u)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from constructions.language import curves
from constructions.language.piecewise import PiecewiseLinear
from constructions.language.rounding import above, gamma, number, remembered, unit_roundoff
from constructions.language.shown import short_repr
from constructions.matrices.schulz_error import Path, step_rounding, stepped


@dataclass(frozen=True)
class ScalarError:
    """Bounds on ``|y / exact - 1|``, each after the last step; inf where nothing is claimed.

    Attributes:
        approximation: in exact arithmetic. rounding: what a dtype adds.
    """

    approximation: Tensor | float
    rounding: Tensor | float

    __repr__ = short_repr

    @property
    def total(self) -> Tensor | float:
        """Bound on the relative error."""
        return self.approximation + self.rounding


def chord_excess(function: PiecewiseLinear) -> float:
    """``e_c``: the largest ``f(x)/curve(x) - 1`` of chords of 1/x or 1/sqrt(x); as weights are made of it.

    Raises:
        ValueError: another curve.
    """
    ratio = function.knots[1:] / function.knots[:-1]
    if function.curve is curves.reciprocal:
        return float(((ratio - 1) ** 2 / (4 * ratio)).max())
    if function.curve is curves.inverse_sqrt:
        s = np.sqrt(ratio)
        return float((2 * ((1 + s + s**2) / 3) ** 1.5 / (s + s**2) - 1).max())
    raise ValueError(f"the curve is {function.curve.name}; it is 1/x or 1/sqrt")


def _excess(function: PiecewiseLinear) -> Tensor:
    """The same for bounds."""
    knots = torch.as_tensor(function.knots)
    ratio = knots[1:] / knots[:-1]
    if function.curve is curves.reciprocal:
        return ((ratio - 1).square() / (4 * ratio)).amax()
    s = ratio.sqrt()
    mean = (1 + s + ratio) / 3
    return (2 * mean * mean.sqrt() / (s + ratio) - 1).amax()


def start_interval(
    function: PiecewiseLinear,
    scale: float,
    bound: float,
    entry_bound: float | None,
    dtype: torch.dtype | None,
    beyond: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Where ``value / exact`` of the start lies; (0, inf) where nothing is claimed.

    Args:
        function, scale: of the start. bound: with which the value is put.
        entry_bound: with which the entry is read; None where that is exact.
        dtype: in which it runs; exact arithmetic with none.
        beyond: the argument may leave the domain by this part of itself, where 1/x is held.
    """
    top = 1 + remembered(function, "excess", _excess)
    nothing = number(0.0), number(math.inf)
    if not beyond < 1:
        return nothing
    under, over = 1 - number(beyond), 1 + number(beyond)
    if dtype is None:
        return scale * under, scale * top * over
    u, (low, _) = unit_roundoff(dtype), function.domain
    d = number(0.0)
    if entry_bound is not None:
        d = 2 * number(gamma(3, u)) * (2 * number(entry_bound) + low) / low
    if not bool(above(d) < 1):
        return nothing
    knots = torch.as_tensor(function.knots)
    exact = function.curve.formula(knots)
    at = torch.cat([(low * (1 - d) * under)[None], knots[1:]])
    rounded = function.rounding_error_at(dtype, at)
    # Within a piece the rounding is largest at the left end, the value least at the right one.
    own = (rounded[:-1] / exact[1:]).amax() + rounded[-1] / exact[-1]
    put = 2 * gamma(3, u) * (2 * bound / exact[-1] + 2 * top)
    off = scale * own * (1 + 4 * u) + gamma(4, u) * (scale * top) + put
    below, beside = (1 + d).reciprocal(), (1 - d).reciprocal()
    if function.curve is not curves.reciprocal:
        below, beside = below.sqrt(), beside.sqrt()
    return scale * (under * below) - off, scale * top * (over * beside) + off


def reciprocal_error(
    function: PiecewiseLinear,
    scale: float,
    bound: float,
    entry_bound: float | None,
    steps: int,
    dtype: torch.dtype | None = None,
    beyond: float = 0.0,
) -> ScalarError:
    """Of 1/p after ``steps`` steps: ``e_0^(2^t)`` and rounding; arguments as for :func:`start_interval`.

    A step is rounded by ``gamma_12 ((1 + e)^2 + 3 (1 + e))`` (constructions.matrices.inverse at n = 1).
    """
    low, high = start_interval(function, scale, bound, entry_bound, None, beyond)
    exact = torch.maximum(1 - low, high - 1)
    low, high = start_interval(function, scale, bound, entry_bound, dtype, beyond)
    e = torch.maximum(1 - low, high - 1)
    each = 0.0 if dtype is None else gamma(12, unit_roundoff(dtype))
    for _ in range(steps):
        exact = exact.square()
        e = e.square() + each * ((1 + e).square() + 3 * (1 + e))
        if not bool(above(e) < 1):
            return ScalarError(exact, number(math.inf))
    return ScalarError(exact, (e - exact).clamp_min(0.0))


def root_error(
    function: PiecewiseLinear,
    scale: float,
    bound: float,
    entry_bound: float | None,
    steps: int,
    dtype: torch.dtype | None = None,
) -> ScalarError:
    """Of 1/sqrt(p), and of sqrt(p), after ``steps`` steps; arguments as for :func:`start_interval`."""
    exact = Path(*(float(s) - 1 for s in start_interval(function, scale, bound, entry_bound, None)))
    low, high = map(float, start_interval(function, scale, bound, entry_bound, dtype))
    if not 0 < low <= high < math.sqrt(3):
        return ScalarError(math.inf, math.inf)
    tau = 0.0 if dtype is None else gamma(4, unit_roundoff(dtype)) * high  # Y = A Z, rounded
    path = Path(low - 1, high - 1, tau)
    for _ in range(steps):
        exact = stepped(exact)
        path = stepped(path, 0.0 if dtype is None else step_rounding(path, 1, 1.0, 1.0, dtype))
    total = path.approximation + path.tau
    return ScalarError(exact.approximation, max(total - exact.approximation, 0.0))
