"""Learned start and EM steps beside EM of ten restarts, on standardised real data, same covariances."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from baselines.em_estimator import EMMixture
from training.serving.estimator import TGMMMixture

pytestmark = pytest.mark.slow

DATA = {"iris": (load_iris, 3, 4), "wine": (load_wine, 3, 13), "breast cancer": (load_breast_cancer, 2, 30)}
SHARE = 0.01


def points(name):
    load, K, d = DATA[name]
    X = StandardScaler().fit_transform(load(return_X_y=True)[0])
    return (X if d == 4 else PCA(4).fit_transform(X)), K


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["unit", "spherical", "diagonal", "full"])
@pytest.mark.parametrize("name", list(DATA))
def test_within_a_hundredth_of_restarted_em(name, kind):
    X, K = points(name)
    level = EMMixture(K, covariance_type=kind, n_init=10, random_state=0).fit(X).score(X)
    allowed = SHARE * abs(level)
    plain = TGMMMixture(K, covariance_type=kind, random_state=0).fit(X).score(X)
    assert plain >= level - allowed
    more = TGMMMixture(K, covariance_type=kind, random_state=0, n_views=8, polish_steps=100).fit(X)
    assert more.score(X) >= level - allowed
    assert np.isfinite(plain)
