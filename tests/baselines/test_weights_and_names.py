"""Weights of any size count by their ratios alone; fit_many keeps the names of columns; no tensors."""

import numpy as np
import pytest
import torch
from em_instances import COVARIANCE_TYPES, instance
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import validation

from baselines.em_estimator import EMMixture
from baselines.em_steps import m_step
from baselines.robust_tensor_power import robust_tensor_power
from baselines.scaling import power_of_two, scaled_weights
from baselines.spectral_estimator import SpectralMixture


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("exponent", [1017, -1060])
def test_weights_of_any_size(covariance_type, exponent):
    """2^1017 is 1.4e306, so sums overflow; 2^-1060 is no normal number. A power of two changes no digit."""
    X, start = instance(9, 2, 2, 40, covariance_type)
    weight = np.array([1.0, 2.0, 3.0, 1.0] * 10)
    model = EMMixture(2, covariance_type=covariance_type, init=start.means.numpy())
    plain = clone(model).fit(X.numpy(), sample_weight=weight)
    scaled = clone(model).fit(X.numpy(), sample_weight=np.ldexp(weight, exponent))
    assert np.array_equal(plain.means_, scaled.means_)
    assert np.array_equal(plain.covariances_, scaled.covariances_)
    assert plain.lower_bound_ == scaled.lower_bound_
    factor = torch.from_numpy(np.ldexp(weight, exponent))
    one = m_step(X, start.responsibilities(X), covariance_type, torch.from_numpy(weight))
    other = m_step(X, start.responsibilities(X), covariance_type, factor)
    assert torch.equal(one.means, other.means)
    levels = [start.log_likelihood_per_point(X, w) for w in (torch.from_numpy(weight), factor)]
    assert levels[0] == levels[1]


def test_a_weight_of_1e306():
    weight = np.full(12, 1e306)
    model = EMMixture(1).fit(np.arange(12.0)[:, None] / 4, sample_weight=weight)
    assert model.means_.item() == pytest.approx(11 / 8, rel=1e-14)


def test_scaled_weights():
    weight = torch.tensor([[0.0, 3e307, 1e300], [5e-324, 0.0, 0.0]], dtype=torch.float64)
    scaled = scaled_weights(weight)
    assert ((scaled.amax(-1) >= 1) & (scaled.amax(-1) < 2)).all()
    assert torch.equal(scaled * power_of_two(weight.amax(-1, keepdim=True)), weight)


class Frame(np.ndarray):
    """An array whose columns have names, for scikit-learn's look-up patched below."""

    columns = None


def frame(X, *names):
    found = np.asarray(X).view(Frame)
    found.columns = np.array(names, dtype=object)
    return found


@pytest.mark.parametrize("model", [EMMixture(2, random_state=0), SpectralMixture(2, random_state=0)])
def test_fit_many_keeps_the_names(model, monkeypatch):
    monkeypatch.setattr(validation, "_get_feature_names", lambda X: getattr(X, "columns", None))
    rng = np.random.default_rng(0)
    X = np.repeat([[6.0, 2.0], [2.0, 7.0]], 20, axis=0) + rng.normal(size=(40, 2))
    fits = model.fit_many([frame(X, "cm", "kg"), X + 0.1, frame(X, "m", "s")])
    assert fits[0].feature_names_in_.tolist() == ["cm", "kg"]
    assert not hasattr(fits[1], "feature_names_in_")
    assert fits[2].feature_names_in_.tolist() == ["m", "s"]
    fits[0].predict(frame(X, "cm", "kg"))
    with pytest.raises(ValueError, match="feature names"):
        fits[0].predict(frame(X, "kg", "cm"))
    assert not hasattr(model.fit_many(X[np.newaxis])[0], "feature_names_in_")


def test_fit_many_of_data_frames():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    X = np.random.default_rng(0).normal(size=(30, 2))
    fits = EMMixture(2, random_state=0).fit_many([pandas.DataFrame(X, columns=["cm", "kg"])])
    assert fits[0].feature_names_in_.tolist() == ["cm", "kg"]


def test_no_tensors_at_all():
    with pytest.raises(
        ValueError, match=r"T has shape \(0, 3, 3, 3\), needs .* with every number at least 1"
    ):
        robust_tensor_power(torch.zeros(0, 3, 3, 3), 2, generator=torch.Generator())


@pytest.mark.parametrize("model", [EMMixture(2, random_state=0), SpectralMixture(2, random_state=0)])
def test_one_set_whose_squares_overflow_disturbs_no_other(model):
    rng = np.random.default_rng(1)
    X = np.repeat([[6.0, 2.0], [2.0, 7.0]], 20, axis=0) + rng.normal(size=(40, 2))
    with pytest.warns(
        ConvergenceWarning, match=r"on 1 of 3 data sets; X\[1\]: squared distances .* scale the data"
    ):
        fits = model.fit_many([X, 1e160 * X, X + 1])
    assert fits.found.tolist() == fits.converged.tolist() == [True, False, True]
    assert np.isnan(fits.means[1]).all()
    with pytest.raises(ValueError, match="has no estimate: squared distances of its points leave the range"):
        clone(model).fit(1e160 * X)
