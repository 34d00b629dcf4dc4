"""Estimators at the edges (K = 1, d = 1, N = K, repeated points) and on bad input."""

import warnings

import numpy as np
import pytest
from em_instances import COVARIANCE_TYPES, instance
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from baselines.em_estimator import EMMixture
from baselines.estimator import DataWarning
from baselines.spectral_estimator import SpectralMixture

EPS = np.finfo(np.float64).eps
FEW = settings(max_examples=60, deadline=None)
TYPES = st.sampled_from(COVARIANCE_TYPES)
INITS = st.sampled_from(["k-means++", "plain-k-means++", "random-points"])
X = instance(0, 2, 3, 20)[0].numpy()
NAN, INFINITE = X.copy(), X.copy()
NAN[4, 1], INFINITE[0, 0] = np.nan, -np.inf
FITTED = EMMixture(3, random_state=0).fit(X)


def quiet_fit(model, points):
    """The fitted model, and whether it warned: just as often as it did not converge.

    A DataWarning is of the units, not of the fit: few points of unit covariance may get one.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(points)
    of_fit = [warning.category for warning in caught if warning.category is not DataWarning]
    assert of_fit == [ConvergenceWarning] * (not model.converged_)
    return model


def assert_sane(model, points):
    """A density and a posterior: finite, summing to 1, consistent with each other.

    Rows of K exponentials divided by their sum are 1 to (K + 2) u; so is their sum in another order.
    """
    K, d = model.n_components, points.shape[1]
    assert model.weights_.shape == (K,)
    assert model.means_.shape == (K, d)
    assert (model.weights_ > 0).all()
    scores, shares = model.score_samples(points), model.predict_proba(points)
    assert np.isfinite(scores).all()
    assert shares.shape == (len(points), K)
    assert (abs(shares.sum(1) - 1) <= (2 * K + 4) * EPS).all()
    np.testing.assert_array_equal(model.predict(points), shares.argmax(1))
    assert model.score(points) == scores.mean()


@FEW
@given(st.integers(0, 2**31 - 1), TYPES, INITS, st.integers(1, 3), st.integers(1, 4), st.integers(0, 12))
def test_few_points(seed, covariance_type, init, d, K, more):
    """N from K up: whether or not a covariance is singular on the way, what is left is a mixture."""
    points = np.random.default_rng(seed).normal(size=(K + more, d))
    model = EMMixture(K, covariance_type=covariance_type, init=init, random_state=seed)
    assert_sane(quiet_fit(model, points), points)


@FEW
@given(st.integers(0, 2**31 - 1), TYPES, INITS, st.integers(1, 3), st.integers(1, 4))
def test_repeated_points(seed, covariance_type, init, n_places, K):
    """Every point at one of a few places, often fewer than K."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n_places, 2))[rng.integers(0, n_places, K + 8)]
    model = EMMixture(K, covariance_type=covariance_type, init=init, random_state=seed)
    assert_sane(quiet_fit(model, points), points)


@FEW
@given(st.integers(0, 2**31 - 1), st.integers(1, 4), st.integers(2, 30), st.floats(-1e6, 1e6))
def test_one_component_is_the_moments(seed, d, N, shift):
    """K = 1: the average and the covariance, by any start. N values no larger than R average to within N u R.

    The covariance is about the centre, where R is the radius r of the data plus the rounding u R of the
    coordinates, which shifts all products alike: (N + 8) u (r^2 + r R).
    """
    points = np.random.default_rng(seed).normal(size=(N + d, d)) + shift
    model = quiet_fit(EMMixture(1, covariance_type="full", reg_covar=0, random_state=seed), points)
    assert model.converged_
    R, r = abs(points).max(), np.ptp(points, axis=0).max()
    count = len(points)
    np.testing.assert_allclose(model.means_[0], points.mean(0), rtol=0, atol=2 * (count + 4) * EPS * R)
    covariance = np.cov(points.T, bias=True).reshape(1, d, d)
    limit = 2 * (count + 8) * EPS * (r**2 + r * R)
    np.testing.assert_allclose(model.covariances_, covariance, rtol=0, atol=limit)


@FEW
@given(st.integers(0, 2**31 - 1), st.integers(1, 4), st.integers(0, 6))
def test_spectral_finds_a_mixture_or_says_why(seed, d, more):
    """Any data: an estimate that is a mixture, or a ValueError with a reason."""
    K = 1 + seed % d
    points = np.random.default_rng(seed).normal(size=(max(2, K) + more, d))
    model = SpectralMixture(K, random_state=seed)
    reason = ""
    try:
        quiet_fit(model, points)
    except ValueError as problem:
        reason = str(problem)
    if reason:
        assert f"X with n_samples = {len(points)} has no estimate: " in reason
    else:
        assert_sane(model, points)
        assert model.covariances_.shape == (K,)


def test_a_component_that_collapses_is_named():
    """Two places for two full covariances: no spread is left, the start is kept, and it is said."""
    points = np.repeat([[0.0, 0.0], [9.0, 9.0]], 5, axis=0)
    model = EMMixture(2, covariance_type="full", reg_covar=0, random_state=0)
    with pytest.warns(ConvergenceWarning, match=r"the covariance of component \d became singular"):
        model.fit(points)
    assert model.converged_ is False
    assert_sane(model, points)


def test_a_component_that_loses_its_points_is_named():
    model = EMMixture(2, init=[[0.0], [1e3]])
    with pytest.warns(ConvergenceWarning, match="component 1 lost all its points"):
        model.fit([[0.0], [0.5]])
    assert model.means_.tolist() == [[0.0], [1e3]]


def refused(match, call):
    with pytest.raises(ValueError, match=match) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "points", "match"),
    [
        (EMMixture(3), X[:2], "X has n_samples = 2, needs at least n_components = 3"),
        (EMMixture(0), X, "n_components is 0, needs an integer of at least 1"),
        (EMMixture(2.0), X, "n_components is 2.0, needs an integer"),
        (EMMixture(True), X, "n_components is True, needs an integer"),
        (EMMixture(covariance_type="diagonals"), X, "covariance_type is 'diagonals', needs one of unit, "),
        (
            EMMixture(init="kmeans"),
            X,
            r"init is 'kmeans', needs an array \(K, d\) of means or one of k-means",
        ),
        (EMMixture(2, init=X[:3]), X, r"init has shape \(3, 2\), needs \(2, 2\): \(n_components, n_features"),
        (EMMixture(2, init=NAN[3:5]), X, r"init\[1, 1\] is nan, needs finite"),
        (EMMixture(2, init=X[:2], n_init=3), X, "n_init is 3, needs 1 when init is an array"),
        (EMMixture(n_init=0), X, "n_init is 0, needs an integer of at least 1"),
        (EMMixture(max_iter=-1), X, "max_iter is -1, needs an integer of at least 0"),
        (EMMixture(tol=-1.0), X, "tol is -1.0, needs a finite number of at least 0"),
        (EMMixture(reg_covar=-1e-9), X, "reg_covar is -1e-09, needs a finite number of at least 0"),
        (EMMixture(reg_covar=np.inf), X, "reg_covar is inf, needs a finite number"),
        (EMMixture(reg_covar="1"), X, "reg_covar is '1', needs a finite number"),
        (EMMixture(chunk_size=0), X, "chunk_size is 0, needs an integer of at least 1"),
        (SpectralMixture(3), X, "n_components is 3, needs at most n_features = 2: more means are linearly"),
        (SpectralMixture(variance=0.0), X, "variance is 0.0, needs None or a finite number"),
        (SpectralMixture(n_starts=0), X, "n_starts is 0, needs an integer of at least 1"),
        (SpectralMixture(n_iter=1.5), X, "n_iter is 1.5, needs an integer of at least 1"),
    ],
)
def test_bad_parameters(model, points, match):
    refused(match, lambda: clone(model).fit(points))
    refused(match.replace("X has", r"X\[0\] has"), lambda: clone(model).fit_many(points[np.newaxis]))


@pytest.mark.parametrize("model", [EMMixture(), SpectralMixture(variance=1.0)])
@pytest.mark.parametrize(
    ("points", "match"),
    [
        (NAN, "contains NaN"),
        (INFINITE, "contains infinity"),
        (X[0], "Expected 2D array, got 1D array instead"),
        (X[:0], r"0 sample\(s\)"),
        (X[:, :0], r"0 feature\(s\)"),
        ([["a", "b"], ["c", "d"]], "could not convert string to float"),
        (X.astype(complex), "Complex data not supported"),
    ],
)
def test_bad_points(model, points, match):
    with pytest.raises(ValueError, match=match):
        clone(model).fit(points)
    fitted = FITTED if isinstance(model, EMMixture) else clone(model).fit(X + 20)
    for method in ("predict", "predict_proba", "score_samples", "score", "aic", "bic"):
        with pytest.raises(ValueError, match=match):
            getattr(fitted, method)(points)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "score_samples", "score", "aic", "bic"])
def test_after_fit(method):
    with pytest.raises(NotFittedError, match="This EMMixture instance is not fitted yet"):
        getattr(EMMixture(), method)(X)
    refused(
        "X has 1 features, but EMMixture is expecting 2 features", lambda: getattr(FITTED, method)(X[:, :1])
    )


def test_sample_refuses():
    with pytest.raises(NotFittedError, match="not fitted yet"):
        SpectralMixture().sample()
    refused("n_samples is 0, needs an integer of at least 1", lambda: FITTED.sample(0))


@pytest.mark.parametrize(
    ("sample_weight", "match"),
    [
        (np.ones(19), r"sample_weight.shape == \(19,\), expected \(20,\)"),
        (-np.ones(20), "Negative values in data passed to `sample_weight`"),
        (np.full(20, np.nan), "sample_weight contains NaN"),
        (np.zeros(20), "zero|0 points of positive weight|0 for every point"),
        ((np.arange(20) < 2).astype(float), "2 points of positive weight, needs at least n_components = 3"),
    ],
)
def test_bad_sample_weight(sample_weight, match):
    with pytest.raises(ValueError, match=match):
        EMMixture(3, random_state=0).fit(X, sample_weight=sample_weight)


@pytest.mark.parametrize(
    ("sets", "n_components", "match"),
    [
        (X, None, r"X has shape \(20, 2\), needs \(B, N, d\) .* or a sequence of arrays \(N_b, d\)"),
        (np.zeros((0, 5, 2)), None, r"X has shape \(0, 5, 2\), needs"),
        ([], None, r"X is \[\], needs an array \(B, N, d\) or a sequence"),
        ("points", None, "X is 'points', needs"),
        (iter([X]), None, "X is <list_iterator .*, needs"),
        (np.stack([X, NAN]), None, r"X\[1, 4, 1\] is nan, needs finite values"),
        ([X, INFINITE], None, r"X\[1\]: Input contains infinity"),
        ([X, X[0]], None, r"X\[1\]: Expected 2D array, got 1D array"),
        ([X, X[:, :1]], None, r"X\[1\] has 1 features, needs 2 like X\[0\]"),
        ([X, X[:2]], 3, r"X\[1\] has n_samples = 2, needs at least n_components = 3"),
        ([X, X], [2, 0], r"n_components\[1\] is 0, needs an integer of at least 1"),
        ([X, X], [2], "n_components has 1 entries, needs 2, one for each data set"),
        ([X, X], 2.5, "n_components is 2.5, needs an integer"),
    ],
)
def test_fit_many_refuses(sets, n_components, match):
    with pytest.raises(ValueError, match=match):
        EMMixture().fit_many(sets, n_components)


def test_spectral_needs_two_points_to_see_a_variance():
    refused(
        r"X has shape \(3, 1, 2\), needs \(B, N, d\) with B, d >= 1 and N >= 2",
        lambda: SpectralMixture().fit_many(np.ones((3, 1, 2))),
    )
    fitted = SpectralMixture(variance=1.0).fit([[3.0, 4.0]])  # M2 = x x^T - I has the eigenvalue 24
    assert fitted.covariances_.tolist() == [1.0]
