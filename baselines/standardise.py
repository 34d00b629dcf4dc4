"""Columns in units of their own spread, and which of them have any."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def standardised(X: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Columns less their average, over their standard deviation: (N, d) -> (N, d') and those kept, (d,).

    X is finite, the deviation that with divisor N. Constant columns are left out: those whose largest value
    is their least, and no others, as the deviation of N equal numbers from their rounded average is seldom
    0. The rest are first measured from the least value in units of the range, which numbers of any size
    survive. ValueError where a range overflows.
    """
    least, most = X.min(0), X.max(0)
    kept = most > least
    with np.errstate(over="ignore"):
        span = (most - least)[kept]
    if not np.isfinite(span).all():
        worst = float(np.abs(X).max())
        raise ValueError(f"a value of size {worst:g} is too large to standardise; scale the data")
    with np.errstate(over="ignore"):  # older numpy says so of quotients of subnormal numbers, at most 1 here
        part = (X[:, kept] - least[kept]) / span
    return (part - part.mean(0)) / part.std(0), kept
