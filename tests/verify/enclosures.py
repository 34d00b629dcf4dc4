"""Whether intervals hold what balls do."""

import math
from collections.abc import Callable

from torch import Tensor

from verify.balls.arithmetic import ball_arithmetic
from verify.balls.array import entries_of
from verify.balls.flint import arb
from verify.intervals.arithmetic import interval_arithmetic
from verify.intervals.array import Intervals, intervals

BITS = 256


def three(formula: Callable[..., Tensor], *given: Tensor) -> tuple[Intervals, Tensor, Tensor]:
    """In intervals, in balls and in floats."""
    with interval_arithmetic():
        found = formula(*given)
    with ball_arithmetic(BITS):
        exact = formula(*given)
    return intervals(found), exact, formula(*given)


def unheld(found: Tensor, exact: Tensor, floats: Tensor) -> list[tuple[float, float, str]]:
    """Intervals that do not hold the ball at their place: ends and ball.

    Where a ball says nothing (NaN, or any number), the interval must hold what float64 gives, unless it says
    nothing either.
    """
    x = intervals(found)
    lows, highs, near = (part.reshape(-1).tolist() for part in (x.low, x.high, floats.double()))
    balls = entries_of(exact)
    assert len(lows) == len(balls) == len(near)
    return [
        (low, high, str(ball))
        for low, high, ball, value in zip(lows, highs, balls, near, strict=True)
        if not _held(low, high, ball, value)
    ]


def _held(low: float, high: float, ball: arb, value: float) -> bool:
    if low == -math.inf and high == math.inf:
        return True
    if ball.is_nan() or not (ball.is_finite() or ball.is_exact()):
        return low <= value <= high or (math.isnan(value) and math.isnan(low) and math.isnan(high))
    return not (ball < arb(low)) and not (ball > arb(high)) and not math.isnan(low) and not math.isnan(high)
