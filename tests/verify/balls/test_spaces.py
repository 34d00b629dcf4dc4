"""Eigenvectors, invariant spaces, whitenings and singular values hold what mpmath finds with many digits."""

import mpmath
import pytest
import torch
from states_in_balls import ball_of
from symmetric_matrices import DIGITS, holds_zero, symmetric, widest

from verify.balls.arithmetic import ball_arithmetic
from verify.balls.array import balls, entries_of
from verify.balls.flint import Undecided, arb_mat, precision
from verify.balls.spaces import (
    decomposition,
    identity,
    leading_axes,
    leading_space,
    least_squares,
    singular_values,
)

BITS = 192


def matrix(x: torch.Tensor) -> arb_mat:
    height, width = x.shape[-2:]
    return arb_mat(height, width, entries_of(x))


@pytest.mark.parametrize("values", [[9.0, 4.0, 1.0, -0.5], [4.0, 4.0, 1.0, 1.0], [5.0, 1.001, 1.0, -7.0]])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_leading_space_is_invariant_and_of_the_largest_eigenvalues(values, count):
    S, ordered = symmetric(values), sorted(values, reverse=True)
    if ordered[count - 1] == ordered[count]:  # 1e-15 apart, as float64 made them
        return
    with precision(BITS), mpmath.workdps(DIGITS):
        M = arb_mat(S.tolist())
        U, others = leading_space(M, count)
        inside = (U.transpose() * U).inv() * U.transpose() * M * U
        assert holds_zero(M * U - U * inside)
        assert widest(U) < 1e-45
        exact = sorted(mpmath.eigsy(mpmath.matrix(S.tolist()), eigvals_only=True), reverse=True)
        assert inside.trace().contains(ball_of(mpmath.fsum(exact[:count])))
        assert others.trace().contains(ball_of(mpmath.fsum(exact[count:])))


def test_more_bits_give_a_smaller_ball_of_the_space():
    widths = []
    for bits in (128, 1024):
        with precision(bits):
            widths.append(widest(leading_space(arb_mat(symmetric([9.0, 4.0, 1.0]).tolist()), 2)[0]))
    # Both are rounding of the same operations; what is left is below a tenth of either precision.
    assert widths[1] < widths[0] * 2.0**-800


def test_groups_that_are_one_cannot_be_told_apart():
    with precision(BITS), pytest.raises(Undecided):
        leading_space(arb_mat(symmetric([4.0, 1.0, 1.0]).tolist()), 2)
    with precision(BITS), pytest.raises(Undecided):
        leading_space(identity(3), 1)


@pytest.mark.parametrize("values", [[3.0], [9.0, 4.0, 1.0, -0.5], [5.0, 1.001, 1.0, -7.0]])
def test_eigenvectors_are_each_of_its_eigenvalue_and_orthonormal(values):
    S = torch.as_tensor(symmetric(values))[None]
    with ball_arithmetic(BITS):
        found = torch.linalg.eigh(balls(S))
        V, D = found.eigenvectors, torch.diag_embed(found.eigenvalues)
        assert holds_zero(matrix(balls(S) @ V - V @ D))
        assert holds_zero(matrix(V.mT @ V - torch.eye(len(values), dtype=torch.float64)))
        assert widest(matrix(V)) < 1e-45
        for entry, exact in zip(entries_of(found.eigenvalues), sorted(values), strict=True):
            assert abs(float(entry.mid()) - exact) < 1e-13  # rising: S has them up to float64's rounding


def test_an_eigenvalue_that_is_twice_one_has_no_vector_of_its_own():
    with ball_arithmetic(BITS), pytest.raises(Undecided):
        decomposition(torch.diag(torch.tensor([2.0, 2.0, 1.0]).double()))


@pytest.mark.parametrize("values", [[9.0, 4.0, 1.0, -0.5], [4.0, 4.0, -1.0, -1.0]])
@pytest.mark.parametrize("exact", [False, True])
def test_whitening_needs_no_single_eigenvector(values, exact):
    S = torch.diag(torch.tensor(values).double()) if exact else torch.as_tensor(symmetric(values))
    with ball_arithmetic(BITS):
        found, vectors, W = leading_axes(S[None], 2)
        one = torch.eye(2, dtype=torch.float64)
        assert holds_zero(matrix(W @ S @ W.mT - one))
        assert holds_zero(matrix(vectors.mT @ vectors - torch.eye(4, dtype=torch.float64)))
        assert holds_zero(matrix(W @ vectors[..., 2:]))
        assert holds_zero(matrix(vectors[..., 2:].mT @ S @ vectors[..., :2]))
        assert widest(matrix(W)) < 1e-45
        for entry, value in zip(entries_of(found), values, strict=True):
            assert abs(float(entry.mid()) - value) < 1e-13


@pytest.mark.parametrize("shape", [(2, 4), (4, 2), (3, 3)])
def test_singular_values_are_those_of_many_digits(shape):
    A = torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with ball_arithmetic(BITS), mpmath.workdps(DIGITS):
        found = entries_of(singular_values(A))
        exact = sorted(mpmath.svd_r(mpmath.matrix(A.tolist()), compute_uv=False), reverse=True)
        assert all(entry.contains(ball_of(value)) for entry, value in zip(found, exact, strict=True))
        assert max(float(entry.rad()) for entry in found) < 1e-45


def test_least_squares_of_square_matrices_solve_and_others_are_refused():
    g = torch.Generator().manual_seed(2)
    A, B = (torch.randn(1, 3, 3, generator=g, dtype=torch.float64) for _ in range(2))
    with ball_arithmetic(BITS):
        assert holds_zero(matrix(A @ torch.linalg.lstsq(balls(A), B).solution - B))
        with pytest.raises(NotImplementedError, match="3 x 2"):
            least_squares(A[..., :2], B)
