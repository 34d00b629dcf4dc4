"""The reference step, the paths, the fitted slope, and the writing of results."""

import dataclasses
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import strict_json
from matplotlib.figure import Figure

import console.output as output
from baselines.em_paths import reference_step
from console.errors import BadInputError
from console.output import Picture, check_out, finite, significant, write_results
from console.typed_json import to_plain
from constructions.em.weights import em_construction
from constructions.language.rounding import unit_roundoff
from verify.em.compare import compare_step
from verify.em.measure import Broken, Rounding, _record, measure
from verify.em.problems import Problem, random_problem
from verify.em.sweep import SweepPoint, fitted_slope, sweep
from verify.engine.record import Check

U = unit_roundoff(torch.float64)
F64 = torch.float64
ROUNDING = Rounding(0.0, 0.0)


def a_problem(dim=2, components=3, samples=20, trials=4, seed=0) -> Problem:
    generator = torch.Generator().manual_seed(seed)
    return random_problem(dim, components, samples, "random-points", trials, generator)


@pytest.fixture
def vanishing() -> Problem:
    """Two tasks on a line; the second component of task 1 is 60 away, where exp(-60^2/2) is 0."""
    X = torch.randn(2, 15, 1, generator=torch.Generator().manual_seed(2), dtype=F64)
    means = torch.tensor([[[-1.0], [1.0]], [[0.0], [60.0]]], dtype=F64)
    return Problem("vanishing", X, torch.full((2, 2), 0.5, dtype=F64), means, "given")


# ---- a comparison


def test_comparison_counts_only_what_is_defined(vanishing):
    em = em_construction(1, 2, 1, 64, radius=60.0)
    run = em.run(vanishing.X, vanishing.weights, vanishing.means, evaluation="dense")
    before = vanishing.weights, vanishing.means
    after = run.path_weights[:, 1], run.path_means[:, 1]
    comparison = compare_step(em, vanishing.X, before, after, False, F64)
    assert comparison.defined.tolist() == [[True, True], [True, False]]
    assert not comparison.broken().any()
    assert comparison.ratio().shape == (3,)
    moved = compare_step(em, vanishing.X, before, (after[0], after[1] + 1.0), False, F64)
    assert torch.equal(moved.broken(), moved.defined)


@pytest.mark.parametrize("which", [0, 1])
def test_nan_counts_as_broken(which):
    problem = a_problem(trials=1)
    em = em_construction(2, 3, 1, 64, radius=problem.smallest_radius())
    run = em.run(problem.X, problem.weights, problem.means, evaluation="dense")
    after = [run.path_weights[:, 1].clone(), run.path_means[:, 1].clone()]
    after[which][0, 1] = torch.nan
    before = problem.weights, problem.means
    comparison = compare_step(em, problem.X, before, (after[0], after[1]), False, F64)
    assert comparison.broken().tolist() == [[False, True, False]]


def test_measurement(vanishing):
    em = em_construction(1, 2, 2, 64, radius=60.0)
    m = measure(em, vanishing, F64, "cpu", seed=11)
    assert m.comparable.tolist() == [[True, True], [False, False]]
    assert m.passed
    assert [r.step for r in m.records] == [1, 2]
    first = m.records[0]
    assert first.undefined_components == 1
    assert first.line.seed == 11
    assert "task 1 k=1" in first.line.note
    # Only task 0 is compared along the path, and its state after a step is run.path.
    assert m.path_error.shape == (2, 2, 2)
    error = (m.run.path_means[0, 1] - m.em_means[0, 1]).norm(dim=-1).max()
    assert first.path.largest_mean_error.max == pytest.approx(float(error), rel=4 * U)
    json.dumps(finite(to_plain(m.records)), allow_nan=False)


def test_a_path_is_judged_where_it_is_claimed_and_nowhere_else(vanishing):
    """Task 1 has lost a component: whatever stands there, NaN too, breaks nothing. Task 0 is claimed."""
    m = measure(em_construction(1, 2, 2, 64, radius=60.0), vanishing, F64, "cpu", seed=11)
    for task, value, broken in ((1, math.nan, 0), (1, math.inf, 0), (0, math.nan, 2), (0, math.inf, 2)):
        error = m.path_error.clone()
        error[task] = value
        found = _record(dataclasses.replace(m, path_error=error), 0, ROUNDING, Check("s", 0, F64))
        assert found.broken == Broken(one_step=0, path=broken), (task, value)


def test_measurement_rounds_the_data_once():
    """Layers and reference see the same float32 numbers, so that reading in is no error of the layers."""
    problem = a_problem(trials=2)
    em = em_construction(2, 3, 1, 4096, radius=2 * problem.smallest_radius())
    m = measure(em, problem, torch.float32, "cpu", seed=0)
    rounded = problem.X.float().double(), problem.weights.float().double(), problem.means.float().double()
    expected = reference_step(*rounded)
    assert torch.equal(m.em_means[:, 1], expected.means)
    assert m.passed
    assert m.records[0].line.dtype == "float32"


# ---- the radius


@pytest.mark.parametrize("largest", [9.1e-05, 0.57, 5.8, 1000.0, 123.4, 1e-12, 9.99, 0.0])
def test_smallest_radius_covers_the_data_and_hardly_more(largest):
    X = torch.tensor([[[largest], [-largest / 2]]], dtype=F64)
    radius = Problem(
        "x", X, torch.ones(1, 1, dtype=F64), torch.zeros(1, 1, 1, dtype=F64), "s"
    ).smallest_radius()
    assert radius > 0
    assert radius >= largest
    # Two digits up: at most a tenth more, beside rounding.
    assert radius <= max(largest * (1.1 + 8 * U), 1e-290)


# ---- slopes


def points_at(errors: dict[int, float]) -> list[SweepPoint]:
    return [SweepPoint("p", pieces, "optimal", 0.0, error, 0.0, 0.0, 5) for pieces, error in errors.items()]


@pytest.mark.parametrize("slope", [-2.0, -1.5, 0.0, 1.0])
def test_slope_of_a_power(slope):
    """polyfit solves a system of condition below 100 for 5 points within two decades."""
    points = points_at({pieces: 3.0 * pieces**slope for pieces in (8, 16, 32, 100, 256)})
    assert fitted_slope(points) == pytest.approx(slope, abs=1000 * U * 10)


def test_slope_is_least_squares():
    """log2 errors 0, -3, -2 at log2 pieces 6, 7, 8: (sum (x - 7) y) / sum (x - 7)^2 = (0 - 2) / 2.

    The point below 64 pieces does not count.
    """
    points = points_at({32: 1e9, 64: 1.0, 128: 2.0**-3, 256: 2.0**-2})
    assert fitted_slope(points) == pytest.approx(-1.0, abs=1000 * U)


@pytest.mark.parametrize(
    "errors",
    [{}, {64: 1.0}, {64: 1.0, 128: 0.0}, {64: 0.0, 128: 0.0}, {64: 1.0, 128: math.nan}, {8: 1.0, 64: 0.1}],
)
def test_no_slope_from_fewer_than_two_points(errors):
    assert math.isnan(fitted_slope(points_at(errors)))


def test_sweep():
    problem = a_problem(trials=20)
    radius = problem.smallest_radius()
    points = sweep(problem, [32, 128, 512], "optimal", 1e-8, radius, F64)
    equal = sweep(problem, [32, 128, 512], "equal", 1e-8, radius, F64)
    assert [p.pieces for p in points] == [32, 128, 512]
    for best, other in zip(points, equal, strict=True):
        assert 0 < best.error <= best.instance <= best.apriori
        assert 0 < best.components == other.components <= 60
        assert best.rho <= other.rho
    assert points[0].error > 4 * points[1].error > 16 * points[2].error
    assert math.isfinite(fitted_slope(points))


# ---- numbers for people and for JSON


def test_finite():
    value = {1: [math.nan, (math.inf, -math.inf, 1.5)], "a": {"b": None, "c": True, "d": "nan"}, "e": 3}
    assert finite(value) == {"1": [None, [None, None, 1.5]], "a": {"b": None, "c": True, "d": "nan"}, "e": 3}
    assert finite(value)["a"]["c"] is True


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (None, 2, "-"),
        (math.nan, 2, "-"),
        (-math.inf, 2, "-"),
        (0, 2, "0"),
        (1.0, 2, "1"),
        (0.01, 2, "0.01"),
        (0.009999, 2, "1.0e-02"),
        (12.34, 3, "12.3"),
        (-0.5, 2, "-0.5"),
        (1.24e-9, 2, "1.2e-09"),
        (123456.0, 3, "1.23e+05"),
    ],
)
def test_significant(value, digits, text):
    assert significant(value, digits) == text


@pytest.mark.parametrize("value", [998.0, 1000.5, 9999.0])
def test_significant_reads_as_a_number_near_the_value(value):
    assert float(significant(value, 4)) == pytest.approx(value, rel=1e-3)


# ---- writing

TEMPLATE, CONTEXT = Path(__file__).parents[3] / "verify" / "ledger" / "ledger.html", {}
RUN = {"seed": 0}
CONTENT = {"passed": True, "seed": 0, "settings": {}, "records": []}


def write(out: Path, **changes) -> None:
    write_results(
        out,
        "tested",
        RUN,
        CONTENT | changes,
        [Picture("drawn", "A line.", Figure())],
        ("drawn",),
        TEMPLATE,
        CONTEXT,
    )


def test_results_are_strict_json_and_claimed(tmp_path):
    write(tmp_path, extra=math.inf)
    results = strict_json(tmp_path / "results.json")
    assert results["extra"] is None
    assert results["command"] == "tested"
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", "index.html", "drawn.png"}
    check_out(tmp_path, "tested", (), RUN)
    with pytest.raises(BadInputError, match=r"results\.json, which another did not write"):
        check_out(tmp_path, "another", (), RUN)


@pytest.mark.parametrize("name", ["results.json", "index.html", "drawn.png"])
def test_a_write_that_fails_midway_leaves_the_old_file(name, tmp_path, monkeypatch):
    write(tmp_path, seed=1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    whole = Path.write_bytes

    def half(self, content):
        if self.name.startswith(name):
            whole(self, content[: len(content) // 2])
            raise OSError(28, "No space left on device")
        return whole(self, content)

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path, seed=2)
    assert (tmp_path / name).read_bytes() == before[name]


@pytest.mark.parametrize("name", ["results.json", "index.html", "drawn.png"])
def test_a_first_write_that_fails_leaves_a_folder_that_the_next_run_takes(name, tmp_path, monkeypatch):
    whole = Path.write_bytes

    def fail(self, content):
        if self.name.startswith(name):
            raise OSError(28, "No space left on device")
        return whole(self, content)

    with monkeypatch.context() as full:
        full.setattr(Path, "write_bytes", fail)
        with pytest.raises(OSError, match="No space left"):
            write(tmp_path)
    assert not (tmp_path / name).exists()
    check_out(tmp_path, "tested", (), RUN)
    write(tmp_path)
    assert strict_json(tmp_path / "results.json")["passed"] is True


def test_a_number_that_json_lacks_reaches_no_file(tmp_path):
    with pytest.raises(TypeError):
        write(tmp_path, extra=object())
    assert not (tmp_path / "results.json").exists()


def test_check_out_leaves_a_folder_as_it_was(tmp_path):
    """What writes into it makes it, so that a stopped command leaves no empty one."""
    check_out(tmp_path / "a" / "b", "tested", (), RUN)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    check_out(tmp_path / "mine", "tested", (), RUN)
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]


def test_check_out_through_a_link(tmp_path):
    os.symlink(tmp_path, tmp_path / "link")  # noqa: PTH211  the tested thing is a link
    check_out(tmp_path / "link" / "new", "tested", (), RUN)
    write(tmp_path / "link" / "new")
    assert (tmp_path / "new" / "results.json").exists()


def test_versions_are_those_installed():
    found = output.versions()
    assert found["numpy"] == np.__version__
    assert set(found) == {"python", "torch", "numpy", "scipy", "scikit-learn", "gmm-theory-toolkit"}


def test_bounds_of_another_record_are_not_shared():
    """Measurements are values: replacing the error of one changes what is broken in that one only."""
    problem = a_problem(trials=1)
    em = em_construction(2, 3, 1, 64, radius=problem.smallest_radius())
    step = measure(em, problem, F64, "cpu", seed=0).steps[0]
    worse = dataclasses.replace(step, weight_error=step.weight_error + 1)
    assert worse.broken().all()
    assert not step.broken().any()
