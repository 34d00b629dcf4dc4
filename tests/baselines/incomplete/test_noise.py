"""A noise component: EM with it by hand, what it finds, and what the estimator says of it."""

import math

import numpy as np
import pytest
import torch
from em_instances import instance, step_rounding
from sklearn.base import clone
from sklearn.mixture import GaussianMixture

from baselines.choosing import bootstrap
from baselines.em_estimator import EMMixture
from baselines.families import FAMILIES, family_of
from baselines.incomplete.conditional import observe
from baselines.incomplete.loop import run_incomplete


def with_noise(seed=0, n=300, n_noise=60):
    """Two round groups at -5 and 5 of variance 1/4, and noise uniform on the square [-20, 20]^2."""
    generator = np.random.default_rng(seed)
    crowd = generator.normal(size=(n, 2)) / 2 + np.where(np.arange(n) % 2, 5.0, -5.0)[:, None]
    return np.concatenate([crowd, generator.uniform(-20, 20, (n_noise, 2))])


def step_by_hand(X, weights, means, variances, noise, volume):
    """Level before, and (noise, weights, means) after one EM step of round components."""
    squares = ((X[:, None] - means) ** 2).sum(-1)
    densities = (1 - noise) * weights * np.exp(-squares / (2 * variances)) / (2 * math.pi * variances)
    total = densities.sum(1) + noise / volume
    shares = densities / total[:, None]
    totals = shares.sum(0)
    return (
        np.log(total).mean(),
        1 - totals.sum() / len(X),
        totals / totals.sum(),
        shares.T @ X / totals[:, None],
    )


def test_one_step_is_that_of_a_computation_by_hand():
    X, start = instance(2, 2, 3, 50, "spherical")
    volume = float(np.prod(np.ptp(X.numpy(), axis=0)))
    log_noise = torch.full((50,), -math.log(volume), dtype=torch.float64)
    ones = torch.ones(50, dtype=torch.float64)
    fit = run_incomplete(observe(X), ones, start, family_of("spherical"), 0.1, log_noise, 1, 0.0, 0.0)
    parts = (v.numpy() for v in (start.weights, start.means, start.covariances))
    level, noise, weights, means = step_by_hand(X.numpy(), *parts, 0.1, volume)
    allowed = 2 * step_rounding(X, start)
    assert fit.history[0] == pytest.approx(level, abs=allowed)
    assert fit.noise == pytest.approx(noise, abs=allowed)
    np.testing.assert_allclose(fit.mixture.weights, weights, rtol=0, atol=allowed)
    np.testing.assert_allclose(fit.mixture.means, means, rtol=0, atol=allowed)
    assert allowed < 1e-6 < abs(noise - 0.1)


@pytest.mark.parametrize("kind", [family.name for family in FAMILIES])
def test_no_step_lowers_the_likelihood(kind):
    X, start = instance(4, 2, 3, 60, family_of(kind).layout)
    gone = X.clone()
    if family_of(kind).layout in ("diagonal", "full"):
        gone[::4, 1] = torch.nan  # and values missing beside the noise
    points = observe(gone)
    log_noise = torch.full((60,), -3.0, dtype=torch.float64)
    ones = torch.ones(60, dtype=torch.float64)
    fit = run_incomplete(points, ones, start, family_of(kind), 0.1, log_noise, 30, 0.0, 0.0)
    assert np.diff(fit.history[1:]).min() >= -step_rounding(X, start, fit.mixture)


@pytest.mark.parametrize("kind", ["VII", "full", "EEI"])
def test_noise_is_told_from_groups_that_it_would_have_spoilt(kind):
    """60 of 360 points: its share within six standard deviations, and the groups' means and variances."""
    X = with_noise()
    fit = EMMixture(2, covariance_type=kind, noise=True, init=[[-4, -4], [4, 4]], max_iter=500).fit(X)
    share = 60 / 360
    assert fit.noise_weight_ == pytest.approx(share, abs=6 * math.sqrt(share * (1 - share) / 360))
    rounding = (360 + 8) * 2**-53  # averages of 360 shares, which sum to 1 within 8 roundings
    assert fit.weights_.sum() == pytest.approx(1 - fit.noise_weight_, abs=rounding)
    np.testing.assert_allclose(fit.means_, [[-5, -5], [5, 5]], atol=6 * 0.5 / math.sqrt(150))
    labels = fit.predict(X)
    assert (labels[300:] == -1).mean() > 0.9
    assert (labels[:300] != -1).mean() > 0.95
    plain = EMMixture(2, covariance_type=kind, init=[[-4, -4], [4, 4]], max_iter=500).fit(X)
    assert fit.n_parameters_ == plain.n_parameters_ + 1
    assert fit.bic(X) < plain.bic(X)


def test_densities_and_posteriors_are_those_of_the_model():
    """Rows sum to 1; inside the box p has noise/V more, outside nothing; p integrates to 1."""
    X = with_noise(1)
    fit = EMMixture(2, covariance_type="full", noise=True, init=[[-4, -4], [4, 4]], max_iter=500).fit(X)
    posterior = fit.predict_proba(X)
    assert posterior.shape == (360, 3)
    np.testing.assert_allclose(
        posterior.sum(1), 1, rtol=0, atol=16 * 2**-53
    )  # exp, sum of 3, quotient, sum of 3
    low, high = fit.noise_box_
    np.testing.assert_array_equal([low, high], [X.min(0), X.max(0)])
    corner = low + 1e-9
    gaussian = GaussianMixture(2)
    gaussian.weights_, gaussian.means_ = fit.weights_, fit.means_
    gaussian.precisions_cholesky_ = fit.precisions_cholesky_
    noise = fit.noise_weight_ / np.prod(high - low)
    expected = math.log(noise + math.exp(gaussian.score_samples(corner[None])[0]))
    rounding = 32 * 2**-53 * (4 + abs(expected))  # a dozen operations a side
    assert abs(expected - math.log(noise)) < 1e-3
    assert fit.score_samples(corner[None])[0] == pytest.approx(expected, abs=rounding)
    assert fit.score_samples((low - 1e-9)[None])[0] < -100
    axes = [np.linspace(a - 1, b + 1, 400) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes), -1).reshape(-1, 2)
    cell = (axes[0][1] - axes[0][0]) * (axes[1][1] - axes[1][0])
    edge = 2 * (2 * 40 * 2 / 398) / 40 * fit.noise_weight_  # a cell's width around the box, by its sides
    assert np.exp(fit.score_samples(grid)).sum() * cell == pytest.approx(1, abs=edge)


def test_samples_have_noise_in_the_box_and_its_label():
    X = with_noise(2)
    fit = EMMixture(2, covariance_type="full", noise=True, init=[[-4, -4], [4, 4]], random_state=0).fit(X)
    drawn, labels = fit.sample(4000)
    share = fit.noise_weight_
    assert (labels == -1).mean() == pytest.approx(share, abs=6 * math.sqrt(share / 4000))
    low, high = fit.noise_box_
    noise = drawn[labels == -1]
    assert ((noise >= low) & (noise <= high)).all()
    assert noise.std() > 8
    assert np.abs(np.abs(drawn[labels == 0]) - 5).max() < 4


def test_starts_and_settings_that_do_not_go_together():
    X = with_noise(3)
    model = EMMixture(2, covariance_type="full", noise=True, init="ward", n_init=2, random_state=0)
    weight = np.ones(len(X))
    weight[::50] = 0.0
    fit = model.fit(X, sample_weight=weight)
    assert fit.converged_
    with pytest.raises(ValueError, match="fit has missing values or noise, needs missing = None"):
        bootstrap(fit, X)
    with pytest.raises(ValueError, match="noise True, needs None and False for fit_many"):
        clone(model).fit_many([X, X])
    with pytest.raises(ValueError, match="column 1 of X is constant, needs two values for noise = True"):
        clone(model).fit(X * [1, 0])
    with pytest.raises(ValueError, match="noise is 'yes', needs True or False"):
        clone(model).set_params(noise="yes").fit(X)
