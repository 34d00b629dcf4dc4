"""Pivots, inverses, determinants and least eigenvalues hold what mpmath finds with many digits."""

import mpmath
import numpy as np
import pytest
from states_in_balls import ball_of
from symmetric_matrices import DIGITS, holds_zero, symmetric, widest

from verify.balls.flint import Undecided, arb, arb_mat, precision
from verify.balls.spaces import identity
from verify.certify.references.matrices import (
    inverse_and_log_determinant,
    inverse_root,
    least_eigenvalue,
    ones,
    pivots,
    products,
)


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


@pytest.mark.parametrize("values", [[9.0, 4.0, 1.0, -0.5], [5.0, 1.001, 1.0, -7.0]])
def test_the_least_eigenvalue_is_that_of_many_digits(values):
    S = symmetric(values)
    with precision(192), mpmath.workdps(DIGITS):
        exact = min(mpmath.eigsy(mpmath.matrix(S.tolist()), eigvals_only=True))
        assert least_eigenvalue(arb_mat(S.tolist())).contains(ball_of(exact))
        assert least_eigenvalue(arb_mat([[3]])) == 3


def test_entry_by_entry():
    assert products(arb_mat([[2, 3]]), arb_mat([[5, 7]])) == arb_mat([[10, 21]])
    assert ones(1, 2) == arb_mat([[1, 1]])
