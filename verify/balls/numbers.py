"""Operations on single balls with the conventions of IEEE arithmetic at infinities, zeros and NaN.

Where a ball says too little (a quotient by a ball around 0), the result is EVERY_NUMBER: an infinite radius,
which no comparison decides.
"""

from __future__ import annotations

import math
from fractions import Fraction

from verify.balls.flint import Undecided, arb

INFINITY, NOT_A_NUMBER = arb("inf"), arb("nan")
EVERY_NUMBER = arb(0, math.inf)
ZERO, ONE = arb(0), arb(1)


def fraction(x: arb) -> Fraction:
    """An exact ball as the dyadic rational that it is."""
    mantissa, exponent = map(int, x.man_exp())
    return Fraction(mantissa) * Fraction(2) ** exponent


def ends(x: arb) -> tuple[float, float]:
    """Floats ``low <= x <= high``, the nearest such; -inf and inf where nothing is known."""
    if x.is_nan():
        return -math.inf, math.inf
    return _outward(x.lower(), -math.inf), _outward(x.upper(), math.inf)


def _outward(end: arb, to: float) -> float:
    if not end.is_finite():
        return float(end) if not end.is_nan() else to
    near = float(end.mid())
    beyond = end > near if to > 0 else end < near
    return math.nextafter(near, to) if beyond or (math.isinf(near) and near != to) else near


def infinite(x: arb) -> bool:
    """Whether x is an infinity: a finite radius beside it, as a difference leaves one, says nothing."""
    return not x.is_finite() and not x.is_nan() and x.rad().is_finite()


def quotient(a: arb, b: arb) -> arb:
    """``a / b``; by an exact 0 it is an infinity of the sign of a, and NaN of 0 / 0."""
    if a.is_nan() or b.is_nan():
        return NOT_A_NUMBER
    if b.is_zero():
        return NOT_A_NUMBER if a.is_zero() else INFINITY if a > 0 else -INFINITY if a < 0 else EVERY_NUMBER
    if b.is_finite():
        return EVERY_NUMBER if b.contains(0) else a / b
    if infinite(b):
        return ZERO if a.is_finite() else NOT_A_NUMBER if infinite(a) else EVERY_NUMBER
    return EVERY_NUMBER


def square(x: arb) -> arb:
    """``x^2``, which is not negative."""
    if x.is_finite():
        return (x * x).nonnegative_part()
    return INFINITY if infinite(x) else x


def root(x: arb) -> arb:
    """``sqrt(x)`` of what x holds from 0 on; NaN of a ball below 0."""
    if x.is_finite():
        return NOT_A_NUMBER if x < 0 else x.nonnegative_part().sqrt()
    return INFINITY if x == INFINITY else NOT_A_NUMBER if x.is_nan() or x < 0 else EVERY_NUMBER


def logarithm(x: arb) -> arb:
    """``log(x)``; -inf of an exact 0, NaN of a ball below 0."""
    if x.is_zero():
        return -INFINITY
    if x > 0:
        return x.log() if x.is_finite() else x
    return NOT_A_NUMBER if x < 0 or x.is_nan() else EVERY_NUMBER


def exponential(x: arb) -> arb:
    """``exp(x)``."""
    return x.exp() if x.is_finite() else _at_the_ends(x, arb.exp)


def exponential_less_one(x: arb) -> arb:
    """``exp(x) - 1``."""
    return x.expm1() if x.is_finite() else _at_the_ends(x, arb.expm1)


def _at_the_ends(x: arb, increasing) -> arb:
    if x == INFINITY:
        return INFINITY
    if x == -INFINITY:
        return increasing(-INFINITY)
    return NOT_A_NUMBER if x.is_nan() else EVERY_NUMBER


def log_one_more(x: arb) -> arb:
    """``log(1 + x)``."""
    if x.is_finite() and x > -1:
        return x.log1p()
    return logarithm(1 + x)


def log_sigmoid(x: arb) -> arb:
    """``-log(1 + exp(-x))``; 0 at inf, x where x is far below 0."""
    if x == INFINITY:
        return ZERO
    if not x.is_finite():
        return -INFINITY if x == -INFINITY else NOT_A_NUMBER if x.is_nan() else EVERY_NUMBER
    return -((-x).exp().log1p()) if x > 0 else x - x.exp().log1p()


def larger(a: arb, b: arb) -> arb:
    """The larger one; NaN where one is NaN."""
    if a.is_finite() and b.is_finite():
        return a.max(b)
    if a.is_nan() or b.is_nan():
        return NOT_A_NUMBER
    if a == INFINITY or b == INFINITY:
        return INFINITY
    return b if a == -INFINITY else a if b == -INFINITY else EVERY_NUMBER


def smaller(a: arb, b: arb) -> arb:
    """The smaller one; NaN where one is NaN."""
    return -larger(-a, -b)


def less(a: arb, b: arb) -> bool:
    """``a < b``; False of NaN.

    Raises:
        Undecided: the balls overlap.
    """
    if a < b:
        return True
    if a >= b or a.is_nan() or b.is_nan():
        return False
    raise Undecided


def no_more(a: arb, b: arb) -> bool:
    """``a <= b``, likewise."""
    if a <= b:
        return True
    if a > b or a.is_nan() or b.is_nan():
        return False
    raise Undecided


def same(a: arb, b: arb) -> bool:
    """``a == b``, likewise."""
    if a.is_nan() or b.is_nan() or not a.overlaps(b):
        return False
    if a.is_exact() and b.is_exact():
        return bool(a == b)
    raise Undecided
