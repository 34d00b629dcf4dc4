"""Inverses, factors, eigenvalues and norms of matrices of intervals: float64 guesses, then what proves them.

*Inverse.* With any R, and E = I - R A in intervals, ``|E|_inf <= eta < 1`` makes R A regular, and
``A^-1 - R = (I - E)^-1 E R``: column j is off by at most ``eta / (1 - eta) max_i |R_ij|``.

*Eigenvalues of a symmetric A.* With any V and ``V^T V = I + F``, ``|F|_inf <= f < 1``, those of ``V^T A V``,
in order, are those of A times factors in [1 - f, 1 + f] (Ostrowski). They are no further from its sorted
diagonal than the largest row sum of the rest of it (Weyl). LAPACK's V makes both small; nothing is assumed
of it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from verify.enclosure.refusals import Undecided
from verify.intervals.array import Intervals, NotInIntervalsError, intervals
from verify.intervals.choices import middles, smaller
from verify.intervals.entrywise import absolute, add, divide, multiply, root, square, subtract
from verify.intervals.products import product
from verify.intervals.sums import total, vector_norm


def inverse(A: Tensor) -> Intervals:
    """Of matrices.

    Raises:
        Undecided: one that may be singular.
    """
    A = intervals(A)
    guess = torch.linalg.inv_ex(middles(A))[0]
    guess = torch.where(guess.isfinite(), guess, 0.0)
    share = _share(A, guess)
    radius = multiply(share, guess.abs().amax(-2, keepdim=True)).high
    return add(guess, Intervals.of(-radius, radius))


def _share(A: Intervals, guess: Tensor) -> Intervals:
    """``eta / (1 - eta)``, (..., 1, 1)."""
    identity = torch.eye(guess.shape[-1], dtype=torch.float64)
    off = _row_sums(subtract(identity, product(guess, A)))[..., None, None]
    if not bool((off < 1).all()):
        raise Undecided("a matrix may be singular")
    return divide(off, subtract(1.0, off))


def _row_sums(x: Tensor) -> Tensor:
    """The largest sum of absolute values of a row, rounded up."""
    return total(absolute(x), -1).high.amax(-1)


def solved(A: Tensor, b: Tensor) -> tuple[Intervals, Tensor]:
    """``(A^-1 b, 0)`` as torch.linalg.solve_ex: a guess, and A^-1 times what it leaves.

    Raises:
        Undecided: an A that may be singular.
    """
    A, b = intervals(A), intervals(b)
    guess = torch.linalg.solve_ex(middles(A), middles(b))[0]
    guess = torch.where(guess.isfinite(), guess, 0.0)
    found = add(guess, product(inverse(A), subtract(b, product(A, guess))))
    return found, torch.zeros(A.low.shape[:-2], dtype=torch.int32)


def triangular_solved(A: Tensor, b: Tensor, upper: bool) -> Intervals:
    """``torch.linalg.solve_triangular``."""
    return solved(A, b)[0]


def cholesky(A: Tensor) -> Intervals:
    """The lower triangular factor; nothing is known of it where a pivot may not be positive."""
    A = intervals(A)
    n = A.low.shape[-1]
    zero = intervals(torch.zeros(A.low.shape[:-2], dtype=torch.float64))
    found: list[list[Any]] = [[zero] * n for _ in range(n)]

    def rest(i: int, j: int) -> Intervals:
        left = intervals(A[..., i, j])
        for m in range(j):
            term = square(found[j][m]) if i == j else multiply(found[i][m], found[j][m])
            left = subtract(left, term)
        return left

    for j in range(n):
        pivot = rest(j, j)
        sure = pivot.low > 0
        ends = root(pivot)
        found[j][j] = Intervals.of(
            torch.where(sure, ends.low, -torch.inf), torch.where(sure, ends.high, torch.inf)
        )
        for i in range(j + 1, n):
            found[i][j] = divide(rest(i, j), found[j][j])
    rows: list[Tensor] = [torch.stack([*row], -1) for row in found]
    return intervals(torch.stack(rows, -2))


def eigenvalues(A: Tensor) -> Intervals:
    """Of symmetric matrices, ascending; nothing is known of those with entries that are not finite."""
    A = intervals(A)
    middle = middles(A)
    known = (A.low.isfinite() & A.high.isfinite()).all(-1).all(-1)
    V = torch.linalg.eigh(torch.where(known[..., None, None], middle, 0.0))[1]
    identity = torch.eye(V.shape[-1], dtype=torch.float64)
    turned = product(V.mT, product(A, V))
    diagonal = intervals(turned.diagonal(dim1=-2, dim2=-1))
    apart = _row_sums(multiply(turned, 1 - identity))[..., None]
    low = diagonal.low.sort(-1).values
    high = diagonal.high.sort(-1).values
    near = add(Intervals.of(low, high), Intervals.of(-apart, apart))
    off = _row_sums(subtract(product(V.mT, V), identity))[..., None]
    found = divide(near, add(1.0, Intervals.of(-off, off)))
    sure = known[..., None] & (off < 1)
    ends = torch.where(sure, found.low, -torch.inf), torch.where(sure, found.high, torch.inf)
    return Intervals.of(*ends)


def matrix_norm(x: Tensor, order: Any = "fro", **named: Any) -> Intervals:
    """The spectral or Frobenius norm of the matrices in the last two dimensions.

    The first is the root of the largest eigenvalue of ``A^T A``, and at most the second.
    """
    order = named.pop("ord", order)
    if named:
        raise NotInIntervalsError(f"a norm of matrices with {named}")
    frobenius = vector_norm(x, 2, (-2, -1))
    if order == "fro":
        return frobenius
    if order != 2:
        raise NotInIntervalsError(f"a norm of order {order} of matrices")
    x = intervals(x)
    size = torch.maximum(x.low.abs(), x.high.abs()).amax((-2, -1), keepdim=True)
    size = torch.where((size > 0) & size.isfinite(), size, 1.0)
    scaled = divide(x, size)
    wide = x.low.shape[-2] < x.low.shape[-1]
    gram = product(scaled, scaled.mT) if wide else product(scaled.mT, scaled)
    largest = intervals(eigenvalues(gram)[..., -1])
    return smaller(multiply(root(largest), size[..., 0, 0]), frobenius)


def cholesky_inverse(factor: Tensor) -> Intervals:
    """The inverse of ``factor factor^T``."""
    return inverse(product(factor, intervals(factor).mT))
