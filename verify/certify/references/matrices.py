"""Symmetric matrices in balls: pivots, roots, determinants, the least eigenvalue."""

from __future__ import annotations

from collections.abc import Iterator

from verify.balls.flint import arb, arb_mat
from verify.balls.spaces import inverse, leading_space
from verify.certify.references.decisions import above


def products(A: arb_mat, B: arb_mat) -> arb_mat:
    """Entry by entry."""
    return arb_mat(A.nrows(), A.ncols(), [a * b for a, b in zip(A.entries(), B.entries(), strict=True)])


def pivots(S: arb_mat) -> Iterator[arb]:
    """D of ``S = L D L^T``, one at a time, L unit lower triangular; only the lower triangle of S is read.

    S is positive definite where all are positive. While none is 0, as many are positive as eigenvalues are
    (Sylvester).
    """
    rows = S.tolist()
    for j, row in enumerate(rows):
        yield row[j]
        for i in range(j + 1, len(rows)):
            factor = rows[i][j] / row[j]
            for k in range(j + 1, i + 1):
                rows[i][k] -= factor * rows[k][j]


def inverse_and_log_determinant(S: arb_mat) -> tuple[arb_mat, arb]:
    """``S^-1`` and ``log det S = log det(P S) - log det P`` of a positive definite S, P the midpoint of S^-1.

    P S is nearly I: its elimination does not widen balls.

    Raises:
        Undecided: as :func:`verify.balls.spaces.inverse`.
    """
    found = inverse(S)
    P = found.mid()
    return found, (P * S).det().log() - P.det().log()


def ones(height: int, width: int) -> arb_mat:
    """1 everywhere."""
    return arb_mat(height, width, [1] * (height * width))


def inverse_root(S: arb_mat) -> arb_mat:
    """``L^-1`` of ``S = L L^T``, L lower triangular.

    Raises:
        Undecided: as :func:`above` of a pivot with 0. ValueError: S is not positive definite.
    """
    size = S.nrows()
    L = arb_mat(size, size)
    for j in range(size):
        pivot = S[j, j] - sum((L[j, k] * L[j, k] for k in range(j)), arb(0))
        if not above(pivot, arb(0)):
            raise ValueError(f"pivot {j} is {pivot}; a positive definite matrix is needed")
        L[j, j] = pivot.sqrt()
        for i in range(j + 1, size):
            L[i, j] = (S[i, j] - sum((L[i, k] * L[j, k] for k in range(j)), arb(0))) / L[j, j]
    return inverse(L)


def least_eigenvalue(M: arb_mat) -> arb:
    """The smallest eigenvalue of a symmetric matrix.

    Raises:
        Undecided: as :func:`verify.balls.spaces.leading_space`, where it is not simple.
    """
    return M[0, 0] if M.nrows() == 1 else leading_space(M, M.nrows() - 1)[1][0, 0]
