"""Symmetric matrices of chosen eigenvalues, and what is asked of matrices of balls."""

import numpy as np

from verify.balls.flint import arb_mat

DIGITS = 200
"""Of mpmath, of which fewer than 50 are lost here: no radius of a 192-bit ball is below 1e-100."""


def symmetric(values, seed=0) -> np.ndarray:
    """A float64 matrix with about these eigenvalues."""
    q = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(values), len(values))))[0]
    found = q @ np.diag(values) @ q.T
    return np.tril(found) + np.tril(found, -1).T


def holds_zero(A: arb_mat) -> bool:
    return all(x.contains(0) for x in A.entries())


def widest(A: arb_mat) -> float:
    return max(float(x.rad()) for x in A.entries())
