"""TGMMMixture behind a network that says covariances and sees data in their own units."""

import warnings

import numpy as np
import pytest
import torch

from baselines.mixture import Mixture
from training.model.settings import ModelConfig
from training.model.tgmm import TGMM
from training.serving.estimator import TGMMMixture, turned
from training.serving.trained_range import remarks_on_range
from training.serving.views import signed_permutations
from training.tasks import TaskDistribution


def blobs(N: int, d: int) -> np.ndarray:
    """Three groups of N / 3 points."""
    rng = np.random.default_rng(0)
    return 4 * rng.normal(size=(3, 1, d)).repeat(N // 3, 1).reshape(N, d) + rng.normal(size=(N, d))


def covariance_model(kind: str, standardise: bool = True) -> TGMM:
    torch.manual_seed(0)
    config = ModelConfig(
        3, (2, 3), layers=1, heads=1, width=8, covariance=kind, standardise=standardise, data_scale=1.0
    )
    return TGMM(config).eval().requires_grad_(False)


@pytest.mark.parametrize("kind", ["unit", "tied_spherical", "spherical", "diagonal", "tied", "full"])
@pytest.mark.parametrize("said", ["diagonal", "full"])
@pytest.mark.parametrize("d", [2, 3, 5])
def test_a_network_that_says_covariances_starts_every_kind(said: str, kind: str, d: int) -> None:
    """Its own dimension, padded and projected; without a step the estimate itself, of the type asked for."""
    X = blobs(60, d)
    for steps in (0, 3):
        model = TGMMMixture(
            3, model=covariance_model(said), covariance_type=kind, polish_steps=steps, n_views=3
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X)
        assert model.covariance_type == kind
        assert model.means_.shape == (3, d)
        assert np.isfinite(model.score(X))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_units_of_the_data_do_not_count_where_the_network_takes_any() -> None:
    """Of 64 points on a grid, with units that are powers of two, the network sees the same bits."""
    X = np.round(blobs(66, 3)[:64] * 2**10) / 2**10
    scale, shift = np.array([2.0**10, 2.0**-7, 1.0]), np.array([1e4, -5.0, 1e2])
    one, other = (
        TGMMMixture(3, model=covariance_model("full"), covariance_type="full", polish_steps=0).fit(data)
        for data in (X, X * scale + shift)
    )
    np.testing.assert_array_equal(one.weights_, other.weights_)
    np.testing.assert_array_equal(one.covariances_ * np.outer(scale, scale), other.covariances_)
    # Means are put together from the centre: four roundings of numbers no larger than these.
    expected = one.means_ * scale + shift
    assert (np.abs(expected - other.means_) <= 4 * 2.0**-53 * (np.abs(expected) + 2 * np.abs(shift))).all()


def test_views_turn_covariances_with_the_means() -> None:
    rng = np.random.default_rng(0)
    A = torch.from_numpy(rng.normal(size=(1, 2, 3, 3)))
    mean, S = torch.from_numpy(rng.normal(size=(1, 2, 3))), A @ A.mT
    X = torch.from_numpy(rng.normal(size=(1, 7, 3)))
    weights = torch.full((1, 2), 0.5, dtype=torch.float64)
    for image in signed_permutations(3, 5):
        for mixture in (
            Mixture(weights, mean, (S + S.mT) / 2, "full"),
            Mixture(weights, mean, S.diagonal(dim1=-2, dim2=-1).contiguous(), "diagonal"),
        ):
            seen = X @ image.mT
            back = turned(mixture, image)
            ours, theirs = back.score_samples(X), mixture.score_samples(seen)
            # The same numbers in another order, behind roots of condition cond(S): 50 roundings a side.
            worst = float(torch.linalg.cond(S).max())
            assert bool(((ours - theirs).abs() <= 2 * 50 * 2.0**-53 * worst * (theirs.abs() + 8)).all())


def test_a_scaled_network_makes_no_remark_on_units() -> None:
    """Only N and d: what the data are measured in is no matter."""
    law = TaskDistribution(3, (2, 3), (20, 80), covariance="full")
    X = torch.from_numpy(1e5 * blobs(60, 3))[None]
    assert remarks_on_range(covariance_model("full"), law, X, None) == {}
    found = remarks_on_range(covariance_model("full"), law, X[:, :10], None)[0]
    assert "full covariances in any units, here is N = 10;" in found


def test_correlated_tasks_have_deviation_one() -> None:
    """Whatever the law's deviation_range: data ten times as narrow are outside."""
    law = TaskDistribution(3, (2, 3), (20, 80), covariance="correlated", correlation=0.9)
    X = torch.from_numpy(blobs(60, 3))[None]
    model = covariance_model("full", standardise=False)
    assert remarks_on_range(model, law, X, None) == {}
    found = remarks_on_range(model, law, X / X.std() / 10, None)[0]
    assert "deviation 1 within a component, here is a deviation of 0.1" in found
