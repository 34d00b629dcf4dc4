"""Bootstrap standard errors against those known in closed form; components in the order of the fit."""

import math

import numpy as np
import pytest
import torch
from em_instances import instance
from sklearn.exceptions import NotFittedError

from baselines.choosing.bootstrap import METHODS, aligned, bootstrap
from baselines.em_estimator import EMMixture
from baselines.spectral_estimator import SpectralMixture

N = 400


def apart(seed=0, share=0.3):
    """Two groups 40 standard deviations apart: every label is certain, so errors are those of averages."""
    generator = np.random.default_rng(seed)
    first = round(share * N)
    X = generator.normal(size=(N, 2)) * [1.0, 2.0]
    X[first:, 0] += 40
    return X


@pytest.mark.parametrize("method", METHODS)
def test_standard_errors_of_certain_labels(method):
    """sqrt(pi (1 - pi)/N) and sqrt(s/(N pi)); a standard error over n is off by 1/sqrt(2 n), six of these.

    Given how many of N fall in a group, its average has variance s over that number, 1/(N pi) up to 1/N.
    """
    X, n = apart(), 300
    fit = EMMixture(2, covariance_type="full", init="ward").fit(X)
    found = bootstrap(fit, X, n, method, random_state=1)
    allowed = 6 / math.sqrt(2 * n) + 2 / N
    shares = np.sqrt(fit.weights_ * (1 - fit.weights_) / N)
    np.testing.assert_allclose(found.weights_se, shares, rtol=allowed)
    variances = fit.covariances_.diagonal(axis1=1, axis2=2)
    np.testing.assert_allclose(
        found.means_se, np.sqrt(variances / (N * fit.weights_[:, None])), rtol=allowed + 1 / (N * 0.3)
    )
    (low, high), _ = found.interval(0.95)
    assert (low < fit.weights_).all()
    assert (fit.weights_ < high).all()
    width = (high - low) / (2 * 1.96 * shares)
    off = math.sqrt(2 * 0.025 * 0.975 / n) / 0.0584 / 3.92  # of two quantiles where the density is 0.0584
    assert (np.abs(width - 1) < 6 * off).all()


@pytest.mark.parametrize("kind", ["unit", "tied_spherical", "VII", "EVI", "diag", "tied", "VEV"])
def test_every_layout_and_the_same_seed_twice(kind):
    X = apart(1)
    fit = EMMixture(2, covariance_type=kind, init="ward").fit(X / [1, 2])
    one, two = (bootstrap(fit, X / [1, 2], 8, method, random_state=5) for method in METHODS)
    again = bootstrap(fit, X / [1, 2], 8, random_state=5)
    np.testing.assert_array_equal(one.means, again.means)
    assert one.means.shape == two.means.shape == (8, 2, 2)
    assert one.n_failed == 0


@pytest.mark.parametrize("kind", ["unit", "tied_spherical", "diagonal", "tied", "full"])
def test_components_are_matched_in_units_of_their_own_spread(kind):
    _, fit = instance(2, 3, 4, 20, kind)
    order = torch.tensor([[2, 0, 3, 1]])
    turned = fit.__class__(
        fit.weights[None],
        fit.means[None],
        None if fit.covariances is None else fit.covariances[None],
        kind,
    ).permute(order)
    np.testing.assert_array_equal(aligned(turned, fit).means[0], fit.means)
    np.testing.assert_array_equal(aligned(turned, fit).weights[0], fit.weights)


def test_table_says_how_many_and_which_seed():
    X = apart()
    found = bootstrap(EMMixture(2, covariance_type="full", init="ward").fit(X), X, 20, random_state=3)
    text = str(found)
    assert "nonparametric bootstrap, n = 20 (0 failed), random_state = 3" in text
    assert max(map(len, text.splitlines())) <= 80
    assert len(repr(found)) < 80


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_resamples": 1}, "n_resamples is 1, needs an integer of at least 2"),
        ({"method": "jackknife"}, "method is 'jackknife', needs one of nonparametric, parametric"),
        ({"X": np.zeros((1, 2))}, "X has n_samples = 1, needs at least K = 2"),
        ({"fit": SpectralMixture(2)}, "fit is of type SpectralMixture, needs a fitted EMMixture"),
    ],
)
def test_bad_input_is_one_line(settings, message):
    X = apart()
    given = {"fit": EMMixture(2, covariance_type="full", init="ward").fit(X), "X": X} | settings
    with pytest.raises(ValueError, match=message):
        bootstrap(**given)


def test_an_estimator_without_a_fit_is_refused():
    with pytest.raises(NotFittedError):
        bootstrap(EMMixture(2), apart())
    found = bootstrap(EMMixture(2, covariance_type="full", init="ward").fit(apart()), apart(), 3)
    with pytest.raises(ValueError, match="level is 95, needs a number between 0 and 1"):
        found.interval(95)
