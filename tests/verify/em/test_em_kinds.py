"""``python -m verify.em_construction --covariance``: every kind on own data and random tasks."""

import dataclasses
import json
import math
from functools import partial

import numpy as np
import pytest
import torch
from commands import invoke, one_file_page, run, strict_json

import verify.em.measure as em_measure
from baselines.em import em as reference_em
from baselines.mixture import Mixture
from constructions.em.tasks import COVARIANCE_SHAPES
from constructions.em.weights import em_construction
from constructions.language.rounding import unit_roundoff
from verify.em.compare import compare_step
from verify.em.covariances import default_range
from verify.em.measure import measure
from verify.em.notes import places
from verify.em.path_picture import ellipse
from verify.em.problems import random_problem
from verify.em_construction import app

F64 = torch.float64
U = unit_roundoff(F64)
KINDS = tuple(COVARIANCE_SHAPES)
FAST, SLOW = ("spherical", "diagonal", "full"), ("tied_spherical", "tied")
QUICK = ("--steps", 2, "--pieces", 16, "--no-certify")  # certificates: certify/test_em_records.py
WIDTHS = np.array([[0.5, 1.5], [1.0, 0.75]])
POINTS = np.array([[-3.0, 0.0], [3.0, 1.0]])[np.arange(40) % 2] + WIDTHS[
    np.arange(40) % 2
] * np.random.default_rng(3).normal(size=(40, 2))


def as_mixture(estimate, kind):
    found = (torch.tensor(estimate[name], dtype=F64) for name in ("weights", "means", "covariances"))
    return Mixture(*found, kind)


@pytest.fixture
def data(tmp_path):
    np.save(tmp_path / "d.npy", POINTS)
    return tmp_path / "d.npy"


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("kind", [*FAST, *(pytest.param(k, marks=pytest.mark.slow) for k in SLOW)])
def test_own_data_and_on_from_the_results(kind, data, tmp_path):
    """The estimate is that of baselines, in the data's coordinates; the results are a start of the kind."""
    asked = ("--data", data, "--covariance", kind)
    _, results = run(tmp_path / "a", *asked, "--components", 2, "--start", "k-means++", *QUICK)
    assert results["broken"] == 0
    assert results["settings"]["evaluation"] == "structured"
    assert results["scale"] is None
    estimates = results["estimates"]
    for name in ("em", "construction"):
        assert estimates[name]["covariance_type"] == kind
        shape = tuple(2 for _ in COVARIANCE_SHAPES[kind])
        assert np.array(estimates[name]["covariances"]).shape == shape
    found = as_mixture(estimates["em"], kind)
    X = torch.tensor(POINTS)
    # Rounding of a log-density, of terms of size 50 at most, and of the coordinates that were centred.
    assert estimates["log_likelihood_per_point"] == pytest.approx(
        float(found.log_likelihood_per_point(X)), abs=1e4 * U
    )
    _, more = run(tmp_path / "b", *asked, "--init", tmp_path / "a" / "results.json", *QUICK)
    expected = reference_em(X, init=found, max_iter=2, tol=0.0).mixture
    # Well apart and well conditioned: what rounding does to a step of 40 points stays below 1e4 u.
    again = as_mixture(more["estimates"]["em"], kind)
    for name in ("weights", "means", "covariances"):
        assert torch.allclose(getattr(again, name), getattr(expected, name), rtol=0, atol=1e4 * U)


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("kind", [*FAST, *(pytest.param(k, marks=pytest.mark.slow) for k in SLOW)])
def test_records_hold_covariances_beside_means(kind, tmp_path):
    grid = ("--dims", 2, "--components", 2, "--samples", 30, "--trials", 2, "--no-certify")
    outcome, results = run(tmp_path / "out", *grid, "--covariance", kind, "--pieces", "16,32", "--steps", 2)
    assert "every bound held" in outcome.out
    assert [r["step"] for r in results["records"]] == [1, 2] * 2
    for r in results["records"]:
        setting, one, path = r["setting"], r["one_step"], r["path"]
        assert setting["covariance_type"] == kind
        low, high = setting["eigenvalues"]
        assert 0 < low < high
        assert set(setting["pieces"].values()) == {setting["pieces_mean"]}
        for level in ("min", "median", "p90", "max"):
            assert 0 <= one["covariance_error"][level] <= one["covariance_bound"][level]
            assert one["covariance_error"][level] <= one["covariance_apriori_bound"][level]
        assert one["covariance_ratio"]["min"] >= 1
        assert one["rounding_part"]["covariance_float64"] < one["rounding_part"]["covariance_float32"]
        assert path["bound_claimed_for_tasks"] == 2
        if r["step"] == 2:
            assert path["lipschitz"] == dict.fromkeys(("min", "median", "p90", "max"))
        else:
            assert path["largest_covariance_error"]["max"] == one["covariance_error"]["max"]
    assert results["sweeps"]["optimal"] == []
    assert [row["pieces"] for row in results["sweeps"]["equal"]] == [16, 32]
    assert results["source"].startswith("EM with unknown")


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("kind", ["spherical", pytest.param("full", marks=pytest.mark.slow)])
def test_dense_weights_say_the_same(kind, data, tmp_path):
    asked = ("--data", data, "--covariance", kind, "--components", 2, "--start", "k-means++", *QUICK)
    found = [run(tmp_path / e, *asked, "--evaluation", e)[1]["estimates"] for e in ("structured", "dense")]
    first, second = (as_mixture(one["construction"], kind) for one in found)
    # One function in two orders of its sums: 1e6 u is far below the error of 16 pieces.
    assert torch.allclose(first.covariances, second.covariances, rtol=0, atol=1e6 * U)
    assert found[0]["em"] == found[1]["em"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_page_and_pictures(kind, data, tmp_path):
    asked = ("--data", data, "--covariance", kind, "--components", 2, "--start", "k-means++", *QUICK)
    run(tmp_path / "out", *asked)
    page, figures = one_file_page(tmp_path / "out")
    assert {"error_against_steps", "bound_against_error", "paths"} <= figures
    assert f"{kind.replace('_', ' ')} covariances" in page
    assert "Ellipses" in page
    assert "no contraction" in page
    assert ("covariance of all components" in page) == kind.startswith("tied")


# ---- what ends a comparison


def start_file(folder, S, means=((-3.0, 0.0), (3.0, 1.0))):
    path = folder / "init.json"
    path.write_text(json.dumps({"weights": [0.5, 0.5], "means": means, "covariances": S}))
    return path


@pytest.mark.usefixtures("no_figures")
def test_a_step_that_leaves_the_range_is_said_and_not_compared_after(data, tmp_path):
    init = start_file(tmp_path, [[1.0, 1.0], [1.0, 1.0]])
    asked = ("--data", data, "--covariance", "diagonal", "--init", init, "--eigenvalues", "0.35,4")
    outcome, results = run(tmp_path / "out", *asked, "--steps", 3, "--pieces", 64, "--no-certify")
    first, *later = results["records"]
    for text in ("EM and EM from the same start and the layers", "outside the range [0.35, 4] at task 0 k=1"):
        assert text in first["note"]
        assert text in " ".join(outcome.out.split())
    assert first["note"].endswith("not compared from here on")
    assert first["outside_components"] == 1
    assert first["singular_components"] == first["undefined_components"] == 0
    for r in results["records"]:
        assert r["passed"] is True
        assert r["one_step"]["mean_error"]["max"] is None
        assert r["path"]["largest_mean_error"]["max"] is None
    assert all(r["note"] == "" for r in later)
    assert results["estimates"]["em"] is None
    assert "--eigenvalues" in results["estimates"]["why"]
    page = (tmp_path / "out" / "index.html").read_text()
    assert "outside the range" in page
    assert "No estimate" in page


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize(("kind", "at"), [("spherical", "task 0 k=1"), ("full", "task 0 k=1")])
def test_a_component_at_one_point_is_singular(kind, at, tmp_path):
    """The second component starts at a point far from all others: its new covariance is 0."""
    X = np.vstack([POINTS, [[500.0, 500.0]]])
    np.save(tmp_path / "d.npy", X)
    S = [1.0, 1.0] if kind == "spherical" else [[[1.0, 0.0], [0.0, 1.0]]] * 2
    init = start_file(tmp_path, S, means=((0.0, 0.0), (500.0, 500.0)))
    asked = ("--data", tmp_path / "d.npy", "--covariance", kind, "--init", init, *QUICK)
    _, results = run(tmp_path / "out", *asked)
    first = results["records"][0]
    assert f"EM and EM from the same start have a singular covariance at {at}" in first["note"]
    assert first["singular_components"] == 1
    assert results["estimates"]["em"] is None


@pytest.mark.usefixtures("no_figures")
def test_an_empty_component_is_named(tmp_path):
    """exp(-600^2 / 2) is 0 in float64."""
    np.save(tmp_path / "d.npy", POINTS)
    init = start_file(tmp_path, [1.0, 1.0], means=((0.0, 0.0), (600.0, 0.0)))
    asked = ("--data", tmp_path / "d.npy", "--covariance", "spherical", "--init", init, *QUICK)
    _, results = run(tmp_path / "out", *asked)
    assert "have no points (empty) at task 0 k=1; not compared from here on" in results["records"][0]["note"]
    assert results["records"][0]["undefined_components"] == 1


def test_places_of_tied_covariances_are_tasks():
    assert places(torch.tensor([[False], [True]])) == "task 1"
    assert places(torch.ones(2, 2, dtype=torch.bool)) == "task 0 k=0, task 0 k=1, task 1 k=0, and 1 more"


# ---- bounds of covariances are enforced


def shrunk(name, *arguments, **named):
    bounds = path_bound(*arguments, **named)
    if name == "covariance":
        return dataclasses.replace(bounds, covariance=torch.zeros_like(bounds.covariance))
    steps = [dataclasses.replace(s, **{name: torch.zeros_like(getattr(s, name))}) for s in bounds.steps]
    return dataclasses.replace(bounds, steps=steps)


path_bound = em_measure.path_bound


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("kind", ["tied_spherical", "diagonal", "full"])
@pytest.mark.parametrize("bound", ["covariance_instance", "covariance_apriori", "covariance"])
def test_each_bound_of_covariances_is_enforced(bound, kind, monkeypatch, data, tmp_path):
    monkeypatch.setattr(em_measure, "path_bound", partial(shrunk, bound))
    asked = ("--data", data, "--covariance", kind, "--components", 2, "--start", "k-means++", *QUICK)
    outcome = invoke(app, *asked, "--out", tmp_path / "out")
    assert outcome.code == 1, outcome.err
    assert "A BOUND IS BROKEN" in outcome.out
    assert strict_json(tmp_path / "out" / "results.json")["broken"] > 0


def built(kind, trials=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    problem = random_problem(2, 3, 40, "random-points", trials, generator, kind)
    span = default_range(problem)
    em = em_construction(
        2, 3, 1, 16, radius=problem.smallest_radius(), covariance_type=kind, eigenvalues=span
    )
    return em, problem


@pytest.mark.parametrize("kind", KINDS)
def test_a_nan_covariance_is_broken(kind):
    em, p = built(kind)
    run_ = em.run(p.X, p.weights, p.means, p.covariances)
    before = em_measure.StepState(p.weights, p.means, p.covariances)
    S = run_.path_covariances[:, 1].clone()
    after = em_measure.StepState(run_.path_weights[:, 1], run_.path_means[:, 1], S)
    fine = compare_step(em, p.X, before, after, False, F64)
    assert fine.defined.all()
    assert not fine.broken().any()
    S.reshape(-1)[0] = math.nan
    found = compare_step(em, p.X, before, after, False, F64)
    assert found.broken()[0].any()
    assert not found.broken()[1:].any()


@pytest.mark.parametrize("kind", ["tied", "diagonal"])
def test_measurement_is_against_the_path_of_baselines(kind):
    em, p = built(kind, trials=2)
    m = measure(dataclasses.replace(em), p, F64, "cpu", seed=0, evaluation="structured")
    assert m.em_covariances is not None
    for task in range(2):
        start = Mixture(p.weights[task], p.means[task], p.covariances[task], kind)
        expected = reference_em(p.X[task], init=start, max_iter=1, tol=0.0).mixture
        assert torch.allclose(m.em_covariances[task, 1], expected.covariances, rtol=1e4 * U, atol=1e4 * U)


# ---- pictures


def test_an_ellipse_is_one_standard_deviation_around_the_mean():
    S = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=F64)
    centre = torch.tensor([3.0, -1.0], dtype=F64)
    offset = torch.tensor(ellipse(centre, S)).T - centre
    distance = (offset @ torch.linalg.inv(S) * offset).sum(-1)
    assert torch.allclose(distance, torch.ones_like(distance), rtol=100 * U, atol=0)
    assert ellipse(centre, torch.zeros(2, 2)) is None
    assert ellipse(centre, torch.full((2, 2), torch.nan)) is None
