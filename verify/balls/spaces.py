"""Eigenvectors, invariant spaces and singular values of balls, each enclosed by a proof.

Float64 finds eigenvectors Q, which are off; what encloses is a fixed point of the equation of an invariant
space (:func:`invariant_space`). Lemma 3 of paper_notes/certificates.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from verify.balls import numbers
from verify.balls.array import Balls, Entries, balls, shape_of
from verify.balls.flint import Undecided, arb, arb_mat
from verify.balls.lines import cholesky, eigenvalues, matrices, product, solved


def identity(size: int) -> arb_mat:
    """I."""
    return arb_mat(size, size, [int(i == j) for i in range(size) for j in range(size)])


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


def near_axes(M: arb_mat) -> arb_mat:
    """The eigenvectors of a symmetric matrix as float64 finds them, columns, eigenvalues falling."""
    size = M.nrows()
    found = np.linalg.eigh(np.array([float(x.mid()) for x in M.entries()]).reshape(size, size))[1]
    return arb_mat(found[:, ::-1].tolist())


def invariant_space(M: arb_mat, Q: arb_mat, at: Sequence[int]) -> tuple[arb_mat, arb_mat]:
    """A basis of the space of the eigenvalues at these places in falling order, and a matrix of the others.

    Q is :func:`near_axes`, ``A = Q^-1 M Q`` in blocks, the columns ``at`` first. The columns of ``Q [I; X]``
    span an invariant space where X is a fixed point of

        Phi(X)_ij = (A21 + (A22 - D2) X - X (A11 - D1) - X A12 X)_ij / (D1_j - D2_i),

    D1 and D2 the diagonals. Phi maps a box of X into itself, so one lies in it (Brouwer), and in every image
    of the box; images shrink until rounding stops them. M has the eigenvalues of ``A11 + A12 X``, on the
    space, and of ``A22 - X A12``; Gershgorin's discs of the two stand in the order of the columns, and a
    union of discs that meets no other holds as many eigenvalues as it has discs.

    Args:
        M: (d, d), symmetric. at: from 1 to d - 1 of the places 0 to d - 1.

    Returns:
        (d, len(at)), and ``A22 - X A12``.

    Raises:
        Undecided: the two groups of eigenvalues are too close for float64's Q.
    """
    size, count = M.nrows(), len(at)
    beside = [i for i in range(size) if i not in at]
    Q = _columns(Q, [*at, *beside])
    A = inverse(Q) * M * Q
    A11, A12 = _block(A, 0, 0, count, count), _block(A, 0, count, count, size - count)
    A21, A22 = _block(A, count, 0, size - count, count), _block(A, count, count, size - count, size - count)
    first, last = ([B[i, i].mid() for i in range(B.nrows())] for B in (A11, A22))
    E1, E2 = A11 - _diagonal(first), A22 - _diagonal(last)
    gaps = [[one - other for one in first] for other in last]
    if any(gap.is_zero() for row in gaps for gap in row):
        raise Undecided("float64 does not tell the groups of eigenvalues apart")

    def image(X: arb_mat) -> arb_mat:
        right = A21 + E2 * X - X * E1 - X * A12 * X
        return arb_mat([[right[i, j] / gaps[i][j] for j in range(count)] for i in range(size - count)])

    reach = 2 * max(x.abs_upper() for x in image(arb_mat(size - count, count)).entries())
    box = arb_mat(size - count, count, [arb(0, reach)] * ((size - count) * count))
    X = image(box)
    if not box.contains(X):
        raise Undecided("the space of some eigenvalues is too close to others")
    while _radius(closer := image(X)) < _radius(X) / 2:
        X = closer
    own, others = A11 + A12 * X, A22 - X * A12
    # min and max would compare balls that overlap.
    for i, (c, r) in zip(at, _discs(own), strict=True):
        for j, (other, radius) in zip(beside, _discs(others), strict=True):
            if not (c - r > other + radius if i < j else other - radius > c + r):
                raise Undecided("the groups of eigenvalues cannot be told apart")
    return Q * arb_mat(identity(count).tolist() + X.tolist()), others


def leading_space(M: arb_mat, count: int) -> tuple[arb_mat, arb_mat]:
    """:func:`invariant_space` of the ``count`` largest eigenvalues, from 1 to d - 1 of them."""
    return invariant_space(M, near_axes(M), range(count))


def leading_axes(x: Tensor, count: int) -> tuple[Balls, Balls, Balls]:
    """constructions.spectral.exact.leading_axes, for any M with ``count`` eigenvalues above 0 and the others.

    With U an orthonormal basis of the leading space near float64's eigenvectors and ``U^T M U = L L^T``:
    ``W = L^-1 U^T``. No single eigenvector is needed, so eigenvalues of one group may be equal.
    """
    vectors: Entries = []
    whitener: Entries = []
    for M in matrices(x):
        size, near = M.nrows(), near_axes(M)
        V = identity(size) if count == size else leading_space(M, count)[0]
        onto = V * inverse(V.transpose() * V) * V.transpose()
        U = orthonormal(onto * _columns(near, range(count)))
        rest = _columns(near, range(count, size))
        both = U if count == size else _beside(U, orthonormal(rest - onto * rest))
        vectors += both.entries()
        whitener += (_root(U.transpose() * M * U) * U.transpose()).entries()
    shape = shape_of(x)
    return (
        balls(spectrum(x).flip(-1)),
        Balls.of(vectors, shape),
        Balls.of(whitener, (*shape[:-2], count, shape[-1])),
    )


def orthonormal(V: arb_mat) -> arb_mat:
    """``V L^-T`` with ``V^T V = L L^T``: an orthonormal basis of the columns' space."""
    return V * _root(V.transpose() * V).transpose()


def spectrum(x: Tensor) -> Balls:
    """Eigenvalues of symmetric matrices, rising; multiple ones, which Arb may not find, by Weyl's inequality.

    With V orthonormal, ``V^T M V = D + E``, D its diagonal: the k-th eigenvalue of M is within ``|E|_F`` of
    the k-th of D. Float64 finds V, so this is no closer than 1e-15 of ``|M|`` with any bits.
    """
    found = eigenvalues(x)
    size = shape_of(x)[-1]
    entries = list(found.entries)
    for place, M in enumerate(matrices(x)):
        at = slice(place * size, (place + 1) * size)
        if not all(entry.is_finite() for entry in entries[at]):
            V = orthonormal(near_axes(M))
            A = (V.transpose() * M * V).tolist()
            beside = sum((A[i][j] * A[i][j] for i in range(size) for j in range(size) if i != j), arb(0))
            reach = arb(0, numbers.root(beside).upper())
            near = [A[i][i] + reach for i in range(size)]
            low, high = sorted(x.lower() for x in near), sorted(x.upper() for x in near)
            entries[at] = [a.union(b) for a, b in zip(low, high, strict=True)]
    return Balls.of(entries, shape_of(found))


class Decomposition(NamedTuple):
    """As torch.linalg.eigh gives it: (..., d) rising, and (..., d, d), columns in that order."""

    eigenvalues: Balls
    eigenvectors: Balls


def decomposition(x: Tensor) -> Decomposition:
    """``torch.linalg.eigh`` of symmetric matrices.

    Raises:
        Undecided: an eigenvalue that is not told from its neighbours has no vector of its own.
    """
    found: Entries = []
    for M in matrices(x):
        size, near = M.nrows(), near_axes(M)
        if size == 1:
            found.append(numbers.ONE)
            continue
        columns = [orthonormal(invariant_space(M, near, [i])[0]).entries() for i in reversed(range(size))]
        found += [entry for row in zip(*columns, strict=True) for entry in row]
    return Decomposition(spectrum(x), Balls.of(found, shape_of(x)))


def singular_values(x: Tensor) -> Balls:
    """``torch.linalg.svdvals``: roots of the eigenvalues of the smaller Gram matrix, falling."""
    turned = balls(x).mT
    n, m = shape_of(x)[-2:]
    gram = product(x, turned) if n <= m else product(turned, x)
    return balls(spectrum(gram).flip(-1).sqrt())


class Solution(NamedTuple):
    """What torch.linalg.lstsq gives."""

    solution: Balls


def least_squares(A: Tensor, B: Tensor) -> Solution:
    """``torch.linalg.lstsq`` of square matrices, which is ``A^-1 B``.

    Raises:
        Undecided: an A that may be singular. NotImplementedError: A is not square.
    """
    n, m = shape_of(A)[-2:]
    if n != m:
        raise NotImplementedError(f"least squares with {n} x {m} matrices; balls know square ones")
    return Solution(solved(A, B)[0])


def _root(S: arb_mat) -> arb_mat:
    """``L^-1`` of ``S = L L^T``."""
    size = S.nrows()
    return inverse(matrices(cholesky(Balls.of(S.entries(), (size, size))))[0])


def _columns(Q: arb_mat, at: Sequence[int]) -> arb_mat:
    return arb_mat([[row[i] for i in at] for row in Q.tolist()])


def _beside(A: arb_mat, B: arb_mat) -> arb_mat:
    return arb_mat([a + b for a, b in zip(A.tolist(), B.tolist(), strict=True)])


def _block(A: arb_mat, top: int, left: int, height: int, width: int) -> arb_mat:
    return arb_mat([[A[top + i, left + j] for j in range(width)] for i in range(height)])


def _diagonal(values: Entries) -> arb_mat:
    return arb_mat([[x if i == j else arb(0) for j in range(len(values))] for i, x in enumerate(values)])


def _radius(X: arb_mat) -> arb:
    return max(x.rad() for x in X.entries())


def _discs(A: arb_mat) -> list[tuple[arb, arb]]:
    """Centre and radius of each of Gershgorin's discs."""
    rows = A.tolist()
    return [
        (row[i], sum((abs(x) for j, x in enumerate(row) if j != i), arb(0))) for i, row in enumerate(rows)
    ]
