"""Piecewise-linear functions as sums of ReLUs, with a proven error in two parts.

    f(x) = offset + sum_m c_m relu(s_m (x - t_m)),       s_m in {-1, +1}

All hinges open away from one knot, the anchor, so that each is zero there and the terms add up without
cancelling. For the logarithm the anchor is the right end of its domain: summed from the left, the terms of
a steep start cancel later and float32 loses every digit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.overrides import handle_torch_function, has_torch_function_unary

from constructions.language.curves import Array, Curve
from constructions.language.rounding import (
    above,
    approximately,
    below,
    gamma,
    number,
    remembered,
    unit_roundoff,
)
from constructions.language.shown import short_repr


@dataclass(frozen=True, eq=False)
class PiecewiseLinear:
    """``f`` interpolates ``curve`` at ``knots`` and stays constant outside of them.

    Attributes:
        curve: the function approximated.
        knots: (M + 1,) increasing; the domain is ``[knots[0], knots[-1]]``.
        values: (M + 1,) the curve at the knots.
        anchor: index of the knot from which the hinges open.
        inputs: interval of the arguments for which the rounding bound holds.
        hinge_knots, hinge_signs, hinge_weights: (H,) the ``t_m``, ``s_m`` and ``c_m`` above.
    """

    curve: Curve
    knots: Array
    values: Array
    anchor: int
    inputs: tuple[float, float]
    hinge_knots: Array
    hinge_signs: Array
    hinge_weights: Array

    __repr__ = short_repr

    @property
    def pieces(self) -> int:
        """Number M of linear pieces on the domain."""
        return len(self.knots) - 1

    @property
    def units(self) -> int:
        """Number H of hidden ReLU units that one scalar takes."""
        return len(self.hinge_knots)

    @property
    def offset(self) -> float:
        """The value at the anchor."""
        return float(self.values[self.anchor])

    @property
    def domain(self) -> tuple[float, float]:
        """Where the error bound holds."""
        return float(self.knots[0]), float(self.knots[-1])

    @property
    def slopes(self) -> Array:
        """(M,) slope of each piece."""
        return np.diff(self.values) / np.diff(self.knots)

    @property
    def lipschitz(self) -> float:
        """The largest absolute slope."""
        return float(np.abs(self.slopes).max())

    @property
    def error(self) -> torch.Tensor:
        """``max |f - curve|`` on the domain, in real arithmetic: a number as tensor, for bounds.

        On every piece ``f - curve`` is largest in size at the point whose tangent is parallel to the chord,
        or at an end, where it is what rounding made of the curve's value.
        """
        return remembered(self, "error", PiecewiseLinear._largest_error)

    def _largest_error(self) -> torch.Tensor:
        knots, values = torch.as_tensor(self.knots), torch.as_tensor(self.values)
        slopes = (values[1:] - values[:-1]) / (knots[1:] - knots[:-1])
        at = torch.minimum(torch.maximum(self.curve.parallel(slopes), knots[:-1]), knots[1:])
        between = values[:-1] + slopes * (at - knots[:-1]) - self.curve.formula(at)
        return torch.cat([between, values - self.curve.formula(knots)]).abs().amax()

    @property
    def approximation_error(self) -> float:
        """The same as a float, for tables."""
        return float(self.error)

    def rounding_error(self, dtype: torch.dtype) -> torch.Tensor:
        """Bound on ``|computed f - f|`` when the ReLU layer runs in ``dtype``, for x in ``inputs``: a number.

        With u the unit roundoff, H hinges, ``V = max_x sum_m |c_m| relu(s_m (x - t_m))`` and
        ``T = sum_m |c_m t_m|``:

            gamma_{H+4}(u) (V + |offset|) + (1 + gamma_{H+4}(u)) u T + 4 M u_64 max|values|
                + tiny (sum_m |c_m| + H (1 + r))

        V is reached at an end of ``inputs``, since each term only grows away from the anchor. The first part
        is the product, the weight's own rounding, the difference ``x - t_m`` and the sum; the second the
        rounding of the knots to ``dtype``, carried through the first; the third the slopes, computed once in
        float64: each knot value carries a relative error u_64, and a slope error of one piece shifts every
        value beyond that piece by at most ``4 u_64 max|values|``; the fourth what flushing below the smallest
        normal number, tiny, can take: a difference (times its weight), a weight (times r, the largest
        ``|x - t_m|``), a product.
        """
        return remembered(self, f"rounding in {dtype}", lambda f: f._rounding(dtype))

    def _rounding(self, dtype: torch.dtype) -> torch.Tensor:
        u = unit_roundoff(dtype)
        weights, knots = torch.as_tensor(self.hinge_weights).abs(), torch.as_tensor(self.hinge_knots)
        signs, ends = torch.as_tensor(self.hinge_signs), torch.tensor(self.inputs, dtype=torch.float64)
        opened = (signs * (ends[:, None] - knots)).clamp_min(0)
        reach, knot_mass = (weights * opened).sum(-1).amax(), (weights * knots.abs()).sum()
        largest = torch.as_tensor(self.values).abs().amax()
        slopes_part = 4 * self.pieces * unit_roundoff(torch.float64) * largest
        operations = number(gamma(self.units + 4, u))
        rounding = operations * (reach + abs(self.offset)) + (1 + operations) * u * knot_mass + slopes_part
        return rounding + self._flushed(dtype)

    def rounding_error_at(self, dtype: torch.dtype, x: torch.Tensor) -> torch.Tensor:
        """The bound of :meth:`rounding_error` at each x alone, a number of ``dtype``.

        Open hinges lie between the anchor and x, so the sums V and T run over these, and the slopes that
        matter are those of the pieces between the anchor and x. A hinge that is closed at x adds nothing: its
        knot is not before x, and rounding is monotone, so the rounded knot is not before x either.

        Each of these parts only grows as x moves away from the anchor. So of all numbers between two that
        enclose x, the bound is largest at one of the two.
        """
        low, high = below(x), above(x)
        at_low = self._rounding_at(dtype, low)
        return at_low if high is low else torch.maximum(at_low, self._rounding_at(dtype, high))

    def _rounding_at(self, dtype: torch.dtype, x: torch.Tensor) -> torch.Tensor:
        """The same at floats."""
        u = unit_roundoff(dtype)
        left, right = (self._open_hinges(sign, x) for sign in (-1, 1))
        reach, knot_mass, largest = left[0] + right[0], left[1] + right[1], torch.maximum(left[2], right[2])
        slopes_part = largest * 4 * self.pieces * unit_roundoff(torch.float64)
        operations = remembered(self, f"gamma in {dtype}", lambda f: number(gamma(f.units + 4, u)))
        rounding = operations * (reach + abs(self.offset)) + (1 + operations) * u * knot_mass + slopes_part
        return rounding + remembered(self, f"flushed in {dtype}", lambda f: f._flushed(dtype))

    def _open_hinges(self, sign: int, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """On one side of the anchor ``sum |c_m| (s_m (x - t_m))`` and ``sum |c_m t_m|`` of the hinges that
        are open at x, and the largest ``|value|`` from the anchor to the first knot from x on.
        """
        side = remembered(self, f"side {sign:+}", lambda f: _Side.of(f, sign))
        x = x if sign > 0 else -x
        place = approximately(x).contiguous()
        many = torch.searchsorted(side.opens, place)
        until = torch.searchsorted(side.knots, place, right=sign > 0).clamp_max(len(side.knots) - 1)
        if not len(side.opens):
            return torch.zeros_like(x), torch.zeros_like(x), side.largest[until]
        opened = side.reach[many] + side.slope[many] * (x - side.opens[(many - 1).clamp_min(0)])
        return torch.where(many > 0, opened, 0.0), side.mass[many], side.largest[until]

    def _flushed(self, dtype: torch.dtype) -> torch.Tensor:
        low, high = (pick(*self.inputs, *self.domain) for pick in (min, max))
        masses = torch.as_tensor(self.hinge_weights).abs().sum() + self.units * (1 + number(high) - low)
        return torch.finfo(dtype).tiny * masses

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """``f(x)`` by interpolation between the two knots around ``x``; any shape, computed in float64."""
        return interpolated(self, x)

    def interpolate(self, x: torch.Tensor) -> torch.Tensor:
        """The same, in torch operations that round."""
        knots = torch.as_tensor(self.knots, device=x.device)
        values = torch.as_tensor(self.values, device=x.device)
        inside = x.to(torch.float64).clamp(*self.domain).contiguous()
        right = torch.searchsorted(knots, inside).clamp(1, self.pieces)
        fraction = (inside - knots[right - 1]) / (knots[right] - knots[right - 1])
        return values[right - 1] + fraction * (values[right] - values[right - 1])

    def __str__(self) -> str:
        low, high = self.domain
        return f"{self.curve.name}~{self.pieces} on [{low:g}, {high:g}]"


@dataclass(frozen=True, eq=False)
class _Side:
    """One side of the anchor, outward from it, mirrored where that is to the left.

    Attributes:
        opens: where hinges open. knots: from the anchor on. largest: the largest ``|value|`` up to each.
        slope, mass, reach: after so many hinges ``sum |c_m|``, ``sum |c_m t_m|``, and V at the last of them,
            which grows by the slope before it from each to the next, so that no terms cancel.
    """

    opens: torch.Tensor
    knots: torch.Tensor
    largest: torch.Tensor
    slope: torch.Tensor
    mass: torch.Tensor
    reach: torch.Tensor

    @classmethod
    def of(cls, f: PiecewiseLinear, sign: int) -> _Side:
        """To the right with 1, to the left with -1."""
        order, of = slice(None, None, sign), f.hinge_signs == sign
        beyond = slice(f.anchor, None) if sign > 0 else slice(f.anchor, None, -1)
        parts = sign * f.hinge_knots[of][order], sign * f.knots[beyond], f.values[beyond]
        parts = *parts, np.abs(f.hinge_weights[of][order])
        opens, knots, values, weights = (torch.from_numpy(part.copy()) for part in parts)
        slope, mass = weights.cumsum(0), (weights * opens.abs()).cumsum(0)
        reach = (slope[:-1] * (opens[1:] - opens[:-1])).cumsum(0)
        none = torch.zeros(1, dtype=torch.float64)
        before = [none, none] if len(opens) else [none]
        sums = (torch.cat(part) for part in ([none, slope], [none, mass], [*before, reach]))
        return cls(opens, knots, values.abs().cummax(0).values, *sums)


def interpolated(function: PiecewiseLinear, x: torch.Tensor) -> torch.Tensor:
    """``function(x)``, in the arithmetic that is in force."""
    if has_torch_function_unary(x):
        return handle_torch_function(interpolated, (x,), function, x)
    return function.interpolate(x)


def knot_ratio(function: PiecewiseLinear, first: int = 0) -> torch.Tensor:
    """The largest quotient of a knot and the one before it, from knot ``first`` on: a number."""
    return remembered(
        function, f"ratio from {first}", lambda f: _knot_ratio(torch.as_tensor(f.knots[first:]))
    )


def _knot_ratio(knots: torch.Tensor) -> torch.Tensor:
    return (knots[1:] / knots[:-1]).amax()


def geometric(low: float, high: float, pieces: int) -> Array:
    """(pieces + 1,) knots ``low (high/low)^(m/pieces)``.

    Raises:
        ValueError: unless ``0 < low < high`` and ``pieces >= 1``.
    """
    if not 0 < low < high < math.inf:
        raise ValueError(f"geometric knots need 0 < low < high, got low={low:g}, high={high:g}")
    _check_pieces(pieces)
    knots = low * (high / low) ** (np.arange(pieces + 1) / pieces)
    knots[-1] = high
    return knots


def uniform(low: float, high: float, pieces: int) -> Array:
    """(pieces + 1,) equally spaced knots.

    Raises:
        ValueError: unless ``low < high`` are finite and ``pieces >= 1``.
    """
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"uniform knots need finite low < high, got low={low:g}, high={high:g}")
    _check_pieces(pieces)
    return np.linspace(low, high, pieces + 1)


def chords(
    curve: Curve, knots: Array, anchor: int = -1, inputs: tuple[float, float] | None = None
) -> PiecewiseLinear:
    """The chord interpolant of ``curve`` at ``knots``, held constant outside them.

    Args:
        curve: function to approximate.
        knots: increasing, at least two.
        anchor: index of the knot from which the hinges open (default: the right end).
        inputs: interval in which the arguments will lie (default: from the first knot to the last). It
            may reach beyond the knots, where the function is held.

    Raises:
        ValueError: knots that do not increase, or a value of the curve that is not finite.
    """
    if len(knots) < 2 or not bool(np.all(np.diff(knots) > 0)):
        raise ValueError(f"knots must increase and be at least two, got {len(knots)} from {knots[0]:g}")
    values = curve.value(knots)
    if not bool(np.isfinite(values).all()):
        raise ValueError(f"{curve.name} is not finite on the knots from {knots[0]:g} to {knots[-1]:g}")
    anchor = range(len(knots))[anchor]
    padded = np.concatenate([[0.0], np.diff(values) / np.diff(knots), [0.0]])
    # padded[m] and padded[m + 1] are the slopes left and right of knot m: a hinge makes the change.
    left = np.append(padded[1 : anchor + 1], 0.0) - padded[: anchor + 1]
    right = np.diff(padded[anchor + 1 :], prepend=0.0)
    weights = np.concatenate([left, right])
    hinges = np.concatenate([knots[: anchor + 1], knots[anchor:]])
    signs = np.concatenate([-np.ones(len(left)), np.ones(len(right))])
    keep = weights != 0
    inputs = (float(knots[0]), float(knots[-1])) if inputs is None else inputs
    return PiecewiseLinear(curve, knots, values, anchor, inputs, hinges[keep], signs[keep], weights[keep])


def _check_pieces(pieces: int) -> None:
    if isinstance(pieces, bool) or not isinstance(pieces, int) or pieces < 1:
        raise ValueError(f"pieces is {pieces!r}; it is a whole number, at least 1")
