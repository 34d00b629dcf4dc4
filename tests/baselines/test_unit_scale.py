"""Units in which unit covariances make no sense are found, and not on the paper's tasks; the warning."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2
from sklearn.preprocessing import StandardScaler
from tensor_instances import seeded

from baselines.em import em
from baselines.em_estimator import EMMixture
from baselines.estimator import DataWarning
from baselines.mixture import Mixture
from baselines.tasks import paper_tasks
from baselines.unit_scale import FACTOR, LEVEL, unit_scale


def people(n=60, seed=0):
    """Height in cm and income in EUR of two groups."""
    rng = np.random.default_rng(seed)
    height, income = np.repeat([165.0, 180.0], n // 2), np.repeat([2000.0, 4000.0], n // 2)
    return np.stack([height + 7 * rng.normal(size=n), income + 300 * rng.normal(size=n)], 1)


def test_columns_in_cm_and_euros():
    X = people()
    with pytest.warns(DataWarning, match="EMMixture is not made for this: unit covariances take") as caught:
        model = EMMixture(2, random_state=0).fit(X)
    [warning] = caught
    text = str(warning.message)
    assert "\n" not in text
    assert "bring the columns to one scale first (scikit-learn's StandardScaler)" in text
    assert "or fit another covariance_type" in text
    within = ((X - model.means_[model.predict(X)]) ** 2).mean() ** 0.5
    assert f"the data show {within:.3g};" in text  # so far apart that responsibilities are 0 and 1
    EMMixture(2, random_state=0).fit(StandardScaler().fit_transform(X))  # the two remedies it names
    EMMixture(2, covariance_type="diagonal", random_state=0).fit(X)


def test_data_in_too_large_a_unit():
    X = 1e-3 * paper_tasks(1, 2, 2, 60, seeded(0)).X[0].numpy()
    with pytest.warns(DataWarning, match=r"data show 0\.00\d+; divide the data by about that"):
        EMMixture(2, random_state=0).fit(X)


def test_fit_many_warns_once_with_the_count():
    sets = list(paper_tasks(6, 2, 2, 40, seeded(1)).X.numpy())
    sets[1], sets[4] = people(40, 1), people(50, 2)
    with pytest.warns(DataWarning, match=r"not made for this on 2 of 6 data sets; X\[1\]: unit") as caught:
        found = EMMixture(2, random_state=0).fit_many(sets)
    assert len(caught) == 1
    assert sorted(found.remarks) == [1, 4]
    assert found.converged.all()
    assert not EMMixture(2, random_state=0).fit_many(sets[2:4]).remarks


@pytest.mark.parametrize(("d", "K"), [(1, 2), (2, 2), (2, 5), (8, 3), (8, 5)])
@pytest.mark.parametrize("start", ["k-means++", "normal"])
def test_the_papers_tasks_do_not_trigger_it(d, K, start):
    """Up to 29 % of these fits end in a poor optimum (d = 2, K = 5, "normal"); no verdict in 180,000 of them,
    1 of 20,000 at d = 1 with a start N(0, 1)."""
    X = paper_tasks(400, d, K, 64, seeded(d + K)).X
    result = em(X, K, init=start, generator=seeded(2))
    scale = unit_scale(X, result.mixture, None, result.log_likelihood_per_point)
    assert not scale.wrong.any()
    known = unit_scale(X, result.mixture)  # the level computed there: the same to rounding
    assert torch.equal(known.wrong, scale.wrong)


@pytest.mark.parametrize("factor", [1 / FACTOR, 1.0, FACTOR])
def test_standard_deviations_within_the_factor_pass(factor):
    X = factor * torch.randn(400, 30, 3, dtype=torch.float64, generator=seeded(3))
    assert not unit_scale(X, em(X, 1, generator=seeded(4)).mixture).wrong.any()


@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_standard_deviations_ten_times_off_do_not(factor):
    X = factor * paper_tasks(200, 8, 3, 64, seeded(5)).X
    scale = unit_scale(X, em(X, 3, generator=seeded(6)).mixture)
    assert scale.wrong.all()
    assert torch.equal(scale.too_wide, torch.full((200,), factor > 1))


def test_the_statistic_is_chi_squares():
    """One component, so U = sum |x - mean|^2: scaled to just below and above each quantile."""
    N, d = 25, 3
    X = torch.randn(1, N, d, dtype=torch.float64, generator=seeded(7))
    X = X - X.mean(1, keepdim=True)
    X = X / X.square().sum().sqrt()
    freedom = d * (N - 1)
    mixture = Mixture(torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, d, dtype=torch.float64))
    for quantile, field, outside in (
        (FACTOR**2 * chi2.isf(LEVEL, freedom), "too_wide", 1.001),
        (chi2.ppf(LEVEL, freedom) / FACTOR**2, "too_narrow", 0.999),
    ):
        for step, verdict in ((outside, True), (1 / outside, False)):
            scale = unit_scale(X * math.sqrt(step * quantile), mixture)
            assert getattr(scale, field).tolist() == [verdict]
            assert scale.wrong.tolist() == [verdict]
    assert scale.deviation.isnan().all()  # acquitted without a look


def test_weights_are_copies_and_their_scale_does_not_matter():
    X = torch.from_numpy(people(30, 4))[None]
    mixture = em(X, 2, generator=seeded(8)).mixture
    weight = torch.ones(1, 30, dtype=torch.float64)
    one = unit_scale(X, mixture)
    for scaled in (weight, 1e306 * weight, 1e-306 * weight):
        other = unit_scale(X, mixture, scaled, mixture.log_likelihood_per_point(X))
        torch.testing.assert_close(other.deviation, one.deviation, rtol=1e-13, atol=0)
    alone = weight.clone()
    alone[0, 1:-1] = 0  # one point in each group: nothing is known of the spread within
    assert not unit_scale(X, mixture, alone).wrong.any()


def test_repeated_points_say_nothing_about_units():
    model = EMMixture(1).fit(np.full((9, 1), 14.62))  # a warning would be an error
    assert model.means_.item() == pytest.approx(14.62, rel=1e-14)


@pytest.mark.parametrize(
    ("X", "mixture", "match"),
    [
        (
            torch.zeros(2, 3, 1).double(),
            Mixture(torch.ones(3, 1), torch.zeros(3, 1, 1)).to(dtype=torch.double),
            "batch",
        ),
        (
            torch.zeros(1, 3, 1),
            Mixture(torch.ones(1, 1), torch.zeros(1, 1, 1), torch.ones(1), "tied_spherical"),
            "is of covariance_type 'tied_spherical', needs 'unit'",
        ),
        (torch.zeros(3, 1), Mixture(torch.ones(1), torch.zeros(1, 1)), r"needs \(B, N, d\) and \(B,\)"),
    ],
)
def test_refuses(X, mixture, match):
    with pytest.raises(ValueError, match=match) as caught:
        unit_scale(X, mixture)
    assert "\n" not in str(caught.value)
