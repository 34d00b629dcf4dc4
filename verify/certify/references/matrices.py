"""Symmetric matrices in balls: pivots, and the space of the largest eigenvalues."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verify.balls.flint import Undecided, arb, arb_mat
from verify.certify.references.decisions import Vector, above


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


def inverse(S: arb_mat) -> arb_mat:
    """``S^-1``.

    Raises:
        Undecided: the balls hold a singular matrix, or elimination cannot tell.
    """
    size = S.nrows()
    try:
        return S.solve(identity(size), algorithm="precond")
    except ZeroDivisionError:
        raise Undecided("a matrix cannot be told from a singular one") from None


def inverse_and_log_determinant(S: arb_mat) -> tuple[arb_mat, arb]:
    """``S^-1`` and ``log det S = log det(P S) - log det P`` of a positive definite S, P the midpoint of S^-1.

    P S is nearly I: its elimination does not widen balls.

    Raises:
        Undecided: as :func:`inverse`.
    """
    found = inverse(S)
    P = found.mid()
    return found, (P * S).det().log() - P.det().log()


def ones(height: int, width: int) -> arb_mat:
    """1 everywhere."""
    return arb_mat(height, width, [1] * (height * width))


def identity(size: int) -> arb_mat:
    """I."""
    return arb_mat(size, size, [int(i == j) for i in range(size) for j in range(size)])


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


def leading_space(M: arb_mat, count: int) -> tuple[arb_mat, arb_mat]:
    """A basis of the space of the ``count`` largest eigenvalues, and a matrix that has the other ones.

    Q holds the eigenvectors that float64 finds, falling, ``A = Q^-1 M Q`` in blocks. The columns of
    ``Q [I; X]`` span an invariant space where X is a fixed point of

        Phi(X)_ij = (A21 + (A22 - D2) X - X (A11 - D1) - X A12 X)_ij / (D1_j - D2_i),

    D1 and D2 the diagonals. Phi maps a box of X into itself, so one lies in it (Brouwer), and in every image
    of the box; images shrink until rounding stops them. M has the eigenvalues of ``A11 + A12 X``, on the
    space, and of ``A22 - X A12``; Gershgorin's discs of the first lie above those of the second.

    Args:
        M: (d, d), symmetric. count: from 1 to d - 1.

    Returns:
        (d, count), and ``A22 - X A12``.

    Raises:
        Undecided: the two groups of eigenvalues are too close for float64's Q.
    """
    size = M.nrows()
    rest = size - count
    found = np.linalg.eigh(np.array([float(x.mid()) for x in M.entries()]).reshape(size, size))[1]
    Q = arb_mat(found[:, ::-1].tolist())
    A = inverse(Q) * M * Q
    A11, A12 = _block(A, 0, 0, count, count), _block(A, 0, count, count, rest)
    A21, A22 = _block(A, count, 0, rest, count), _block(A, count, count, rest, rest)
    first, last = ([B[i, i].mid() for i in range(B.nrows())] for B in (A11, A22))
    E1, E2 = A11 - _diagonal(first), A22 - _diagonal(last)
    gaps = [[high - low for high in first] for low in last]
    if not all(gap > 0 for row in gaps for gap in row):
        raise Undecided("float64 does not tell the groups of eigenvalues apart")

    def image(X: arb_mat) -> arb_mat:
        right = A21 + E2 * X - X * E1 - X * A12 * X
        return arb_mat([[right[i, j] / gaps[i][j] for j in range(count)] for i in range(rest)])

    reach = 2 * max(x.abs_upper() for x in image(arb_mat(rest, count)).entries())
    box = arb_mat(rest, count, [arb(0, reach)] * (rest * count))
    X = image(box)
    if not box.contains(X):
        raise Undecided("the space of the largest eigenvalues is too close to others")
    while _radius(closer := image(X)) < _radius(X) / 2:
        X = closer
    top, others = A11 + A12 * X, A22 - X * A12
    # min and max would compare balls that overlap.
    if not all(c - r > low + reach for c, r in _discs(top) for low, reach in _discs(others)):
        raise Undecided("the groups of eigenvalues cannot be told apart")
    return Q * arb_mat(identity(count).tolist() + X.tolist()), others


def least_eigenvalue(M: arb_mat) -> arb:
    """The smallest eigenvalue of a symmetric matrix.

    Raises:
        Undecided: as :func:`leading_space`, where it is not simple.
    """
    return M[0, 0] if M.nrows() == 1 else leading_space(M, M.nrows() - 1)[1][0, 0]


def _block(A: arb_mat, top: int, left: int, height: int, width: int) -> arb_mat:
    return arb_mat([[A[top + i, left + j] for j in range(width)] for i in range(height)])


def _diagonal(values: Vector) -> arb_mat:
    return arb_mat([[x if i == j else arb(0) for j in range(len(values))] for i, x in enumerate(values)])


def _radius(X: arb_mat) -> arb:
    return max(x.rad() for x in X.entries())


def _discs(A: arb_mat) -> list[tuple[arb, arb]]:
    """Centre and radius of each of Gershgorin's discs."""
    rows = A.tolist()
    return [
        (row[i], sum((abs(x) for j, x in enumerate(row) if j != i), arb(0))) for i, row in enumerate(rows)
    ]
