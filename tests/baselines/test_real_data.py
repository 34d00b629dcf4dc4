"""Bundled real data: prepared as said, and every figure of the table checked against scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from baselines.em_estimator import EMMixture
from baselines.gaussian import COVARIANCE_TYPES
from baselines.real_data import PEER_TYPES, real_data_estimators, real_data_sets, real_data_table
from baselines.spectral_estimator import SpectralMixture

EPS = np.finfo(np.float64).eps
SETS = {data.name: data for data in real_data_sets()}


def test_data_sets():
    found = {name: (*data.X.shape, data.n_classes) for name, data in SETS.items()}
    assert found == {
        "iris": (150, 4, 3),
        "wine": (178, 13, 3),
        "breast cancer": (569, 30, 2),
        "digits": (1797, 10, 10),
        "digits 0-4": (901, 10, 5),
    }
    for data in SETS.values():
        assert sorted(set(data.classes)) == list(range(data.n_classes))


@pytest.mark.parametrize("name", SETS)
def test_standardised_or_principal(name):
    """Averages of N numbers no larger than R: within (N + 2) u R of 0. Their products, sums of d terms where
    a component is, with d up to 64 before the reduction: within (N + 64 + 8) u R^2, and eigenvectors
    orthogonal to 64 u (LAPACK's p(d) taken to be d) leave as much again."""
    X = SETS[name].X
    N, R = len(X), np.linalg.norm(X, axis=1).max()
    assert abs(X.mean(0)).max() <= (N + 2) * EPS * R
    covariance = X.T @ X / N
    limit = 2 * (N + 72) * EPS * R**2
    if "digits" in name:
        assert SETS[name].treatment == "standardised, 10 principal components"
        assert abs(covariance - np.diag(np.diag(covariance))).max() <= limit
        assert (np.diff(np.diag(covariance)) < 0).all()
    else:
        assert SETS[name].treatment == "standardised"
        assert abs(np.diag(covariance) - 1).max() <= limit


def test_reduced_to_what_a_network_was_trained_for():
    assert [data.X.shape[1] for data in real_data_sets(2)] == [2] * 5
    assert [data.name for data in real_data_sets(8)] == ["wine", "breast cancer", "digits", "digits 0-4"]
    assert np.array_equal(real_data_sets(4)[0].X, SETS["iris"].X)  # all of its columns: nothing to reduce
    with pytest.raises(ValueError, match="n_features is 11, needs at most 10"):
        real_data_sets(11)
    with pytest.raises(ValueError, match="n_features is 0, needs an integer of at least 1"):
        real_data_sets(0)


def test_rows_are_the_fits():
    """Figures of a row, by scikit-learn's own functions and a fit of one's own; both are deterministic.

    scikit-learn's index divides other integers, each below 2^53: a handful of roundings, 8 u.
    """
    data = [SETS["iris"], SETS["wine"]]
    estimators = {
        "ours": EMMixture(covariance_type="diagonal", random_state=3),
        "peer": GaussianMixture(covariance_type="diag", random_state=3),
    }
    rows = real_data_table(estimators, data)
    assert [(row.data, row.estimator) for row in rows] == [
        ("iris", "ours"),
        ("iris", "peer"),
        ("wine", "ours"),
        ("wine", "peer"),
    ]
    for row in rows:
        X, classes = SETS[row.data].X, SETS[row.data].classes
        model = estimators[row.estimator].set_params(n_components=3).fit(X)
        assert (row.n_samples, row.n_features, row.n_components) == (*X.shape, 3)
        assert abs(row.adjusted_rand_index - adjusted_rand_score(classes, model.predict(X))) <= 8 * EPS
        assert row.log_likelihood == model.score(X)
        assert row.n_parameters == 2 + 2 * 3 * X.shape[1]
        assert row.converged is True
        assert row.problem == ""


def test_problems_are_in_the_rows():
    (iris,) = (data for data in real_data_sets(2) if data.name == "iris")
    estimators = {"one step": EMMixture(max_iter=1, random_state=0), "moments": SpectralMixture()}
    one_step, moments = real_data_table(estimators, [iris])
    assert one_step.converged is False
    assert "after max_iter = 1 steps" in one_step.problem
    assert np.isfinite(one_step.log_likelihood)
    assert moments.converged is False
    assert "n_components is 3, needs at most n_features = 2" in moments.problem
    assert np.isnan(moments.adjusted_rand_index)
    assert np.isnan(moments.log_likelihood)


def test_known_optimum_of_iris():
    """Both find the same groups with full covariances, the textbook 0.904 (5 flowers of 150 with others)."""
    estimators = {name: one for name, one in real_data_estimators().items() if name.endswith(", full")}
    rows = real_data_table(estimators, [SETS["iris"]])
    assert [row.estimator for row in rows] == ["EM, full", "scikit-learn, full"]
    assert [round(row.adjusted_rand_index, 3) for row in rows] == [0.904, 0.904]
    models = [one.set_params(n_components=3).fit(SETS["iris"].X) for one in estimators.values()]
    ours, theirs = (model.predict(SETS["iris"].X) for model in models)
    assert adjusted_rand_score(ours, theirs) == 1.0


def test_estimators_of_the_table():
    estimators = real_data_estimators(4)
    expected = [f"EM, {kind}" for kind in COVARIANCE_TYPES]
    expected += [f"scikit-learn, {kind}" for kind in PEER_TYPES]
    assert list(estimators) == [*expected, "spectral"]
    for kind, name in PEER_TYPES.items():
        assert estimators[f"scikit-learn, {kind}"].covariance_type == name
        assert estimators[f"EM, {kind}"].covariance_type == kind
    assert {one.random_state for one in estimators.values()} == {4}


@pytest.mark.slow
def test_the_whole_table():
    """Every data set with every estimator: a line that is a figure or a reason."""
    rows = real_data_table(real_data_estimators())
    assert len(rows) == 5 * 11
    for row in rows:
        assert row.problem if np.isnan(row.log_likelihood) else -0.5 < row.adjusted_rand_index <= 1
    for data in SETS:
        unit, free = (
            next(r.log_likelihood for r in rows if (r.data, r.estimator) == (data, f"EM, {kind}"))
            for kind in ("unit", "full")
        )
        assert free > unit
