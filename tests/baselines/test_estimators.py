"""Estimators in scikit-learn's manner: its own checks, and its GaussianMixture with the same parameters."""

import numpy as np
import pytest
import torch
from em_instances import COVARIANCE_TYPES, instance, radius_and_variance, step_rounding
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.utils.estimator_checks import parametrize_with_checks
from spectral_instances import exact_data, separated_means

from baselines.em import em
from baselines.em_estimator import EMMixture
from baselines.mixture import Mixture
from baselines.spectral_estimator import SpectralMixture

EPS = np.finfo(np.float64).eps
SKLEARN_NAMES = {
    "unit": "spherical",
    "tied_spherical": "spherical",
    "spherical": "spherical",
    "diagonal": "diag",
    "tied": "tied",
    "full": "full",
}
WEIGHT_CHECK = "check_sample_weight_equivalence_on_dense_data"


ESTIMATORS = [
    EMMixture(),
    EMMixture(3, n_init=2),
    EMMixture(2, covariance_type="full"),
    SpectralMixture(),
    SpectralMixture(variance=1.0),
]
OTHER_OPTIONS = [
    EMMixture(2, covariance_type="diag", reg_covar=0, warm_start=True, max_iter=20),
    EMMixture(1, covariance_type="tied", init="random-points", chunk_size=7, verbose=1),
    EMMixture(1, covariance_type="spherical", weights_init=[1.0], precisions_init=[2.0], tol=1e-3),
    EMMixture(1, covariance_type="tied_spherical", init="normal", max_iter=0),
    EMMixture(2, covariance_type="full", init="k-means++", warm_start=True),
    SpectralMixture(reg_covar=0, n_starts=2),
]


def expected_failures(estimator):
    if isinstance(estimator, EMMixture) and estimator.n_components == 3:
        # It compares N weighted points with N' copies of them in another order: the draws of the starts are
        # other points, and EM from them another optimum. scikit-learn's KMeans is excused for the same. Two
        # components end at one optimum from either.
        # From one start the two agree: test_sample_weights.py.
        return {WEIGHT_CHECK: "other starts are drawn from other arrays"}
    if isinstance(estimator, SpectralMixture) and estimator.variance == 1:
        # Its data are uniform in the unit cube, where no direction has a second moment above 1: they are no
        # mixture of unit components, and `fit` says so.
        reason = "data with less than the variance given have no estimate"
        return dict.fromkeys(["check_fit_score_takes_y", "check_sample_weights_list"], reason)
    if isinstance(estimator, SpectralMixture):
        return {WEIGHT_CHECK: "27 points in 30 dimensions have no variance to estimate"}
    return {}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::baselines.estimator_sets.DataWarning")
@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failures)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::baselines.estimator_sets.DataWarning")
@parametrize_with_checks(OTHER_OPTIONS, expected_failed_checks=expected_failures)
def test_scikit_learn_checks_of_other_options(estimator, check):
    check(estimator)


def fitted_pair(covariance_type, d=3, K=4, N=80):
    """An EMMixture after two steps, scikit-learn's GaussianMixture of the same parameters, and the points."""
    X, start = instance(5, d, K, N, covariance_type)
    model = EMMixture(K, covariance_type=covariance_type, init=start.means.numpy(), max_iter=2, tol=0)
    with pytest.warns(ConvergenceWarning, match="after max_iter = 2 steps"):
        model.fit(X.numpy())
    peer = GaussianMixture(K, covariance_type=SKLEARN_NAMES[covariance_type])
    peer.weights_, peer.means_, peer.covariances_ = model.weights_, model.means_, model.covariances_
    if covariance_type in ("tied", "full"):
        peer.precisions_cholesky_ = np.linalg.cholesky(np.linalg.inv(model.covariances_))  # P P^T = S^-1
    else:
        peer.precisions_cholesky_ = model.covariances_**-0.5
    return model, peer, X.numpy()


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_agrees_with_scikit_learn(covariance_type):
    """A log-density is off by (d + 8) u R^2/s (em_instances), times the condition number 1 + R^2/s where a
    factor of S is inverted; scikit-learn's likewise, but about the origin, which R therefore counts in."""
    model, peer, X = fitted_pair(covariance_type)
    d = X.shape[1]
    everything = torch.from_numpy(np.concatenate([X, np.zeros((1, d))]))
    radius, least = radius_and_variance(everything, model._mixture())
    tolerance = 2 * (d + 8) * EPS * (1 + radius**2 / least) ** 2
    np.testing.assert_allclose(model.score_samples(X), peer.score_samples(X), rtol=0, atol=tolerance)
    np.testing.assert_allclose(model.predict_proba(X), peer.predict_proba(X), rtol=0, atol=2 * tolerance)
    np.testing.assert_array_equal(model.predict(X), peer.predict(X))
    assert abs(model.score(X) - peer.score(X)) <= tolerance
    assert model.covariances_.shape == peer.covariances_.shape
    if covariance_type not in ("unit", "tied_spherical"):
        assert model.n_parameters_ == peer._n_parameters()
        assert abs(model.aic(X) - peer.aic(X)) <= 2 * len(X) * tolerance
        assert abs(model.bic(X) - peer.bic(X)) <= 2 * len(X) * tolerance


@pytest.mark.parametrize(
    ("estimator", "covariance_type", "n_parameters"),
    [  # K = 2, d = 3: one weight, six coordinates of means, and what is free of the covariances
        (EMMixture(2), "unit", 7),
        (EMMixture(2, covariance_type="tied_spherical"), "tied_spherical", 8),
        (EMMixture(2, covariance_type="spherical"), "spherical", 9),
        (EMMixture(2, covariance_type="diagonal"), "diagonal", 13),
        (EMMixture(2, covariance_type="tied"), "tied", 13),
        (EMMixture(2, covariance_type="full"), "full", 19),
        (SpectralMixture(2, variance=1.0), "unit", 7),
        (SpectralMixture(2, variance=0.5), "tied_spherical", 7),
        (SpectralMixture(2), "tied_spherical", 8),
    ],
)
def test_free_parameters(estimator, covariance_type, n_parameters):
    X = exact_data(separated_means(0, 3, 2), [3, 4], 1.0).numpy()
    model = clone(estimator).set_params(random_state=0).fit(X)
    assert model.covariance_type_ == covariance_type
    assert model.n_parameters_ == n_parameters
    total = model.score_samples(X).sum()
    assert model.aic(X) == -2 * total + 2 * n_parameters
    assert model.bic(X) == -2 * total + n_parameters * np.log(len(X))


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_fit_is_em(covariance_type):
    """The same draws give the same numbers, and lower_bound_ is the average log-density of the points."""
    X, _ = instance(3, 3, 3, 60, covariance_type)
    model = EMMixture(3, covariance_type=covariance_type, n_init=3, random_state=4).fit(X.numpy())
    settings = {"covariance_type": covariance_type, "init": "k-means", "n_init": 3, "reg_covar": 1e-6}
    settings |= {"tol": 1e-6, "max_iter": 1000}
    result = em(X, 3, **settings, generator=model._generator())
    assert np.array_equal(model.means_, result.mixture.means.numpy())
    assert np.array_equal(model.weights_, result.mixture.weights.numpy())
    if result.mixture.covariances is not None:
        assert (model.covariances_ == result.mixture.covariances.numpy()).all()
    assert model.n_iter_ == int(result.n_iter)
    assert model.converged_ is bool(result.converged)
    radius, least = radius_and_variance(X, result.mixture)
    tolerance = 2 * (3 + 8) * EPS * (1 + radius**2 / least) ** 2
    assert abs(model.lower_bound_ - model.score(X.numpy())) <= tolerance


def test_standard_normal():
    """log p(x) = -log(2 pi)/2 - x^2/2 for a mean at 0."""
    model = EMMixture(1).fit([[0.0], [0.0]])
    assert model.score_samples([[0.0], [2.0]]) == pytest.approx(
        [-0.5 * np.log(2 * np.pi), -0.5 * np.log(2 * np.pi) - 2], rel=4 * EPS
    )
    assert model.covariances_.tolist() == [1.0]


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_samples_have_the_moments_of_the_mixture(covariance_type):
    """n = 200,000. A label's share, a mean and a covariance of a component lie within 6 standard errors:
    sqrt(p (1 - p) / n), sqrt(S_ii / n_k), sqrt((S_ii S_jj + S_ij^2) / n_k); one in 10^9 is farther."""
    model, _, _ = fitted_pair(covariance_type)
    n, (K, d) = 200_000, model.means_.shape
    model.set_params(random_state=3)
    X, labels = model.sample(n)
    assert X.shape == (n, d)
    for k in range(K):
        mine, share = X[labels == k], model.weights_[k]
        S = model.covariances_ if covariance_type == "tied" else model.covariances_[k]
        S = S if covariance_type in ("tied", "full") else np.eye(d) * S
        assert abs(len(mine) / n - share) <= 6 * (share * (1 - share) / n) ** 0.5
        assert (abs(mine.mean(0) - model.means_[k]) <= 6 * (np.diag(S) / len(mine)) ** 0.5).all()
        spread = (np.outer(np.diag(S), np.diag(S)) + S**2) / len(mine)
        assert (abs(np.cov(mine.T) - S) <= 6 * spread**0.5).all()


@pytest.mark.parametrize("estimator", [EMMixture(3), SpectralMixture(3)])
def test_random_state(estimator):
    X = exact_data(separated_means(1, 4, 3), [2, 3, 4], 1.0).numpy()
    one, same = (clone(estimator).set_params(random_state=7).fit(X) for _ in range(2))
    assert np.array_equal(one.means_, same.means_)
    for mine, theirs in zip(one.sample(5), same.sample(5), strict=True):
        assert np.array_equal(mine, theirs)
    state = np.random.RandomState(7)  # a RandomState moves on: its second sample is another one
    moving = clone(estimator).set_params(random_state=state).fit(X)
    assert np.array_equal(moving.means_, one.means_)
    assert not np.array_equal(moving.sample(5)[0], moving.sample(5)[0])


def test_parameters_travel():
    model = EMMixture(
        3, covariance_type="full", init=np.eye(3), n_init=1, max_iter=7, tol=0.5, random_state=1
    )
    parameters = clone(model).get_params()
    assert np.array_equal(parameters.pop("init"), np.eye(3))
    assert parameters == {
        "n_components": 3,
        "covariance_type": "full",
        "n_init": 1,
        "max_iter": 7,
        "tol": 0.5,
        "reg_covar": 1e-6,
        "missing": None,
        "noise": False,
        "weights_init": None,
        "means_init": None,
        "precisions_init": None,
        "warm_start": False,
        "chunk_size": None,
        "verbose": 0,
        "verbose_interval": 10,
        "random_state": 1,
    }
    assert SpectralMixture().set_params(variance=2.0, n_starts=3).get_params()["variance"] == 2.0
    with pytest.raises(ValueError, match="Invalid parameter 'init_params'"):
        model.set_params(init_params="kmeans")


def test_integers_are_computed_in_float64():
    X = np.random.default_rng(0).integers(-2, 3, (40, 2))
    one, other = (EMMixture(2, random_state=0).fit(X.astype(dtype)) for dtype in (np.int32, float))
    assert one.means_.dtype == one.score_samples(X.astype(np.float32)).dtype == np.float64
    assert np.array_equal(one.means_, other.means_)


def test_a_weight_counts_copies():
    """One step from one start; 2 step_rounding (em_instances) for the two sides."""
    X, start = instance(8, 2, 3, 40)
    copies = torch.randint(0, 4, (40,), generator=torch.Generator().manual_seed(0)).numpy()
    model = EMMixture(3, init=start.means.numpy(), max_iter=1)
    repeated = X.numpy().repeat(copies, axis=0)
    with pytest.warns(ConvergenceWarning):
        weighted, plain = clone(model).fit(X.numpy(), sample_weight=copies), clone(model).fit(repeated)
    tolerance = 2 * step_rounding(torch.from_numpy(repeated), start)
    np.testing.assert_allclose(weighted.means_, plain.means_, rtol=0, atol=tolerance)
    np.testing.assert_allclose(weighted.weights_, plain.weights_, rtol=0, atol=tolerance)
    assert abs(weighted.lower_bound_ - plain.score(repeated)) <= tolerance


def test_fitted_attributes_are_what_counts():
    """A mixture put together by hand behaves as one that was fitted."""
    model = EMMixture(2).fit([[0.0], [10.0]])
    model.weights_, model.means_ = np.array([0.25, 0.75]), np.array([[-1.0], [3.0]])
    model.covariances_ = np.array([4.0, 0.5])
    X = np.linspace(-5, 5, 11)[:, None]
    by_hand = Mixture(
        *(torch.from_numpy(v) for v in (model.weights_, model.means_, model.covariances_)), "spherical"
    )
    assert np.array_equal(model.score_samples(X), by_hand.score_samples(torch.from_numpy(X)).numpy())
    assert np.array_equal(model.fit_predict(X), model.predict(X))
