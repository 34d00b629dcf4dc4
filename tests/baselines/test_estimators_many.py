"""fit_many: every data set as if alone, of one size or many, with one K or many, estimate or none."""

import numpy as np
import pytest
import torch
from em_instances import COVARIANCE_TYPES, instance, radius_and_variance, step_rounding
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from spectral_instances import exact_data, separated_means

from baselines.cutting import groups
from baselines.em import em
from baselines.em_estimator import EMMixture
from baselines.estimator import BatchFit, MixtureEstimator
from baselines.estimator_sets import stack
from baselines.mixture import Mixture
from baselines.points import prepare
from baselines.spectral import spectral
from baselines.spectral_estimator import SpectralMixture
from baselines.starts import start_means

EPS = np.finfo(np.float64).eps
U = EPS / 2


def clear_sets(sizes, K, d=2):
    """Data sets of K groups, 20 apart, every point within 4 of its own place; and the places.

    In squared distance a point is nearer to its own place by at least 20^2 - 2 * 20 * 4 = 240, so from there,
    variances being at most 4^2 / d = 8, responsibilities are 0 and 1 to e^-15. What rounding did before a
    step enters it by e^-15 R^2/s^2 < 0.01: it is forgotten, and what the last step rounds is all that counts.
    """
    generator = torch.Generator().manual_seed(len(sizes))
    places = torch.zeros(K, d, dtype=torch.float64)
    places[:, 0] = 20 * torch.arange(K, dtype=torch.float64)
    sets = []
    for size in sizes:
        noise = torch.randn(size, d, dtype=torch.float64, generator=generator).clamp(-2.5, 2.5)
        sets.append((places[torch.arange(size) % K] + noise).numpy())
    return sets, places.numpy()


def averaging_rounding(X, fitted):
    """How far two EM fits of X may differ where each step is an average over groups, s the least variance.

    About the centre no coordinate exceeds R. A weighted sum of N of them and the sum of N weights round by
    2 N u, the division, the centre taken off and put back by 6 u more: means are off by (2 N + 6) u R. A
    variance is an average of squares, (2 N + 2) u R^2, less a squared mean, 2 R (2 N + 6) u R: in all
    (6 N + 14) u R^2. A log-density -|x - mu|^2/(2 s) - (d/2) log s moves by 4/s for a mean, |x - mu| <= 4,
    and by (4^2/s^2 + d/s)/2 for a variance; its own rounding, (d + 8) u R^2/s, is below the first. Twice,
    for the two fits.
    """
    N, d = X.shape
    R = np.linalg.norm(X - X.mean(0), axis=1).max()
    s = radius_and_variance(torch.from_numpy(X), fitted._mixture())[1]
    return 2 * (6 * N + 14 + d) * U * R**2 * (1 + 4 / s + (16 / s**2 + d / s) / 2)


def assert_same_fit(one, other, tolerance):
    for name in ("weights_", "means_", "covariances_", "lower_bound_"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=0, atol=tolerance)
    for name in ("n_iter_", "converged_", "n_features_in_", "n_parameters_", "covariance_type_"):
        assert getattr(one, name) == getattr(other, name)


@pytest.mark.parametrize("sizes", [[40] * 6, [40, 12, 41, 40, 64, 15]], ids=["equal", "ragged"])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_each_data_set_is_as_if_alone(covariance_type, sizes):
    sets, places = clear_sets(sizes, 3)
    model = EMMixture(3, covariance_type=covariance_type, init=places)
    result = model.fit_many(sets)
    assert result.converged.all()
    for i, X in enumerate(sets):
        alone = clone(model).fit(X)
        assert_same_fit(result[i], alone, averaging_rounding(X, alone))
        np.testing.assert_array_equal(result[i].predict(X), alone.predict(X))


@pytest.mark.parametrize("init", ["k-means++", "random-points"])
def test_same_random_starts_same_fits(init):
    """One step from the starts that fit_many drew, overlapping groups: 2 step_rounding for the two sides.

    The starts are points with coordinates in multiples of 2^-20, so that rounding recovers them exactly.
    """
    X, _ = instance(4, 3, 4, 50, batch=(5,))
    model = EMMixture(4, init=init, max_iter=1, random_state=9)
    points = prepare(X, None, None)
    starts = start_means(points, 4, init, model._generator()) + points.centre
    starts = (starts * 2**20).round() / 2**20
    with pytest.warns(ConvergenceWarning, match=r"on 5 of 5 data sets; X\[0\]: .* after max_iter = 1 steps"):
        result = model.fit_many(X.numpy())
    for i in range(5):
        with pytest.warns(ConvergenceWarning, match="EMMixture did not converge: "):
            alone = clone(model).set_params(init=starts[i].numpy()).fit(X[i].numpy())
        tolerance = 2 * step_rounding(X[i], Mixture(torch.full((4,), 0.25).double(), starts[i]))
        assert_same_fit(result[i], alone, tolerance)


def test_one_data_set_is_the_plain_fit():
    X, _ = instance(0, 2, 3, 60)
    model = EMMixture(3, covariance_type="full", random_state=1)
    one, other = model.fit_many(X[None].numpy())[0], clone(model).fit(X.numpy())
    assert_same_fit(one, other, 0)


def test_em_is_the_batched_engine():
    """The draws of a batch are those of baselines.em with one generator, the numbers its own."""
    X, _ = instance(7, 3, 4, 60, batch=(20,))
    model = EMMixture(4, n_init=2, random_state=3)
    result = model.fit_many(X.numpy())
    settings = {"init": "k-means", "n_init": 2, "tol": 1e-6, "max_iter": 1000}
    engine = em(X, 4, **settings, generator=model._generator())
    assert np.array_equal(result.means, engine.mixture.means.numpy())
    assert np.array_equal(result.weights, engine.mixture.weights.numpy())
    assert np.array_equal(result.log_likelihood, engine.log_likelihood_per_point.numpy())
    assert np.array_equal(result.n_iter, engine.n_iter.numpy())
    assert (result.covariances == 1).all()


def test_mixed_sizes_and_counts_keep_their_places():
    """Lists where K differs, arrays in the order given, and each fitted estimator has its own K."""
    K = [3, 1, 2, 3, 1]
    sets = [clear_sets([20 + i], count)[0][0] for i, count in enumerate(K)]
    result = EMMixture(random_state=0, n_init=10).fit_many(sets, K)
    assert len(result) == 5
    assert result.n_components.tolist() == K
    for i, (X, fitted) in enumerate(zip(sets, result, strict=True)):
        assert fitted.n_components == K[i]
        assert fitted.means_.shape == result.means[i].shape == (K[i], 2)
        groups_of_X = np.array([X[k :: K[i]].mean(0) for k in range(K[i])])
        order = fitted.means_[:, 0].argsort()
        tolerance = averaging_rounding(X, fitted)
        np.testing.assert_allclose(fitted.means_[order], groups_of_X, rtol=0, atol=tolerance)
        assert abs(fitted.lower_bound_ - fitted.score(X)) <= tolerance
        assert result.log_likelihood[i] == fitted.lower_bound_
    assert result[-1].n_components == 1
    for index in (5, -6):
        with pytest.raises(IndexError):
            result[index]


def test_results_do_not_share_memory():
    sets, places = clear_sets([20, 20], 2)
    result = EMMixture(2, init=places).fit_many(sets)
    result[0].means_[:] = 0
    assert (result.means[0] != 0).any()


def test_spectral_failures_leave_the_others_alone():
    """The second set is one point 30 times: no variance. The others are exactly those of the engine."""
    means = separated_means(3, 4, 2, batch=(3,))
    X = exact_data(means, [2, 3], 1.0)
    X[1] = X[1, 0]
    model = SpectralMixture(2, reg_covar=0, random_state=5)
    with pytest.warns(ConvergenceWarning, match=r"on 1 of 3 data sets; X\[1\]: .* cannot be told from 0"):
        result = model.fit_many(X.numpy())
    engine = spectral(X, 2, variance=None, generator=model._generator(), on_failure="mark")
    assert result.found.tolist() == result.converged.tolist() == [True, False, True]
    assert list(result.problems) == [1]
    assert np.isnan(result.means[1]).all()
    assert np.isnan(result.log_likelihood[1])
    assert result.n_iter is None
    for i in (0, 2):
        assert np.array_equal(result.means[i], engine.means[i].numpy())
        assert np.array_equal(result[i].weights_, engine.weights[i].numpy())
        assert (result[i].covariances_ == engine.variance[i].item()).all()
    with pytest.raises(ValueError, match=r"X\[1\] has no estimate: the least eigenvalue"):
        result[1]
    with pytest.raises(ValueError, match="n_samples = 40 has no estimate: the least eigenvalue"):
        model.fit(X[1].numpy())


def test_no_estimate_at_all():
    with pytest.warns(ConvergenceWarning, match="on 2 of 2 data sets"):
        result = SpectralMixture(1, variance=1.0).fit_many(np.zeros((2, 5, 3)))
    assert not result.found.any()
    assert result.means.shape == (2, 1, 3)


def test_power_steps_that_have_not_ended_are_named():
    X = exact_data(separated_means(3, 4, 3), [2, 3, 4], 1.0).numpy()
    with pytest.warns(ConvergenceWarning, match=r"last of n_iter = 1 power steps moved an eigenvector by \d"):
        model = SpectralMixture(3, n_starts=1, n_iter=1, random_state=0).fit(X)
    assert model.converged_ is False


@pytest.mark.parametrize("pads", [True, False])
def test_groups_hold_every_data_set_once(pads):
    sets = [np.zeros((n, 1)) for n in range(1, 200)] * 2
    counts = [1 + i % 2 for i in range(len(sets))]
    together = list(groups([len(points) for points in sets], counts, pads))
    assert sorted(place for places in together for place in places) == list(range(len(sets)))
    for places in together:
        assert len({counts[place] for place in places}) == 1
        sizes = [len(sets[place]) for place in places]
        assert max(sizes) == min(sizes) or (pads and max(sizes) < 1.25 * min(sizes))
    assert len(together) < len(sets) / 6 if pads else len(together) == 2 * 199


def test_padding_repeats_a_point_without_weight():
    sets = [np.array([[1.0], [2.0]]), np.array([[5.0]])]
    X, weight = stack(sets, [1, 0])
    assert X.tolist() == [[[5.0], [5.0]], [[1.0], [2.0]]]
    assert weight.tolist() == [[1.0, 0.0], [1.0, 1.0]]


class GrandMean(MixtureEstimator):
    """The smallest estimator there is: one unit component at the mean, computed in float32."""

    _dtype = torch.float32

    def __init__(self, n_components=1, *, random_state=None):
        self.n_components = n_components
        self.random_state = random_state

    def _fit_batch(self, X, n_components, sample_weight, generator, places):
        assert X.dtype == torch.float32
        assert sample_weight is None
        weights = torch.tensor([0.1, 0.7, 0.2]).expand(len(X), 3)  # float32: they sum to 1 + 2^-24
        means = X.mean(1, keepdim=True).expand(-1, 3, -1)
        return BatchFit(Mixture(weights, means), torch.ones(len(X), dtype=torch.bool), {})


def test_another_estimator_needs_one_method(monkeypatch):
    """Its float32 weights sum to 1 in float64 afterwards, and the likelihoods it left out are computed."""
    monkeypatch.setattr("baselines.estimator.SETS_AT_ONCE", 2)
    sets, _ = clear_sets([12] * 5, 3)
    result = GrandMean(3).fit_many(sets)
    for i, X in enumerate(sets):
        fitted = result[i]
        assert fitted.means_.dtype == np.float64
        assert abs(fitted.weights_.sum() - 1) <= 2 * EPS
        rounding = (len(X) + 1) * np.finfo(np.float32).eps * abs(X).max()  # N points, their sum divided by N
        assert abs(fitted.means_ - X.mean(0)).max() <= rounding
        R = np.linalg.norm(X - X.mean(0), axis=1).max()
        assert abs(fitted.lower_bound_ - fitted.score(X)) <= 2 * (2 + 4 + len(X)) * EPS * R**2
        assert not hasattr(fitted, "n_iter_")
