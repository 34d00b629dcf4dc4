"""Parts of what fit_many found, two of them joined, and their precisions."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from baselines.em_estimator import EMMixture
from baselines.spectral_estimator import SpectralMixture

SETS = [np.random.default_rng(i).normal(size=(n, 2)) * 3 for i, n in enumerate((30, 30, 44, 52, 30))]
FITS = EMMixture(2, covariance_type="full", random_state=0).fit_many(SETS)
SMALL, LARGE = EMMixture(random_state=0).fit_many(SETS, [2, 2, 3, 3, 2]), FITS


def assert_same(one, other):
    for name in ("weights_", "means_", "covariances_", "lower_bounds_"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert (one.n_iter_, one.converged_, one.lower_bound_) == (
        other.n_iter_,
        other.converged_,
        other.lower_bound_,
    )
    assert one.get_params() == other.get_params()


@pytest.mark.parametrize("fits", [SMALL, LARGE], ids=["several K", "one K"])
@pytest.mark.parametrize(
    ("index", "places"),
    [
        (slice(1, 4), [1, 2, 3]),
        (slice(None, None, -2), [4, 2, 0]),
        ([3, 0], [3, 0]),
        (np.array([False, True, False, True, True]), [1, 3, 4]),
        (np.array([-1]), [4]),
        ([], []),
    ],
)
def test_parts(fits, index, places):
    part = fits[index]
    assert len(part) == len(places)
    for row, place in enumerate(places):
        assert_same(part[row], fits[place])
        assert part.log_likelihood[row] == fits.log_likelihood[place]


def test_places_that_there_are_not():
    with pytest.raises(IndexError):
        FITS[[5]]
    with pytest.raises(IndexError):
        FITS[5]


@pytest.mark.parametrize("fits", [SMALL, LARGE], ids=["several K", "one K"])
def test_joined(fits):
    both = fits[3:] + fits[:2]
    assert len(both) == 4
    for row, place in enumerate((3, 4, 0, 1)):
        assert_same(both[row], fits[place])
    assert len(fits[:0] + fits) == 5
    assert isinstance((LARGE[:1] + LARGE[1:]).means, np.ndarray)


def test_problems_keep_their_sets():
    X = np.random.default_rng(0).normal(size=(3, 20, 2)) + 5
    X[1] = X[1, :1]
    with pytest.warns(ConvergenceWarning):
        fits = SpectralMixture(1, random_state=0).fit_many(X)
    part = fits[1:] + fits
    assert sorted(part.problems) == [0, 3]
    assert part.found.tolist() == [False, True, True, False, True]
    with pytest.raises(ValueError, match=r"X\[3\] has no estimate"):
        part[3]


def test_only_fits_of_one_estimator_are_joined():
    other = EMMixture(2, covariance_type="full", tol=1e-4, random_state=3).fit_many(SETS)
    with pytest.raises(ValueError, match=r"have tol = 1e-06 and 0.0001, needs fits of one estimator"):
        FITS + other
    with pytest.raises(ValueError, match="have 2 and 3 features, needs the same number"):
        FITS + EMMixture(2, covariance_type="full").fit_many([np.eye(9, 3)])
    with pytest.raises(TypeError):
        _ = FITS + 1


@pytest.mark.parametrize("kind", ["unit", "tied_spherical", "spherical", "diag", "tied", "full"])
def test_precisions(kind):
    """S P P^T = I to the condition of S times d u times a modest factor; scikit-learn's shapes.

    Of numbers: a quotient or root, its scale, and a product, each twice at most, hence 8 u.
    """
    fits = EMMixture(2, covariance_type=kind, random_state=0).fit_many(SETS[:2])
    model = fits[1]
    S, precision, root = model.covariances_, model.precisions_, model.precisions_cholesky_
    assert S.shape == precision.shape == root.shape
    np.testing.assert_array_equal(fits.precisions[1], precision)
    np.testing.assert_array_equal(fits.precisions_cholesky[1], root)
    if kind in ("tied", "full"):
        tolerance = 64 * np.finfo(float).eps * np.linalg.cond(S).max()
        np.testing.assert_allclose(S @ precision, np.broadcast_to(np.eye(2), S.shape), atol=tolerance)
        np.testing.assert_allclose(S @ root @ root.swapaxes(-1, -2), S @ precision, atol=tolerance)
        assert (np.tril(root, -1) == 0).all()
    else:
        np.testing.assert_allclose(S * precision, np.ones(S.shape), rtol=8 * 2**-53)
        np.testing.assert_allclose(root**2, precision, rtol=8 * 2**-53)
