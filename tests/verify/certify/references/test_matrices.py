"""Pivots, inverses, determinants and leading spaces hold what mpmath finds with many digits."""

import mpmath
import numpy as np
import pytest
from states_in_balls import ball_of

from verify.balls.flint import Undecided, arb, arb_mat, precision
from verify.certify.references.matrices import (
    identity,
    inverse_and_log_determinant,
    inverse_root,
    leading_space,
    least_eigenvalue,
    ones,
    pivots,
    products,
)

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


def test_pivots_count_eigenvalues_and_multiply_to_the_determinant():
    S = symmetric([3.0, 1.0, 0.5, -0.25, -2.0])
    with precision(192), mpmath.workdps(DIGITS):
        found = list(pivots(arb_mat(S.tolist())))
        product = arb(1)
        for pivot in found:
            product *= pivot
        assert product.contains(ball_of(mpmath.det(mpmath.matrix(S.tolist()))))
    assert sum(pivot > 0 for pivot in found) == 3
    assert sum(pivot < 0 for pivot in found) == 2


def test_only_the_lower_triangle_is_read():
    S = symmetric([3.0, 1.0, 0.5])
    with precision(192):
        lower, whole = (list(pivots(arb_mat(M.tolist()))) for M in (np.tril(S), S))
        assert [x.mid() for x in lower] == [x.mid() for x in whole]


def test_inverse_root_and_log_determinant():
    S = symmetric([30.0, 1.0, 0.5, 1e-3])
    with precision(192), mpmath.workdps(DIGITS):
        M = arb_mat(S.tolist())
        root = inverse_root(M)
        assert holds_zero(root * M * root.transpose() - identity(4))
        assert all(root[i, j].contains(0) for i in range(4) for j in range(i + 1, 4))
        P, log_det = inverse_and_log_determinant(M)
        assert holds_zero(P * M - identity(4))
        assert widest(P * M - identity(4)) < 1e-45
        assert log_det.contains(ball_of(mpmath.log(mpmath.det(mpmath.matrix(S.tolist())))))


def test_what_is_not_positive_definite_has_no_root_and_what_is_singular_no_inverse():
    with pytest.raises(ValueError, match="pivot 1 is"):
        inverse_root(arb_mat([[1, 2], [2, 1]]))
    with pytest.raises(Undecided):
        inverse_and_log_determinant(arb_mat([[1, 1], [1, 1]]))
    with pytest.raises(Undecided):
        inverse_root(arb_mat([[arb(0, 1), 0], [0, 1]]))


@pytest.mark.parametrize("values", [[9.0, 4.0, 1.0, -0.5], [4.0, 4.0, 1.0, 1.0], [5.0, 1.001, 1.0, -7.0]])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_leading_space_is_invariant_and_of_the_largest_eigenvalues(values, count):
    S, ordered = symmetric(values), sorted(values, reverse=True)
    if ordered[count - 1] == ordered[count]:  # 1e-15 apart, as float64 made them
        return
    with precision(192), mpmath.workdps(DIGITS):
        M = arb_mat(S.tolist())
        U, others = leading_space(M, count)
        inside = (U.transpose() * U).inv() * U.transpose() * M * U
        assert holds_zero(M * U - U * inside)
        assert widest(U) < 1e-45
        exact = sorted(mpmath.eigsy(mpmath.matrix(S.tolist()), eigvals_only=True), reverse=True)
        assert inside.trace().contains(ball_of(mpmath.fsum(exact[:count])))
        assert others.trace().contains(ball_of(mpmath.fsum(exact[count:])))
        if count == len(values) - 1:
            assert least_eigenvalue(M).contains(ball_of(exact[-1]))
    assert least_eigenvalue(arb_mat([[3]])) == 3


def test_more_bits_give_a_smaller_ball_of_the_space():
    widths = []
    for bits in (128, 1024):
        with precision(bits):
            widths.append(widest(leading_space(arb_mat(symmetric([9.0, 4.0, 1.0]).tolist()), 2)[0]))
    # Both are rounding of the same operations; what is left is below a tenth of either precision.
    assert widths[1] < widths[0] * 2.0**-800


def test_groups_that_are_one_cannot_be_told_apart():
    with precision(192), pytest.raises(Undecided):
        leading_space(arb_mat(symmetric([4.0, 1.0, 1.0]).tolist()), 2)
    with precision(192), pytest.raises(Undecided):
        leading_space(identity(3), 1)


def test_entry_by_entry():
    assert products(arb_mat([[2, 3]]), arb_mat([[5, 7]])) == arb_mat([[10, 21]])
    assert ones(1, 2) == arb_mat([[1, 1]])
