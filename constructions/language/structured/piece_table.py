"""A piecewise-linear function by finding the piece: one multiply-add from stored numbers.

    f(x) = v_m + c_m (x - t_m)            m the piece that x lies in

with ``t_m`` the knot of the piece nearer to the anchor, ``v_m`` the value there and ``c_m`` the slope. In
exact arithmetic it is the sum of hinges that the MLP computes: both are linear between two knots and agree
at the knots. Its rounding stays within ``PiecewiseLinear.rounding_error_at``
(paper_notes/structured_evaluation.md, lemma 2).
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from constructions.language.curves import Array
from constructions.language.piecewise import PiecewiseLinear
from constructions.language.shown import short_repr

MOST_BUCKETS = 2**20
"""A bucket table larger than that is not built: the pieces are then found by bisection."""


def stored_numbers(f: PiecewiseLinear) -> tuple[Array, Array, Array]:
    """Knot, value and slope, (M + 2,) each; piece 0 and piece M + 1 lie outside the knots, with slope 0."""
    ends = np.arange(f.pieces)
    near = np.where(ends < f.anchor, ends + 1, ends)
    near = np.concatenate([[0], near, [f.pieces]])
    return f.knots[near], f.values[near], np.concatenate([[0.0], f.slopes, [0.0]])


@dataclass(frozen=True)
class BucketMap:
    """A cheap map from numbers to buckets 0, .., last that never falls where x grows, as computed.

    What is no number goes to bucket 0 or the last; its value stays none.

    Attributes:
        by_bits: the bucket is the leading bits of a positive x; otherwise it is ``(x - low) scale``.
        low, scale: of the linear map. shift, lowest: of the bits.
    """

    by_bits: bool
    low: float
    scale: float
    shift: int
    lowest: int
    last: int

    def __call__(self, x: Tensor) -> Tensor:
        """(n,) -> (n,) whole numbers of type int32 or int64."""
        if self.by_bits:
            leading = (_bits(x) >> self.shift).clamp_(self.lowest, self.lowest + self.last)
            return leading.sub_(self.lowest)
        place = ((x - self.low) * self.scale).clamp_(0, self.last)
        return place.nan_to_num_(nan=0.0).to(torch.int32)


@dataclass(frozen=True, eq=False)
class Buckets:
    """Buckets that hold at most one knot each.

    ``before[b] + (x >= knot[b])`` is then the number of knots up to x: since the map is monotone, knots of
    lower buckets lie below x and those of higher ones above it.

    Attributes:
        bucket: the map. before: knots in lower buckets. knot: the knot inside, or NaN, which no x reaches.
    """

    bucket: BucketMap
    before: Tensor
    knot: Tensor

    __repr__ = short_repr

    def piece(self, x: Tensor) -> Tensor:
        """(n,) -> (n,) how many knots are at most x."""
        at = self.bucket(x)
        return self.before.index_select(0, at) + (x >= self.knot.index_select(0, at))


def buckets_for(knots: Tensor) -> Buckets | None:
    """Buckets for increasing knots; None where none of moderate number is found, or for other dtypes.

    The dtypes are float32 and float64.
    """
    if knots.dtype not in (torch.float32, torch.float64):
        return None
    for bucket in _maps(knots):
        held = bucket(knots).to(torch.int64)
        inside = torch.bincount(held, minlength=bucket.last + 1)
        if int(inside.max()) <= 1:
            before = (inside.cumsum(0) - inside).to(torch.int32)
            knot = torch.full_like(inside, torch.nan, dtype=knots.dtype)
            knot[held] = knots
            return Buckets(bucket, before, knot)
    return None


def _maps(knots: Tensor) -> Iterator[BucketMap]:
    """Maps to try, from few buckets to many."""
    low, high = float(knots[0]), float(knots[-1])
    for doublings in range(8):
        number = len(knots) << doublings
        if low > 0:
            first, last = _bits(knots[[0, -1]]).tolist()
            shift = max((last - first).bit_length() - number.bit_length(), 0)
            if (last >> shift) - (first >> shift) < MOST_BUCKETS:
                yield BucketMap(True, 0.0, 0.0, shift, first >> shift, (last >> shift) - (first >> shift))
        scale = float(torch.tensor(number / (high - low), dtype=torch.float64).to(knots.dtype))
        if number < MOST_BUCKETS and math.isfinite(scale):
            yield BucketMap(False, low, scale, 0, 0, number)


def _bits(x: Tensor) -> Tensor:
    """The bits of x as whole numbers, which grow with a positive x."""
    return x.view(torch.int64 if x.dtype == torch.float64 else torch.int32)


class PieceTable:
    """``f`` in ``dtype``: knots, values and slopes are rounded to it once."""

    def __init__(self, f: PiecewiseLinear, dtype: torch.dtype, device: torch.device | str) -> None:
        knots = torch.as_tensor(f.knots).to(dtype)
        self.knots = knots.to(device)
        self.near, self.value, self.slope = (
            torch.as_tensor(part).to(dtype).to(device) for part in stored_numbers(f)
        )
        self.buckets = buckets_for(self.knots) if len(torch.unique(knots)) == len(knots) else None

    def __call__(self, x: Tensor) -> Tensor:
        """``f(x)``, any shape."""
        flat = x.reshape(-1).to(self.knots.dtype)  # under autocast x may have fewer digits
        if self.buckets is None:
            piece = torch.searchsorted(self.knots, flat, right=True)
        else:
            piece = self.buckets.piece(flat)
        slope, near, value = (part.index_select(0, piece) for part in (self.slope, self.near, self.value))
        return torch.addcmul(value, slope, flat - near).view(x.shape)


class ExactPieces:
    """``f`` at fractions: its stored knots and values are taken as they are, its slopes follow from them."""

    def __init__(self, f: PiecewiseLinear) -> None:
        self.knots = [Fraction(float(t)) for t in f.knots]
        self.values = [Fraction(float(v)) for v in f.values]

    def __call__(self, x: NDArray[np.object_]) -> NDArray[np.object_]:
        """``f(x)``, any shape."""
        return np.vectorize(self._one, otypes=[object])(x)

    def _one(self, x: Fraction) -> Fraction:
        right = bisect.bisect_right(self.knots, x)
        if right in (0, len(self.knots)):
            return self.values[max(right - 1, 0)]
        (t, u), (v, w) = self.knots[right - 1 : right + 1], self.values[right - 1 : right + 1]
        return v + (w - v) * (x - t) / (u - t)
