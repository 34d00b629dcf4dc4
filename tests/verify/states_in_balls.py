"""What tests of the references in balls share."""

from collections.abc import Callable

import mpmath
import numpy as np

from verify.balls.flint import Undecided, arb, precision
from verify.certify.references.decisions import Balls


def decided(states: Callable[..., dict[str, Balls]], *given, **options) -> dict[str, Balls]:
    """At the first precision that decides."""
    for bits in (128, 256, 512, 1024, 2048):
        try:
            with precision(bits):
                return states(*given, **options)
        except Undecided:
            continue
    raise AssertionError("undecided at 2048 bits")


def finite(states: Balls) -> np.ndarray:
    """Which balls are numbers."""
    return np.array([x.is_finite() for x in states.flat]).reshape(states.shape)


def ball_of(x) -> arb:
    """A number of mpmath, exactly."""
    sign, mantissa, exponent, _ = mpmath.mpf(x)._mpf_
    with precision(2048):
        return (-1 if sign else 1) * arb(int(mantissa)) * arb(2) ** exponent
