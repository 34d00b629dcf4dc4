"""Standardised columns: constant ones are left out whatever the constant, others keep their digits."""

import numpy as np
import pytest

from baselines import real_data
from baselines.standardise import standardised
from verify.em.own_data import load_file

EPS = np.finfo(np.float64).eps


@pytest.mark.parametrize("n", [7, 10, 178])
def test_constants_are_left_out(n):
    """Of a hundred constants 93 leave a standard deviation above 0."""
    constants = np.r_[14.62, 5.0, 0.0, -0.1, 1e150, 1e-300, np.random.default_rng(0).normal(size=94)]
    X = np.column_stack([np.tile(constants, (n, 1)), np.arange(n)])
    assert (X.std(0) > 0).sum() > 10
    found, kept = standardised(X)
    assert kept.tolist() == [False] * 100 + [True]
    np.testing.assert_allclose(
        found[:, 0], (np.arange(n) - (n - 1) / 2) / ((n * n - 1) / 12) ** 0.5, atol=4 * n * EPS
    )


@pytest.mark.parametrize(
    ("scale", "offset"), [(1e-320, 0.0), (1e-200, 0.0), (1.0, 0.0), (1e300, 0.0), (1e-200, 1e9), (1e280, 1e9)]
)
def test_small_and_large_spreads_keep_their_digits(scale, offset):
    """Two thirds at 0 and a third at 1 are at -1/sqrt(2) and sqrt(2) deviations from 1/3."""
    X = scale * (offset + np.array([[0.0], [1.0], [0.0]] * 5))
    found, kept = standardised(X)
    assert kept.tolist() == [True]
    np.testing.assert_allclose(found[:3, 0], [-(0.5**0.5), 2**0.5, -(0.5**0.5)], rtol=40 * EPS)


def test_two_neighbouring_numbers_are_two():
    found, _ = standardised(np.array([[14.62], [np.nextafter(14.62, 15)]]))
    np.testing.assert_allclose(found, [[-1.0], [1.0]], rtol=4 * EPS)


def test_a_range_that_overflows_is_refused():
    with pytest.raises(
        ValueError, match=r"a value of size 1.5e\+308 is too large to standardise; scale the data"
    ):
        standardised(np.array([[-1.5e308], [1.5e308]]))


def test_a_file_with_a_constant_column(tmp_path):
    np.savetxt(tmp_path / "d.csv", np.column_stack([np.full(9, 14.62), np.arange(9)]), delimiter=",")
    data = load_file(tmp_path / "d.csv", True, None)
    assert data.X.shape == (9, 1)
    assert "1 constant columns dropped" in data.treatment


def test_bundled_data_with_a_constant_column():
    X = np.column_stack([np.arange(9.0), np.full(9, 14.62)])
    found = real_data._treated("any", X, np.arange(9) % 2, None)
    assert found is not None
    assert found.X.shape == (9, 1)
