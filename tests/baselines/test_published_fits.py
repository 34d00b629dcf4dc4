"""Fits of iris published with mclust: BIC, ICL and log-likelihood, from the groups of Ward's tree.

mclust starts from a tree too (of the likelihood of full covariances), ends when the log-likelihood changes by
1e-5 of itself, and prints BIC = 2 log L - p log N, larger being better. Here EM goes on to changes of 1e-9 a
point. Figures: Scrucca, Fop, Murphy and Raftery 2016 and the package's documentation; all are rounded to
half a unit of their last digit.
"""

import numpy as np
import pytest
from sklearn.datasets import load_iris

from baselines.em_estimator import EMMixture

X = load_iris().data
SETTINGS = {"init": "ward", "tol": 1e-9, "max_iter": 5000}
BIC = {
    ("EII", 2): -1123.411,
    ("VVI", 2): -857.551,
    ("EEE", 3): -632.963,
    ("VVV", 2): -574.018,
    ("VVV", 3): -580.839,
    ("VEV", 2): -561.7285,
}


@pytest.mark.parametrize(("name", "K"), BIC)
def test_bic(name, K):
    """Half of the last published digit, and what mclust's end leaves, 1e-5 |log L| at a rate below 0.7."""
    published = BIC[name, K]
    ours = -EMMixture(K, covariance_type=name, **SETTINGS).fit(X).bic(X)
    assert ours == pytest.approx(published, abs=5e-4 + 2e-5 * 450 / 2)


def test_log_likelihood_and_icl():
    three = EMMixture(3, covariance_type="VVV", **SETTINGS).fit(X)
    assert three.score(X) * len(X) == pytest.approx(-180.1855, abs=5e-5 + 1e-5 * 180)
    two = EMMixture(2, covariance_type="VEV", **SETTINGS).fit(X)
    assert two.n_parameters_ == 26
    assert two.score(X) * len(X) == pytest.approx(-215.7259, abs=5e-5 + 1e-5 * 216)
    icl = two.bic(X) - 2 * np.log(two.predict_proba(X).max(1)).sum()
    assert icl == pytest.approx(561.7289, abs=5e-5 + 2e-5 * 216)


def test_fit_many_of_a_family_is_the_fit_of_each():
    """The same tree and steps: rounding counts squared at a maximum, and tol leaves 1e-9 a point."""
    model = EMMixture(2, covariance_type="VEI", **SETTINGS)
    many, alone = model.fit_many([X, X[:140]]), model.fit(X)
    assert many[0].n_parameters_ == alone.n_parameters_ == 1 + 8 + 2 + 3
    assert many[0].covariance_type_ == "diagonal"
    assert many[0].bic(X) == pytest.approx(alone.bic(X), abs=2 * 150 * 1e-9)
