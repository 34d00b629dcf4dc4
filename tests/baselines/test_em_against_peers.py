"""EM against scikit-learn's GaussianMixture and against EM written out in 50-digit arithmetic."""

import warnings

import mpmath
import numpy as np
import pytest
import torch
from em_instances import instance
from exact_em import as_mp, dense_covariances, exact_em_step
from sklearn.mixture import GaussianMixture

from baselines.em import em
from baselines.em_steps import em_step

SKLEARN_NAMES = {"spherical": "spherical", "diagonal": "diag", "tied": "tied", "full": "full"}


def sklearn_fit(X, start, n_iter, tol, reg_covar=0):
    precisions = (
        torch.linalg.inv(start.covariances)
        if start.covariance_type in ("tied", "full")
        else 1 / start.covariances
    )
    model = GaussianMixture(
        start.n_components,
        covariance_type=SKLEARN_NAMES[start.covariance_type],
        reg_covar=reg_covar,
        tol=tol,
        max_iter=n_iter,
        weights_init=start.weights.numpy(),
        means_init=start.means.numpy(),
        precisions_init=precisions.numpy(),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tol = 0 never converges, which is meant
        return model.fit(X.numpy())


def assert_same_fit(mixture, model, tolerance):
    for mine, theirs in (
        (mixture.weights, model.weights_),
        (mixture.means, model.means_),
        (mixture.covariances, model.covariances_),
    ):
        np.testing.assert_allclose(mine.numpy(), theirs, rtol=0, atol=tolerance)


@pytest.mark.parametrize("covariance_type", SKLEARN_NAMES)
@pytest.mark.parametrize("reg_covar", [0, 0.3])
@pytest.mark.parametrize(("d", "K", "N"), [(1, 2, 40), (2, 3, 60), (5, 4, 150), (8, 5, 128)])
def test_same_steps_as_sklearn(covariance_type, reg_covar, d, K, N):
    X, start = instance(10 * d + K, d, K, N, covariance_type, batch=(3,))
    result = em(X, init=start, tol=0, max_iter=12, reg_covar=reg_covar)
    for task in range(3):
        model = sklearn_fit(X[task], start[task], 12, tol=0, reg_covar=reg_covar)
        assert result.n_iter[task] == model.n_iter_ == 12
        assert_same_fit(result.mixture[task], model, 1e-9)
        assert result.log_likelihood_per_point[task].item() == pytest.approx(model.score(X[task]), abs=1e-9)


@pytest.mark.parametrize("covariance_type", SKLEARN_NAMES)
def test_stops_at_the_step_where_sklearn_stops(covariance_type):
    X, start = instance(5, 3, 3, 200, covariance_type, batch=(8,))
    result = em(X, init=start, tol=1e-3, max_iter=200)
    assert result.converged.all()
    steps = []
    for task in range(8):
        model = sklearn_fit(X[task], start[task], 200, tol=1e-3)
        steps.append(model.n_iter_)
        assert result.n_iter[task] == model.n_iter_
        assert_same_fit(result.mixture[task], model, 1e-9)
    assert len(set(steps)) > 1


def relative_gap(mine, exact):
    """Largest difference over the largest exact entry."""
    flat = [mpmath.mpf(float(v)) for v in mine.reshape(-1)]
    return float(max(abs(a - b) for a, b in zip(flat, exact, strict=True)) / max(abs(b) for b in exact))


@pytest.mark.parametrize(
    ("covariance_type", "d", "K", "N"),
    [
        ("unit", 1, 2, 14),
        ("unit", 3, 1, 9),
        ("unit", 2, 4, 4),
        ("unit", 6, 3, 16),
        ("tied_spherical", 2, 3, 20),
        ("spherical", 1, 2, 20),
        ("spherical", 3, 2, 20),
        ("diagonal", 3, 2, 20),
        ("tied", 2, 3, 20),
        ("full", 1, 1, 9),
        ("full", 3, 2, 24),
    ],
)
def test_equals_fifty_digit_em(covariance_type, d, K, N):
    X, start = instance(100 + d + K, d, K, N, covariance_type)
    with mpmath.workdps(50):
        points, weights, means = as_mp(X), as_mp(start.weights[None])[0], as_mp(start.means)
        covariances = [mpmath.matrix(as_mp(matrix)) for matrix in dense_covariances(start)]
        mixture, levels = start, []
        for _ in range(3):
            mixture, _, level = em_step(X, mixture)
            weights, means, covariances, exact_level = exact_em_step(
                points, weights, means, covariances, covariance_type
            )
            levels.append(exact_level)
            assert relative_gap(level, [exact_level]) < 1e-12
            assert relative_gap(mixture.weights, weights) < 1e-12
            assert relative_gap(mixture.means, [v for row in means for v in row]) < 1e-12
            exact = [v for matrix in covariances for v in matrix]
            assert relative_gap(dense_covariances(mixture), exact) < 1e-12
        fit = em(X, init=start, tol=0, max_iter=3)
        assert relative_gap(fit.mixture.means, [v for row in means for v in row]) < 1e-12
        assert relative_gap(fit.history[:3] * N, levels) < 1e-12
