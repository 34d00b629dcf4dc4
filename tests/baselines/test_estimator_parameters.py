"""What people of scikit-learn bring along: starts, warm_start, verbose, float32, max_iter = 0, "diag"."""

import warnings

import numpy as np
import pytest
import torch
from em_instances import COVARIANCE_TYPES, instance, step_rounding
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning

from baselines.em_estimator import EMMixture
from baselines.spectral_estimator import SpectralMixture

IRIS = load_iris().data
NOT_CONVERGED = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def quiet(model, X, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, **more)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_a_start_given_whole_is_the_start(kind):
    """max_iter = 0 hands it back: precisions are inverted, and means moved by the centre and back."""
    X, _ = instance(2, 3, 4, 60, kind)
    fitted = EMMixture(4, covariance_type=kind, random_state=0).fit(X.numpy())
    model = EMMixture(
        4, covariance_type=kind, max_iter=0, weights_init=fitted.weights_, means_init=fitted.means_
    )
    if kind != "unit":
        model.set_params(precisions_init=fitted.precisions_)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(X.numpy())
    assert model.converged_ is False
    assert model.n_iter_ == 0
    assert model.lower_bounds_.tolist() == [model.lower_bound_]
    np.testing.assert_array_equal(model.weights_, fitted.weights_)
    np.testing.assert_allclose(model.means_, fitted.means_, rtol=0, atol=4 * 2**-53 * abs(X.numpy()).max())
    condition = np.linalg.cond(fitted.covariances_).max() if kind in ("tied", "full") else 1
    scale = abs(fitted.covariances_).max()
    np.testing.assert_allclose(
        model.covariances_, fitted.covariances_, rtol=0, atol=64 * 2**-53 * condition * scale
    )


def test_parts_of_a_start():
    """Weights or precisions alone replace those of the named start, in every restart."""
    X, _ = instance(3, 2, 3, 60)
    settings = {"covariance_type": "diag", "max_iter": 0, "random_state": 1}
    plain = EMMixture(3, **settings).fit(X.numpy())
    assert plain.covariance_type_ == "diagonal"
    given = EMMixture(3, **settings, weights_init=[0.5, 0.25, 0.25], precisions_init=np.full((3, 2), 4.0))
    given.fit(X.numpy())
    np.testing.assert_array_equal(given.means_, plain.means_)
    assert given.weights_.tolist() == [0.5, 0.25, 0.25]
    assert (given.covariances_ == 0.25).all()
    given.set_params(n_init=3, max_iter=50).fit(X.numpy())
    assert given.lower_bounds_[0] < given.lower_bound_


def test_fit_many_goes_on_from_other_fits():
    """What is handed on is what was found: the first level of the later fit is one of the whole run."""
    sets = instance(4, 2, 3, 80, "full", batch=(3,))[0].numpy()
    first = EMMixture(3, covariance_type="full", max_iter=4, tol=0, random_state=0)
    with pytest.warns(ConvergenceWarning):
        begun = first.fit_many(sets)
    start = {"weights_init": begun.weights, "means_init": begun.means, "precisions_init": begun.precisions}
    gone_on = EMMixture(3, covariance_type="full", **start).fit_many(sets)
    whole = EMMixture(3, covariance_type="full", random_state=0).fit_many(sets)
    assert (whole.n_iter > 6).all()
    assert (gone_on.n_iter == whole.n_iter - 4).all()
    for place, X in enumerate(sets):
        allowed = 2 * step_rounding(torch.from_numpy(X), begun[place]._mixture())
        run = whole.lower_bounds[place]
        assert gone_on.lower_bounds[place][0] == pytest.approx(run[4], abs=allowed)
        assert allowed < run[5] - run[4]


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@pytest.mark.parametrize("steps", [1, 3])
def test_warm_start_takes_the_same_steps(kind, steps):
    """Pieces of a run are the run: each fit hands on what it found, and the last change counts for tol.

    The run takes one step more where its last piece ends by the change that the next pass would find. Each
    step rounds by `step_rounding`, and EM contracts it.
    """
    model = EMMixture(3, covariance_type=kind, tol=1e-4, reg_covar=0, random_state=0)
    whole, model = clone(model).fit(IRIS), model.set_params(max_iter=steps, warm_start=True)
    levels = []
    for _ in range(100):
        quiet(model, IRIS)
        levels += [*model.lower_bounds_[:-1]]
        if model.converged_:
            break
    levels.append(model.lower_bound_)
    assert model.converged_
    assert len(levels) - 1 in (whole.n_iter_, whole.n_iter_ - 1)
    allowed = len(levels) * step_rounding(torch.from_numpy(IRIS), whole._mixture())
    np.testing.assert_allclose(levels, whole.lower_bounds_[: len(levels)], rtol=0, atol=allowed)


def test_warm_start_is_refused_for_another_shape():
    model = EMMixture(2, warm_start=True, random_state=0).fit(IRIS)
    with pytest.raises(
        ValueError, match=r"warm_start goes on from .* = \('unit', 2, 4\), needs \('unit', 3, 4\)"
    ):
        model.set_params(n_components=3).fit(IRIS)


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"weights_init": [0.5, 0.5]}, r"weights_init has shape \(2,\), needs \(3,\): \(n_components,\)"),
        ({"weights_init": [0.5, 0.5, 0.5]}, "weights_init sums to 1.5, needs 1 within 1.5e-08"),
        ({"weights_init": [0.5, 0.5, 0.0]}, "weights_init has the least value 0.0, needs values > 0"),
        ({"means_init": IRIS[:2]}, r"means_init has shape \(2, 4\), needs \(3, 4\)"),
        ({"means_init": np.full((3, 4), np.inf)}, r"means_init\[0, 0\] is inf, needs finite values"),
        ({"means_init": IRIS[:3], "init": IRIS[:3]}, "init and means_init are both arrays"),
        ({"means_init": IRIS[:3], "n_init": 2}, "n_init is 2, needs 1 when means_init is an array"),
        ({"precisions_init": np.ones((3, 4))}, r"precisions_init has shape \(3, 4\), needs \(3, 4, 4\)"),
        ({"precisions_init": -np.ones((3, 4, 4))}, "precisions_init is not positive definite"),
        (
            {"precisions_init": np.tri(4) + np.zeros((3, 4, 4))},
            "precisions_init differs from its transpose by 1",
        ),
        ({"covariance_type": "unit", "precisions_init": np.ones(3)}, "precisions_init is given, needs None"),
        (
            {"covariance_type": "spherical", "precisions_init": [1, 1, 0]},
            r"precisions_init\[2\] is 0.0, needs",
        ),
        (
            {"covariance_type": "tied_spherical", "precisions_init": [1, 1, 2]},
            "has different values, needs equal",
        ),
        ({"verbose": -1}, "verbose is -1, needs"),
        ({"verbose_interval": 0}, "verbose_interval is 0, needs an integer of at least 1"),
    ],
)
def test_starts_that_are_refused(parameters, match):
    model = EMMixture(3, covariance_type="full", random_state=0).set_params(**parameters)
    with pytest.raises(ValueError, match=match) as caught:
        model.fit(IRIS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_float32_in_float32_out(kind):
    """Computed in float64 and rounded once; scores go on from the unrounded numbers."""
    narrow = IRIS.astype(np.float32)
    model = EMMixture(3, covariance_type=kind, tol=1e-3, random_state=0)
    one, other = clone(model).fit(narrow), clone(model).fit(narrow.astype(float))
    for name in ("weights_", "means_", "covariances_"):
        assert getattr(one, name).dtype == np.float32
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name).astype(np.float32))
    assert one.precisions_.dtype == one.precisions_cholesky_.dtype == one.sample(2)[0].dtype == np.float32
    assert one.score_samples(narrow).dtype == one.predict_proba(narrow).dtype == np.float32
    np.testing.assert_array_equal(one.score_samples(IRIS), other.score_samples(IRIS))
    many = clone(model).fit_many(np.stack([narrow, narrow]))
    assert many.means.dtype == many[1].weights_.dtype == np.float32
    assert many[0].score(narrow) == one.score(narrow)
    assert clone(model).fit_many([narrow, IRIS]).means.dtype == np.float64
    one.means_ = one.means_ + np.float32(1)  # what is set by hand is what counts
    assert one.score(narrow) < other.score(IRIS) - 0.1


def test_spectral_float32():
    X = (np.eye(3)[np.arange(90) % 3] * 9 + np.random.default_rng(0).normal(size=(90, 3))).astype(np.float32)
    model = SpectralMixture(3, random_state=0).fit(X)
    assert model.means_.dtype == model.covariances_.dtype == np.float32
    assert model.lower_bounds_.tolist() == [model.lower_bound_]


def test_restarts_that_agree():
    """Three groups so clear that k-means++ finds them from every start; on noise restarts differ."""
    X = np.repeat([[0.0, 0], [30, 0], [0, 30]], 30, axis=0) + np.random.default_rng(0).normal(size=(90, 2))
    assert EMMixture(3, n_init=5, random_state=0).fit(X).n_restarts_agreeing_ == 5
    assert EMMixture(3, random_state=0).fit(X).n_restarts_agreeing_ == 1
    noise = np.random.default_rng(1).normal(size=(60, 2))
    model = EMMixture(4, covariance_type="spherical", n_init=6, init="random-points", random_state=0)
    assert 1 <= model.fit(noise).n_restarts_agreeing_ < 6


def test_history():
    model = EMMixture(3, covariance_type="full", reg_covar=0, random_state=0).fit(IRIS)
    assert len(model.lower_bounds_) == model.n_iter_ + 1
    assert model.lower_bounds_[-1] == model.lower_bound_
    assert (np.diff(model.lower_bounds_) >= -step_rounding(torch.from_numpy(IRIS), model._mixture())).all()
    assert abs(np.diff(model.lower_bounds_)[-2]) < 1e-6 or model.n_iter_ == 1


@NOT_CONVERGED
def test_verbose(capsys):
    EMMixture(3, covariance_type="full", random_state=0).fit(IRIS)
    assert capsys.readouterr().out == ""
    EMMixture(3, covariance_type="full", n_init=2, verbose=1, random_state=0).fit(IRIS)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("EMMixture: start 2 of 2, converged after ")
    model = EMMixture(
        3, covariance_type="full", verbose=2, verbose_interval=3, max_iter=7, tol=0, random_state=0
    )
    model.fit(IRIS)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "EMMixture: step 3",
        "EMMixture: step 6",
        "EMMixture: not converged after 7 steps",
    ]
    EMMixture(2, verbose=True, random_state=0).fit_many([IRIS, IRIS])
    assert "2 of 2 data sets converged after " in capsys.readouterr().out


# mclust 6 on iris: BIC of published tables, its sign (larger is better), three digits printed
PUBLISHED = [
    ("tied_spherical", 2, -1123.411),
    ("diagonal", 2, -857.551),
    ("tied", 3, -632.963),
    ("full", 2, -574.018),
    ("full", 3, -580.839),
]


@pytest.mark.parametrize(("kind", "K", "bic"), PUBLISHED)
def test_published_fits_of_iris(kind, K, bic):
    """From 10 starts by likelihood; a maximum that is met to 1e-8 a point is met to 3e-6 in BIC."""
    model = EMMixture(K, covariance_type=kind, n_init=10, tol=1e-8, reg_covar=0, random_state=0).fit(IRIS)
    assert -model.bic(IRIS) == pytest.approx(bic, abs=5e-4 + 1e-5)
    if (kind, K) == ("full", 3):
        assert 150 * model.score(IRIS) == pytest.approx(-180.1855, abs=5e-5 + 1e-5)
