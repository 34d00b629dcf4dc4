"""TGMMMixture: scikit-learn's checks, what its parameters do, data of other dimensions, bad input."""

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import parametrize_with_checks

from baselines.em import em
from baselines.mixture import Mixture
from baselines.tasks import paper_tasks
from training.model.settings import ModelConfig
from training.model.tgmm import TGMM
from training.serving.bounded_polish import ACCURACY
from training.serving.estimator import TGMMMixture
from training.serving.loading import load_tgmm
from training.serving.views import signed_permutations
from training.tasks import TaskDistribution, sample_tasks

IGNORED = "ignore::sklearn.exceptions.ConvergenceWarning"
OUTSIDE = "ignore:TGMMMixture is not made for this:baselines.estimator.DataWarning"


def expected_failures(estimator):
    # The network is shown a point of weight 2 once.
    found = {"check_sample_weight_equivalence_on_dense_data": "the network's start does not count copies"}
    if estimator.polish == "construction":
        found["check_sample_weights_not_overwritten"] = "hand-built layers take equal weights only"
    return found


@pytest.mark.filterwarnings(IGNORED, OUTSIDE)
@parametrize_with_checks(
    [
        TGMMMixture(),
        TGMMMixture(3, polish="construction", polish_steps=2),
        TGMMMixture(2, covariance_type="diag", warm_start=True, n_views=2, polish_steps=3),
    ],
    expected_failed_checks=expected_failures,
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def tasks(d=8, K=3, n_tasks=6, N=96, seed=5):
    return paper_tasks(n_tasks, d, K, N, torch.Generator().manual_seed(seed))


@pytest.mark.filterwarnings(IGNORED)
def test_network_then_em_is_what_it_says():
    """The same numbers as the network on centred data followed by two steps of baselines.em.

    Centring sums points that lie otherwise in memory, and the network in float32 may then round to 1e-5 of a
    coordinate of 10; EM from there contracts. A step more or less is more than that.
    """
    found = tasks()
    X = found.X
    centre = X.new_ones(6, 1, 96) @ X / 96
    start = load_tgmm("d8-constructed").estimate(X - centre, 3)
    expected = em(X - centre, init=start, max_iter=2, tol=0.0).mixture
    got = TGMMMixture(3, polish_steps=2).fit_many(X.numpy())
    np.testing.assert_allclose(got.weights, expected.weights.numpy(), rtol=0, atol=1e-5)
    np.testing.assert_allclose(got.means, (expected.means + centre).numpy(), rtol=0, atol=1e-4)
    for steps in (1, 3):
        other = em(X - centre, init=start, max_iter=steps, tol=0.0).mixture
        assert (other.means - expected.means).abs().max() > 1e-3


@pytest.mark.filterwarnings(IGNORED)
def test_constructed_layers_do_what_em_does():
    """The promise of the docstring."""
    X = tasks().X.numpy()
    exact = TGMMMixture(3).fit_many(X)
    built = TGMMMixture(3, polish="construction").fit_many(X)
    assert 0 < np.linalg.norm(exact.means - built.means, axis=-1).max() <= ACCURACY
    assert np.abs(exact.weights - built.weights).max() <= ACCURACY
    assert not built.remarks


KINDS = pytest.mark.parametrize(
    "covariance_type", ["tied_spherical", "spherical", "diagonal", "tied", "full"]
)


def stretched(lengths=(96, 70, 83), seed=2):
    """Three groups of deviations 1/2 to 3/2 along axes of their own, d = 2."""
    law = TaskDistribution(2, (3,), covariance="full")
    generator = torch.Generator().manual_seed(seed)
    found = sample_tasks(law, len(lengths), 3, max(lengths), generator, dtype=torch.float64)
    return [points[:n].numpy() for points, n in zip(found.X, lengths, strict=True)]


@pytest.mark.filterwarnings(IGNORED, OUTSIDE)
@KINDS
def test_constructed_layers_do_what_em_of_the_kind_does(covariance_type):
    """The promise of the docstring, in the units of bounded_polish: l the largest eigenvalue by EM."""
    sets, options = stretched(), {"covariance_type": covariance_type, "polish_steps": 4}
    exact = TGMMMixture(3, **options).fit_many(sets)
    built = TGMMMixture(3, polish="construction", **options).fit_many(sets)
    assert not [line for line in built.remarks.values() if "hand-built" in line]
    for one, other in ((exact[i], built[i]) for i in range(len(sets))):
        S, difference = one.covariances_, other.covariances_ - one.covariances_
        if covariance_type in ("tied", "full"):
            S, difference = np.linalg.eigvalsh(S), np.linalg.eigvalsh(difference)
        largest = np.max(S)
        assert 0 < np.abs(difference).max() <= ACCURACY * largest
        assert np.linalg.norm(one.means_ - other.means_, axis=-1).max() <= ACCURACY * largest**0.5
        assert np.abs(one.weights_ - other.weights_).max() <= ACCURACY


@pytest.mark.filterwarnings(IGNORED, OUTSIDE)
def test_constructed_covariances_are_those_of_densities_and_shares():
    X = stretched()[0]
    model = TGMMMixture(3, polish="construction", covariance_type="full", polish_steps=2).fit(X)
    weights, means, S = (torch.tensor(part) for part in (model.weights_, model.means_, model.covariances_))
    mixture = Mixture(weights, means, S, "full")
    # One formula of 1e3 operations on log-densities below 1e2: 1e5 u.
    np.testing.assert_allclose(model.score_samples(X), mixture.score_samples(torch.tensor(X)), atol=1e-11)
    shares = mixture.responsibilities(torch.tensor(X)).mT
    np.testing.assert_allclose(model.predict_proba(X), shares, atol=1e-11)
    assert model.score(X) > TGMMMixture(3, polish="construction", polish_steps=2).fit(X).score(X)


@pytest.mark.filterwarnings(IGNORED)
def test_padding_and_company_do_not_matter():
    """Sets of many lengths together, and each alone: the network in float32 rounds to 1e-5 of a coordinate of
    10, and EM from there is a smooth map that contracts near its maximum."""
    found = tasks(n_tasks=4)
    sets = [points[:n].numpy() for points, n in zip(found.X, (96, 64, 80, 70), strict=True)]
    together = TGMMMixture(3).fit_many(sets)
    for place, points in enumerate(sets):
        alone = TGMMMixture(3).fit(points)
        np.testing.assert_allclose(together[place].means_, alone.means_, rtol=0, atol=1e-4)


@pytest.mark.filterwarnings(IGNORED)
def test_shifted_data_give_shifted_means():
    """The data are centred: 2^20 added to them moves the means by as much, up to rounding of X + 2^20, 2^-33,
    below an ulp of what the float32 network sees, about 1e-6."""
    X = tasks(n_tasks=1).X[0].numpy()
    shift = 2.0**20
    there, here = TGMMMixture(3).fit(X + shift), TGMMMixture(3).fit(X)
    np.testing.assert_allclose(there.means_ - shift, here.means_, rtol=0, atol=1e-4)


@pytest.mark.filterwarnings(IGNORED, OUTSIDE)
@pytest.mark.parametrize(("d", "K"), [(1, 2), (2, 3), (3, 3), (5, 2), (12, 3), (20, 4)])
def test_other_dimensions(d, K):
    """Well separated groups are found in any dimension: each mean is near one of the true ones."""
    generator = torch.Generator().manual_seed(d)
    directions = torch.linalg.qr(torch.randn(max(d, K), max(d, K), generator=generator)).Q[:K, :d].double()
    means = 5.0 * (torch.tensor([[-1.0], [1.0]]).double() if d == 1 else directions)
    if d == 2:
        angles = 2 * torch.pi * torch.arange(K) / K
        means = 4.0 * torch.stack([angles.cos(), angles.sin()], 1).double()
    X, labels = Mixture(torch.full((K,), 1 / K, dtype=torch.float64), means).sample(300, generator)
    model = TGMMMixture(K, random_state=0).fit(X.numpy())
    assert model.means_.shape == (K, d)
    groups = np.stack([X[labels == k].mean(0).numpy() for k in range(K)])
    gaps = np.linalg.norm(model.means_[:, None] - groups[None], axis=-1)
    # A group of 300/K points, at least 60, has a mean within 5 sqrt(d/60) with probability 1 - 1e-6.
    assert (gaps.min(0) < 5 * (d / 60) ** 0.5).all()
    assert sorted(gaps.argmin(0)) == list(range(K))


@pytest.mark.filterwarnings(IGNORED)
def test_more_views_are_never_less_likely():
    """The likeliest of eight views, the first of which is the data themselves; of the network alone, whose
    estimates of the views differ by far more than rounding."""
    X = tasks(K=5, n_tasks=12).X.numpy()
    one, eight = (TGMMMixture(5, n_views=views, polish_steps=0).fit_many(X) for views in (1, 8))
    # The level is computed again by em: at most N (d + 4) u R^2 apart, R about 20, which is 3e-11.
    assert (eight.log_likelihood >= one.log_likelihood - 3e-11).all()
    assert (eight.log_likelihood > one.log_likelihood + 1e-3).any()


def test_views_are_different_isometries():
    images = signed_permutations(3, 48)
    assert len({tuple(image.flatten().tolist()) for image in images}) == 48  # 2^3 3!: all there are
    torch.testing.assert_close(images @ images.mT, torch.eye(3).double().expand(48, 3, 3), rtol=0, atol=0)
    torch.testing.assert_close(images[0], torch.eye(3).double(), rtol=0, atol=0)


@pytest.mark.filterwarnings(IGNORED)
def test_a_view_is_mapped_back():
    """From a network that returns fixed points of its input's frame, every view gives the same mixture."""

    class Frame(TGMM):
        def estimate(self, X, n_components, mask=None, look=0):
            means = torch.stack([X[:, :40].mean(1), X[:, 40:].mean(1)], 1)
            return Mixture(torch.full((len(X), 2), 0.5, dtype=X.dtype), means)

        def with_polish(self, steps, pieces=1):
            return self

    X = tasks(K=2, n_tasks=3).X.numpy()
    model = Frame(ModelConfig(n_features=8))
    found = [TGMMMixture(2, model=model, n_views=views, polish_steps=0).fit_many(X).means for views in (1, 5)]
    # Averages of 40 to 56 numbers of at most 10 in another order: 56 u 10 = 6e-14.
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=6e-14)


def test_says_when_it_has_converged():
    """Groups ten deviations apart: EM has settled after ten steps, and no warning is given."""
    means = 7 * torch.eye(8, dtype=torch.float64)[:3] - 2
    X, _ = Mixture(torch.full((3,), 1 / 3, dtype=torch.float64), means).sample(
        100, torch.Generator().manual_seed(0)
    )
    assert TGMMMixture(3, n_views=2).fit(X.numpy()).converged_


def test_reports_that_it_has_not_converged():
    X = tasks(K=5, n_tasks=1).X[0].numpy()
    with pytest.warns(ConvergenceWarning, match="polish_steps = 0 another EM step still raises"):
        model = TGMMMixture(5, polish_steps=0).fit(X)
    assert not model.converged_
    assert model.n_iter_ == 0


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_components": 7}, "n_components is 7, this model serves 2, 3, 4, 5"),
        ({"polish": "magic"}, "polish is 'magic', needs one of construction, em"),
        ({"polish_steps": -1}, "polish_steps is -1, needs an integer of at least 1"),
        ({"polish_steps": 1.5}, "polish_steps is 1.5, needs an integer"),
        ({"covariance_type": "round"}, "covariance_type is 'round'"),
        ({"polish_steps": False}, "polish_steps is False, needs an integer"),
        ({"polish_steps": None}, "polish_steps is None, needs an integer"),
        ({"tol": -1}, "tol is -1, needs a finite number of at least 0"),
        ({"tol": "a"}, "tol is 'a', needs a finite number of at least 0"),
        ({"n_components": 1, "n_views": 0}, "n_views is 0, needs an integer of at least 1"),
        ({"n_views": 0}, "n_views is 0, needs an integer of at least 1"),
        ({"n_views": 100_000}, "n_views is 100000, needs at most 1024: each view is a forward pass"),
        ({"model": "nowhere.safetensors"}, "no such file"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        TGMMMixture(**{"n_components": 3} | parameters).fit(tasks(n_tasks=1).X[0].numpy())


@pytest.mark.filterwarnings(IGNORED)
def test_a_set_beyond_the_network_leaves_the_others_alone():
    """1e20 is finite, but its square is not in float32: that set has no estimate, with the reason."""
    X = tasks(n_tasks=3).X.numpy()
    large = X.copy()
    large[1] *= 1e20
    found, expected = (TGMMMixture(3).fit_many(points) for points in (large, X))
    assert found.found.tolist() == [True, False, True]
    assert "the network takes at most 1e+09" in found.problems[1]
    np.testing.assert_array_equal(found.means[[0, 2]], expected.means[[0, 2]])
    with pytest.raises(ValueError, match=r"has no estimate: a coordinate is 8\.\d+e\+20"):
        TGMMMixture(3).fit(large[1])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_bad_data(value):
    X = tasks(n_tasks=1).X[0].numpy()
    X[3, 2] = value
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        TGMMMixture(3).fit(X)


@pytest.mark.filterwarnings(IGNORED)
@KINDS
def test_other_covariances(covariance_type):
    X = 0.5 * tasks(K=2, n_tasks=1).X[0].numpy()
    model = TGMMMixture(2, covariance_type=covariance_type).fit(X)
    assert model.covariance_type_ == covariance_type
    assert model.score(X) > TGMMMixture(2).fit(X).score(X)  # variances 1/4, where unit ones are too wide


@pytest.mark.filterwarnings(IGNORED)
def test_weights_count_in_the_steps():
    """From one start: EM of the weighted points, which test_sample_weights.py compares with copies."""
    X = tasks(n_tasks=1).X[0]
    counts = torch.randint(0, 3, (96,), generator=torch.Generator().manual_seed(0)).double()
    model = TGMMMixture(3, polish_steps=4).fit(X.numpy(), sample_weight=counts.numpy())
    centre = counts @ X / counts.sum()
    shown = load_tgmm("d8-constructed").estimate((X - centre).unsqueeze(0), 3, (counts > 0).unsqueeze(0))
    start = Mixture(shown.weights[0], shown.means[0] + centre)
    expected = em(X, init=start, max_iter=4, tol=0.0, sample_weight=counts)
    np.testing.assert_allclose(model.means_, expected.mixture.means.numpy(), rtol=0, atol=1e-4)
    assert abs(model.score(X.numpy(), sample_weight=counts.numpy()) - model.lower_bound_) <= 1e-12
    assert len(model.lower_bounds_) == 5
    assert (np.diff(model.lower_bounds_) >= -1e-13).all()
    assert model.lower_bounds_[0] < model.lower_bound_
    with pytest.raises(
        ValueError, match=r"sample_weight holds 1.0 and 2.0, needs equal weights or 0 with pol"
    ):
        TGMMMixture(3, polish="construction").fit(X.numpy(), sample_weight=counts.numpy())


@pytest.mark.filterwarnings(IGNORED)
@pytest.mark.parametrize("kind", ["unit", "tied_spherical", "diag", "full"])
def test_warm_start_goes_on_without_the_network(kind):
    """Two fits of three steps are one of six; the second start differs by the rounding of a centre."""
    X = tasks(n_tasks=1).X[0].numpy().astype(np.float32)
    whole = TGMMMixture(3, covariance_type=kind, polish_steps=6).fit(X)
    model = TGMMMixture(3, covariance_type=kind, polish_steps=3, warm_start=True).fit(X)
    model.set_params(model="no such file").fit(X)
    assert model.means_.dtype == np.float32
    np.testing.assert_allclose(model.means_, whole.means_, rtol=0, atol=1e-5)
    np.testing.assert_allclose(model.lower_bounds_, whole.lower_bounds_[3:], rtol=0, atol=1e-8)


@pytest.mark.filterwarnings(IGNORED)
def test_views_that_agree_and_what_is_printed(capsys):
    X = tasks().X.numpy()
    found = TGMMMixture(3, n_views=3, polish_steps=20, verbose=1).fit_many(X)
    assert ((found.n_restarts_agreeing >= 1) & (found.n_restarts_agreeing <= 3)).all()
    assert found.n_restarts_agreeing.max() == 3
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == [
        "TGMMMixture, view 1",
        "TGMMMixture, view 2",
        "TGMMMixture, view 3",
    ]
    levels = [row[-1] for row in found.lower_bounds]
    np.testing.assert_allclose(levels, found.log_likelihood, rtol=0, atol=1e-12)


@pytest.mark.filterwarnings(IGNORED, OUTSIDE)
def test_reg_covar_holds_covariances_up():
    """Points in a plane of eight dimensions: variances off it are reg_covar."""
    X = np.zeros((96, 8))
    X[:, :2] = tasks(d=2, n_tasks=1).X[0].numpy()
    model = TGMMMixture(3, covariance_type="full", reg_covar=1e-4).fit(X)
    least = np.linalg.eigvalsh(model.covariances_)[:, :6]
    np.testing.assert_allclose(least, 1e-4, rtol=1e-8)
