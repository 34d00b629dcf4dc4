"""Inverse covariances in scikit-learn's shapes, and covariances from inverses that somebody gives.

For variances s the precision is 1/s and its root s^(-1/2). For matrices S = L L^T, L lower triangular,

    S^-1 = P P^T,   P = L^-T upper triangular,

which is what scikit-learn calls precisions_cholesky_.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
MATRICES = ("tied", "full")


def precisions_cholesky(covariances: Array, covariance_type: str) -> Array:
    """P of covariances in scikit-learn's shapes, any batch in front, in their dtype; NaN where they are."""
    exact = covariances.astype(np.float64, copy=False)
    if covariance_type not in MATRICES:
        return (exact**-0.5).astype(covariances.dtype, copy=False)
    d = exact.shape[-1]
    known = np.isfinite(exact).all((-2, -1), keepdims=True)
    usable = np.where(known, exact, np.eye(d))
    roots = np.linalg.inv(np.linalg.cholesky(usable)).swapaxes(-1, -2)
    return np.where(known, np.triu(roots), np.nan).astype(covariances.dtype, copy=False)


def precisions(covariances: Array, covariance_type: str) -> Array:
    """S^-1 of covariances in scikit-learn's shapes, any batch in front, in their dtype."""
    exact = covariances.astype(np.float64, copy=False)
    if covariance_type not in MATRICES:
        return (1 / exact).astype(covariances.dtype, copy=False)
    P = precisions_cholesky(exact, covariance_type)
    return (P @ P.swapaxes(-1, -2)).astype(covariances.dtype, copy=False)


def covariances_of(name: str, given: Array, covariance_type: str) -> Array:
    """The covariances whose inverses are `given` (..., scikit-learn's shape), symmetric for matrices.

    ValueError unless they are finite and positive, matrices symmetric within sqrt(eps) of their largest entry
    and positive definite.
    """
    _refuse(name, given, ~np.isfinite(given), "finite values")
    if covariance_type not in MATRICES:
        _refuse(name, given, ~(given > 0), "values > 0")
        return 1 / given
    gap = np.abs(given - given.swapaxes(-1, -2)).max((-2, -1))
    if (gap > np.finfo(np.float64).eps ** 0.5 * np.abs(given).max((-2, -1))).any():
        raise ValueError(f"{name} differs from its transpose by {gap.max():.3g}, needs symmetric matrices")
    try:
        roots = np.linalg.inv(np.linalg.cholesky(given))
    except np.linalg.LinAlgError:
        raise ValueError(f"{name} is not positive definite, needs positive definite matrices") from None
    return roots.swapaxes(-1, -2) @ roots


def _refuse(name: str, given: Array, bad: NDArray[np.bool_], wanted: str) -> None:
    if bad.any():
        place = [int(i) for i in np.argwhere(bad)[0]]
        raise ValueError(f"{name}{place} is {given[tuple(place)]}, needs {wanted}")
