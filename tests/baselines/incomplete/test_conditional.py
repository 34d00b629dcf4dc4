"""Missing values: densities and one EM step point by point in numpy, plain EM where nothing is missing."""

import math

import numpy as np
import pytest
import torch
from em_instances import instance, step_rounding
from scipy.stats import multivariate_normal

from baselines.em_estimator import EMMixture
from baselines.families import family_of
from baselines.incomplete.conditional import Observed, conditionals, log_densities, moments, observe
from baselines.incomplete.loop import run_incomplete

U = 2.0**-53


def holes(X, seed, share=0.3):
    """X with values gone, never all of a column; one point keeps nothing."""
    generator = np.random.default_rng(seed)
    gone = generator.random(X.shape) < share
    gone[:2] = False
    gone[2] = True
    return np.where(gone, np.nan, X)


def by_hand(X, weights, means, covariances):
    """log p(x_o), responsibilities, and the M step, with one solve for every point and component."""
    (N, d), K = X.shape, len(weights)
    joint = np.tile(np.log(weights)[:, None], (1, N))
    expected = np.empty((K, N, d))
    spread = np.zeros((K, N, d, d))
    for n in range(N):
        o, m = np.flatnonzero(~np.isnan(X[n])), np.flatnonzero(np.isnan(X[n]))
        for k in range(K):
            S, x = covariances[k], means[k].copy()
            x[o] = X[n, o]
            if len(o):
                joint[k, n] += multivariate_normal(means[k, o], S[np.ix_(o, o)]).logpdf(X[n, o])
                x[m] += S[np.ix_(m, o)] @ np.linalg.solve(S[np.ix_(o, o)], X[n, o] - means[k, o])
                spread[k, n][np.ix_(m, m)] = S[np.ix_(m, m)] - S[np.ix_(m, o)] @ np.linalg.solve(
                    S[np.ix_(o, o)], S[np.ix_(o, m)]
                )
            else:
                spread[k, n] = S
            expected[k, n] = x
    level = np.log(np.exp(joint).sum(0))
    shares = np.exp(joint - level)
    totals = shares.sum(1)
    new_means = np.einsum("kn,kni->ki", shares, expected) / totals[:, None]
    gaps = expected - new_means[:, None]
    scatter = np.einsum("kn,kni,knj->kij", shares, gaps, gaps) + np.einsum("kn,knij->kij", shares, spread)
    return level, totals / N, new_means, scatter / totals[:, None, None]


@pytest.mark.parametrize("kind", ["full", "diagonal"])
def test_one_step_is_that_of_a_computation_point_by_point(kind):
    """`step_rounding` of the two sides; a coordinate filled in is no farther away than those observed."""
    X, start = instance(3, 4, 3, 40, kind)
    gaps = holes(X.numpy(), 0)
    full = start.covariances if kind == "full" else torch.diag_embed(start.covariances)
    level, weights, means, covariances = by_hand(
        gaps, *(v.numpy() for v in (start.weights, start.means, full))
    )
    points = observe(torch.from_numpy(gaps))
    fit = run_incomplete(points, torch.ones(40).double(), start, family_of(kind), 0.0, None, 1, 0.0, 0.0)
    allowed = 2 * step_rounding(X, start)
    assert fit.history[0] == pytest.approx(level.mean(), abs=allowed)
    np.testing.assert_allclose(fit.mixture.weights, weights, rtol=0, atol=allowed)
    np.testing.assert_allclose(fit.mixture.means, means, rtol=0, atol=allowed)
    if kind == "diagonal":
        covariances = np.diagonal(covariances, axis1=1, axis2=2)
    np.testing.assert_allclose(fit.mixture.covariances, covariances, rtol=0, atol=allowed)
    assert allowed < 1e-4 < np.abs(means - start.means.numpy()).max()


@pytest.mark.parametrize("kind", ["full", "diagonal", "VEI", "EEV"])
def test_without_gaps_it_is_plain_em(kind):
    """Four steps of either side from one start: each rounds by `step_rounding`, and EM contracts it."""
    X, start = instance(5, 3, 3, 60, family_of(kind).layout)
    settings = {"covariance_type": kind, "init": start.means.numpy(), "max_iter": 4, "tol": 0.0}
    with pytest.warns(match="did not converge"):
        plain = EMMixture(3, **settings).fit(X.numpy())
    with pytest.warns(match="did not converge"):
        ours = EMMixture(3, missing="conditional", **settings).fit(X.numpy())
    allowed = 8 * step_rounding(X, plain._mixture())
    for name in ("weights_", "means_", "covariances_", "lower_bound_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(plain, name), rtol=0, atol=allowed)
    assert allowed < 1e-4
    assert ours.n_iter_ == plain.n_iter_ == 4
    np.testing.assert_allclose(
        ours.score_samples(X.numpy()), plain.score_samples(X.numpy()), rtol=0, atol=10 * allowed
    )


@pytest.mark.parametrize("kind", ["full", "diagonal", "EVI", "VEE"])
def test_no_step_lowers_the_likelihood_of_what_was_observed(kind):
    """But for rounding, `step_rounding` at both ends of a step; after the first, which ends in the family."""
    X, start = instance(6, 3, 3, 60, family_of(kind).layout)
    points = observe(torch.from_numpy(holes(X.numpy(), 1)))
    fit = run_incomplete(points, torch.ones(60).double(), start, family_of(kind), 0.0, None, 40, 0.0, 0.0)
    assert np.diff(fit.history[1:]).min() >= -step_rounding(X, start, fit.mixture)
    assert fit.history[-1] > fit.history[1]


def test_gaps_cost_information_and_not_bias():
    """Two groups, correlation 0.9, the second coordinate gone in half the points: its mean is still found.

    Averages of the values left are off by the regression on the first coordinate, which decides what is gone.
    """
    generator = np.random.default_rng(0)
    S = np.array([[1.0, 0.9], [0.9, 1.0]])
    X = generator.multivariate_normal([0, 0], S, 2000)
    gone = np.where((X[:, :1] > 0) & [[False, True]], np.nan, X)  # missing at random given the first
    fit = EMMixture(1, covariance_type="full", missing="conditional", max_iter=500, tol=1e-10).fit(gone)
    assert abs(fit.means_[0, 1]) < 6 * math.sqrt(2 / 2000)
    assert np.nanmean(gone[:, 1]) < -0.5
    complete = 1000  # at least so many points decide a variance, whose deviation is sqrt(2 / complete)
    np.testing.assert_allclose(fit.covariances_[0], S, atol=6 * math.sqrt(2 / complete))


def test_points_are_judged_by_what_is_there():
    """A row without values has density 1 and the weights for its responsibilities."""
    X, _ = instance(7, 2, 2, 50)
    fit = EMMixture(2, covariance_type="full", missing="conditional", init="ward", max_iter=500)
    fit.fit(holes(X.numpy(), 3))
    empty = np.full((1, 2), np.nan)
    assert fit.score_samples(empty)[0] == pytest.approx(0, abs=8 * U)
    np.testing.assert_allclose(fit.predict_proba(empty)[0], fit.weights_, rtol=0, atol=8 * U)
    part = np.array([[0.3, np.nan]])
    density = fit.weights_ @ [
        multivariate_normal(m[0], S[0, 0]).pdf(0.3) for m, S in zip(fit.means_, fit.covariances_, strict=True)
    ]
    farthest = ((0.3 - fit.means_[:, 0]) ** 2 / fit.covariances_[:, 0, 0]).max()
    rounding = 32 * U * (4 + farthest + abs(math.log(density)))  # a dozen operations a side, on such numbers
    assert fit.score_samples(part)[0] == pytest.approx(math.log(density), abs=rounding)


def test_many_points_are_taken_in_parts(monkeypatch):
    """Sums over 30 points in another order: 30 times what an average may be off by, on either side."""
    X, start = instance(8, 3, 2, 30, "full")
    points = observe(torch.from_numpy(holes(X.numpy(), 2)))
    given = conditionals(points.patterns, start.covariances)
    shares = torch.rand(2, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole = log_densities(points, start.means, given), *moments(points, start.means, given, shares)
    monkeypatch.setattr("baselines.incomplete.conditional.NUMBERS_AT_ONCE", 7 * 2 * 9)
    parts = log_densities(points, start.means, given), *moments(points, start.means, given, shares)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2 * 30 * step_rounding(X, start))
    assert isinstance(points, Observed)
    assert len(points.patterns) > 3


@pytest.mark.parametrize(
    ("settings", "X", "message"),
    [
        ({}, [[0.0, 1.0], [np.nan, 2.0]], r"X contains NaN, first at \[1, 0\], needs finite values; missing"),
        ({"missing": "mean"}, [[0.0], [1.0]], "missing is 'mean', needs None or 'conditional'"),
        ({"missing": "conditional"}, [[np.nan, 1.0], [np.nan, 2.0]], "X has no value in column 0"),
        (
            {"missing": "conditional", "covariance_type": "tied"},
            [[0.0, 1.0], [np.nan, 2.0]],
            "covariance_type is 'tied', needs one laid out as diagonal or full",
        ),
    ],
)
def test_bad_input_is_one_line(settings, X, message):
    with pytest.raises(ValueError, match=message) as raised:
        EMMixture(1, **{"covariance_type": "full"} | settings).fit(np.array(X))
    assert "\n" not in str(raised.value)
