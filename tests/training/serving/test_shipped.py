"""Which shipped network serves which data, and that it does."""

import numpy as np
import pytest

from training.serving.estimator import TGMMMixture
from training.serving.loading import load_tgmm
from training.serving.shipped import SHIPPED, STUDIED, automatic


@pytest.mark.parametrize("kind", ["unit", "spherical", "diagonal", "full", "tied"])
@pytest.mark.parametrize("n_features", [1, 2, 3, 8])
def test_the_automatic_network_serves_what_it_is_chosen_for(n_features, kind):
    many = n_features <= 2 or (n_features, kind) == (8, "diagonal")
    for K in range(2, 9 if many else 6):
        config = load_tgmm(automatic(n_features, K, kind)).config
        assert K in config.components
        assert n_features <= config.n_features
        assert kind == "unit" or n_features > 2 or config.covariance == "full"


def test_the_best_network_is_taken_for_what_it_serves():
    assert automatic(8, 5, "unit") == automatic(20, 3, "unit") == automatic(4, 3, "unit") == "d8-constructed"
    assert automatic(8, 3, "full") == automatic(7, 3, "diagonal") == "d8-constructed"
    assert automatic(8, 5, "diagonal") == "d8-constructed"
    assert automatic(8, 8, "diagonal") == "d8-diagonal"
    assert automatic(2, 5, "unit") == "d2-long"


def test_the_studied_networks_are_shipped_and_of_unit_covariances():
    assert set(STUDIED) < set(SHIPPED)
    assert {load_tgmm(name).config.covariance for name in STUDIED} == {"unit"}


def test_data_in_any_units_and_of_seven_components():
    rng = np.random.default_rng(0)
    angles = 2 * np.pi / 7 * np.arange(7)
    centres = 12 * np.stack([np.cos(angles), np.sin(angles)], -1)
    labels = np.arange(126) % 7
    X = 1e3 * (centres[labels] + rng.normal(size=(126, 2))) + 1e4  # components 10 deviations apart
    fit = TGMMMixture(7, covariance_type="full", polish_steps=100).fit(X)
    assert len(set(zip(labels, fit.predict(X), strict=True))) == 7
    named = TGMMMixture(7, covariance_type="full", polish_steps=100, model="d2-full").fit(X)
    np.testing.assert_array_equal(fit.means_, named.means_)
