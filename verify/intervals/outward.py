"""Ends rounded outward, of operations that float64 rounds correctly and of functions within so many ulp.

u = 2^-53, y the result in float64 of an operation whose value is t, succ and pred the neighbours of y.

*Correctly rounded* (IEEE 754: + - * / sqrt). No float is nearer to t than y, so ``pred(y) <= t <= succ(y)``,
subnormal results included; where t is beyond the largest float, y is infinite, and its neighbour towards 0 is
the largest float, which is nearer to 0 than t. So the neighbours are ends.

*Without a look at bits.* For ``|y| >= 2^-1022`` the number ``2^-52 |y|`` is at least the distance to both
neighbours. Rounding is monotone and the neighbours are floats, so ``y - 2^-52 |y|`` and ``y + 2^-52 |y|`` as
float64 gives them lie on them or beyond, at most two units away. A sum below 2^-1022 is exact (it is a
multiple of the smallest subnormal number), and so is a product with a factor 0: these keep their value, and
an exact 0 stays one. Products and quotients that may have underflowed take their neighbours.

*Functions.* torch's exp, log, expm1, log1p, tanh, sinh and cosh in float64 on a CPU are assumed within ULPS
= 2 units in the last place of t where that is a normal number, as (A2) of lemma 6 in
paper_notes/theorem_1_em.md has exp and log, and otherwise off by at most 2^-1022 (a result below it may be
flushed to 0). A unit of t is at most ``2^-52 |t|``, so ``|y - t| <= 2^-51 |t|``, hence ``|t| <= |y| / (1 -
2^-51)`` and ``|y - t| < 2^-50 |y|``, with room for the rounding of ``y +- (2^-50 |y| + 2^-1022)``. Tests
compare them with balls at many points.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

UNIT = 2.0**-52
MORE, LESS = 1 + UNIT, 1 - UNIT
"""What is not negative is rounded outward by a product with them: ``y MORE`` is ``y + 2^-52 y``, rounded."""
SMALL = 2.0**-1021
SUBNORMAL = 2.0**-1074
ULPS = 2
OF_FUNCTIONS = 2.0 * ULPS * UNIT
FLUSHED = 2.0**-1022


def up(y: Tensor) -> Tensor:
    """The next float above."""
    return torch.nextafter(y, torch.full_like(y, math.inf))


def down(y: Tensor) -> Tensor:
    """The next float below."""
    return torch.nextafter(y, torch.full_like(y, -math.inf))


def above_sum(y: Tensor) -> Tensor:
    """At least the real sum of which y is the rounded one, y finite."""
    return torch.add(y, y.abs(), alpha=UNIT)


def below_sum(y: Tensor) -> Tensor:
    """At most the real sum of which y is the rounded one, y finite."""
    return torch.sub(y, y.abs(), alpha=UNIT)


def nothing_below(x: Tensor, least: float) -> bool:
    """Whether no entry is below ``least``, or NaN."""
    return not x.numel() or float(x.min()) >= least


def regular(sizes: Tensor) -> bool:
    """Whether all absolute values are finite and not so small that a product may have underflowed."""
    if not sizes.numel():
        return True
    least, largest = torch.aminmax(sizes)
    return float(least) >= SMALL and float(largest) < math.inf


def finite(y: Tensor) -> bool:
    """Whether all are finite (or so large that their sum is not: then False)."""
    return math.isfinite(float(y.abs().sum()))


def above_function(y: Tensor) -> Tensor:
    """At least the value of which y is within ULPS units; of -inf the lowest float, of inf itself."""
    found = torch.add(y, y.abs(), alpha=OF_FUNCTIONS) + FLUSHED
    return found if finite(y) else torch.where(y.isinf(), up(y), found)


def below_function(y: Tensor) -> Tensor:
    """At most the value of which y is within ULPS units; of inf the largest float, of -inf itself."""
    found = torch.sub(y, y.abs(), alpha=OF_FUNCTIONS) - FLUSHED
    return found if finite(y) else torch.where(y.isinf(), down(y), found)
