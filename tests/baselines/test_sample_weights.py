"""An integer weight is so many copies of the point, in one step of EM, the moments, scores and criteria."""

import numpy as np
import pytest
import torch
from em_instances import COVARIANCE_TYPES, instance, step_rounding
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from spectral_instances import exact_data, exact_tolerance, separated_means

from baselines.em_estimator import EMMixture
from baselines.spectral_estimator import SpectralMixture
from baselines.spectral_moments import second_moment, smallest_variance, whitened_third_moment

U = 2.0**-53
FEW = settings(max_examples=25, deadline=None)
NOT_CONVERGED = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def copied(X, seed, least=0, most=4):
    """Counts of every point and the points so repeated."""
    counts = np.random.default_rng(seed).integers(least, most, len(X))
    counts[:6] += 1
    return counts, X.repeat(counts, axis=0)


@NOT_CONVERGED
@FEW
@given(st.integers(0, 2**31 - 1), st.sampled_from(COVARIANCE_TYPES), st.integers(1, 3), st.integers(1, 3))
def test_one_step_counts_copies(seed, covariance_type, d, K):
    """One step from one start given whole; each side is off by step_rounding, that of 1/S included."""
    X, start = instance(seed, d, K, 24, covariance_type)
    counts, repeated = copied(X.numpy(), seed)
    model = EMMixture(
        K, covariance_type=covariance_type, max_iter=1, reg_covar=0.125, means_init=start.means.numpy()
    )
    model.set_params(weights_init=start.weights.numpy())
    if covariance_type == "full":
        model.set_params(precisions_init=np.linalg.inv(start.covariances.numpy()))
    weighted, plain = clone(model).fit(X.numpy(), sample_weight=counts), clone(model).fit(repeated)
    begun = clone(model).set_params(max_iter=0).fit(repeated)._mixture()
    tolerance = 2 * step_rounding(torch.from_numpy(repeated), begun)
    for name in ("weights_", "means_", "covariances_"):
        np.testing.assert_allclose(getattr(weighted, name), getattr(plain, name), rtol=0, atol=tolerance)
    assert abs(weighted.lower_bounds_[0] - plain.lower_bounds_[0]) <= tolerance


@FEW
@given(st.integers(0, 2**31 - 1), st.integers(1, 4), st.floats(-300, 300))
def test_criteria_count_copies(seed, d, exponent):
    """Sums of N terms in two orders, weights multiplied in: 2 (N + 2) u of the sum of their sizes."""
    X, _ = instance(seed, d, 2, 30, "spherical")
    counts, repeated = copied(X.numpy(), seed)
    model = EMMixture(2, covariance_type="spherical", random_state=0).fit(X.numpy())
    scores = model.score_samples(repeated)
    N = len(repeated)
    tolerance = 2 * (N + 2) * U * abs(scores).sum() + 4 * U * abs(scores).max()
    shares = model.predict_proba(repeated).max(1)
    for name in ("aic", "bic", "icl"):
        one = getattr(model, name)(X.numpy(), sample_weight=counts)
        other = getattr(model, name)(repeated)
        assert abs(one - other) <= 2 * tolerance + 8 * U * abs(other), name
    # log of a share in two ways: the exponentials of scores round by the size of their exponents
    exact = model.bic(repeated) - 2 * np.log(shares).sum()
    assert model.icl(repeated) == pytest.approx(exact, abs=1e-11 * (1 + abs(scores).sum()))
    for weight in (counts, counts * 2.0 ** int(exponent)):  # ratios alone
        one = model.score(X.numpy(), sample_weight=weight)
        assert abs(one - model.score(repeated)) <= tolerance / N + 8 * U * abs(scores).max()


@FEW
@given(st.integers(0, 2**31 - 1), st.integers(1, 5))
def test_moments_count_copies(seed, d):
    """Each side is within the bound that it returns of the exact moment."""
    X, _ = instance(seed, d, 2, 20)
    counts, repeated = copied(X.numpy(), seed)
    repeated = torch.from_numpy(repeated)
    shares = torch.from_numpy(counts / counts.sum())
    s = torch.tensor(0.5, dtype=torch.float64)
    W = torch.randn(d, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed % 1000))
    for one, other in (
        (second_moment(X, s, shares), second_moment(repeated, s)),
        (smallest_variance(X, shares), smallest_variance(repeated)),
        (whitened_third_moment(X, W, s, shares), whitened_third_moment(repeated, W, s)),
    ):
        assert (one[0] - other[0]).norm() <= one[1] + other[1]


@pytest.mark.parametrize("variance", [1.0, None])
def test_spectral_weights_are_counts(variance):
    """exact_data with one copy of each point, weighted: the moments of the mixture of those weights."""
    means = separated_means(3, 5, 3)
    X = exact_data(means, [1, 1, 1], 1.0).numpy()
    counts = np.repeat([2.0, 3.0, 5.0], 10)
    model = SpectralMixture(3, variance=variance, reg_covar=0, random_state=0).fit(X, sample_weight=counts)
    weights = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    shares = torch.from_numpy(counts / counts.sum())
    points, s = torch.from_numpy(X), torch.tensor(1.0, dtype=torch.float64)
    rounding = second_moment(points, s, shares)[1] + smallest_variance(points, shares)[1]
    moment = torch.einsum("k,ki,kj->ij", weights, means, means)
    values, vectors = torch.linalg.eigh(moment)
    W = vectors[:, -3:] / values[-3:].sqrt()
    resolution = (rounding + 40 * U * moment.norm()).item()
    third = whitened_third_moment(points, W, s, shares)[1].item()
    tolerance, relative = exact_tolerance(means, weights, resolution, third)
    order = [int((torch.from_numpy(model.means_) - mean).norm(dim=-1).argmin()) for mean in means]
    np.testing.assert_allclose(model.means_[order], means.numpy(), rtol=0, atol=tolerance)
    np.testing.assert_allclose(model.weights_[order], weights.numpy(), rtol=2 * relative)
    assert model.converged_


@NOT_CONVERGED
@pytest.mark.parametrize("given", ["array", "lists"])
def test_fit_many_takes_a_weight_of_each_set(given):
    """Sets of three lengths, each as if alone from one start: one step, 2 step_rounding."""
    X, start = instance(6, 2, 3, 40, batch=(4,))
    lengths = [40, 40, 40, 40] if given == "array" else [40, 33, 40, 24]
    counts = [np.random.default_rng(i).integers(0, 3, n) + (np.arange(n) < 6) for i, n in enumerate(lengths)]
    sets = (
        X.numpy() if given == "array" else [points[:n].numpy() for points, n in zip(X, lengths, strict=True)]
    )
    model = EMMixture(3, means_init=start.means.numpy(), max_iter=1, tol=0)
    together = model.fit_many(sets, sample_weight=np.array(counts) if given == "array" else counts)
    for place, weight in enumerate(counts):
        own = start.means[place].numpy()
        alone = clone(model).set_params(means_init=own).fit(sets[place], sample_weight=weight)
        tolerance = 2 * step_rounding(torch.from_numpy(sets[place]), start[place])
        np.testing.assert_allclose(together.means[place], alone.means_, rtol=0, atol=tolerance)
        assert abs(together.log_likelihood[place] - alone.lower_bound_) <= tolerance


@pytest.mark.parametrize(
    ("sample_weight", "match"),
    [
        ("weights", "sample_weight is 'weights', needs one array of weights for each data set"),
        ([np.ones(20)], "sample_weight has 1 entries, needs 2, one for each data set"),
        ([np.ones(20), np.ones(19)], r"sample_weight\[1\] has shape \(19,\), needs \(20,\)"),
        ([np.ones(20), -np.ones(20)], r"sample_weight\[1\]\[0\] is -1.0, needs a finite number >= 0"),
        ([np.arange(20) < 2, np.ones(20)], r"X\[0\] has 2 points of positive weight, needs at least n_comp"),
    ],
)
def test_fit_many_refuses_weights(sample_weight, match):
    X = np.random.default_rng(0).normal(size=(2, 20, 2))
    with pytest.raises(ValueError, match=match):
        EMMixture(3).fit_many(X, sample_weight=sample_weight)
