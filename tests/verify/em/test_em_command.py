"""``python -m verify.em_construction`` on random tasks: what it writes, prints and returns."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from commands import (
    TINY_GRID,
    invoke,
    one_file_page,
    run,
    strict_json,
)

from constructions.language.rounding import unit_roundoff
from verify.em_construction import app

U = unit_roundoff(torch.float64)
LABELS = ("d=1 K=2 N=13, random-points", "d=2 K=2 N=13, random-points")


def without_time(records):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


# ---- the grid


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    out = tmp_path_factory.mktemp("grid") / "deep" / "er"
    sizes = ("--dims", "1,2", "--components", "2", "--samples", "13", "--trials", "2")
    outcome, results = run(out, *sizes, "--steps", "2", "--pieces", "128,64", "--seed", "5")
    return out, outcome, results


def test_grid_says_what_it_found(grid):
    out, outcome, results = grid
    assert "every bound held" in outcome.out
    assert "BROKEN" not in outcome.out
    for name in LABELS:
        assert name in outcome.out
        assert f"slope of log error over log pieces, {name}" in outcome.out
        assert f"pieces, {name}: a-priori rho" in outcome.out
    assert "error:" not in outcome.err
    assert results["passed"] is True
    assert results["broken"] == 0
    assert not [path.name for path in out.iterdir() if path.suffix not in (".json", ".html", ".png")]


def test_grid_records(grid):
    _, _, results = grid
    found = [
        (r["setting"]["name"], r["setting"]["start"], r["setting"]["pieces_mean"], r["step"])
        for r in results["records"]
    ]
    expected = [
        (f"d={d} K=2 N=13", "random-points", pieces, step)
        for d in (1, 2)
        for pieces in (64, 128)
        for step in (1, 2)
    ]
    assert found == expected
    for r in results["records"]:
        assert r["passed"] is True
        assert r["broken"] == {"one_step": 0, "path": 0}
        assert r["instances"] == r["setting"]["tasks"] == 2
        assert r["seed"] == 5
        assert r["evidence"] == "sampled"
        assert sum(r["setting"]["pieces"].values()) == 3 * r["setting"]["pieces_mean"]
        one = r["one_step"]
        assert one["instance_ratio"]["min"] >= 1
        assert one["apriori_ratio"]["min"] >= 1
        # Both bounds hold for every component, so they do for each order statistic.
        for level in ("min", "median", "p90", "max"):
            assert 0 < one["mean_error"][level] <= one["instance_bound"][level]
            assert one["mean_error"][level] <= one["apriori_bound"][level]
        assert 0 < one["rounding_part"]["float64"] < one["rounding_part"]["float32"]
        assert r["path"]["largest_mean_error"]["max"] >= r["path"]["largest_mean_error"]["median"] > 0
    # A first step has nothing behind it to carry.
    assert [r["path"]["lipschitz"] is None for r in results["records"]] == [True, False] * 4
    # One step in: the path and the step are the same thing.
    for r in results["records"][::2]:
        assert r["path"]["largest_mean_error"]["max"] == r["one_step"]["mean_error"]["max"]


@pytest.mark.usefixtures("no_figures")
def test_margin_of_a_record_is_its_bound_over_its_observation(tmp_path):
    """What verify/engine/record.py says of `margin`; a division of two stored doubles, so to two roundings.

    At step 2 of this run a weight comes nearer to its bound than any mean does.
    """
    sizes = ("--dims", 1, "--components", 2, "--samples", 5, "--trials", 3)
    _, results = run(tmp_path / "out", *sizes, "--steps", 3, "--pieces", 32, "--seed", 0)
    for r in results["records"]:
        assert r["margin"] == pytest.approx(r["bound"] / r["observed"], rel=4 * U)


def test_grid_settings_versions_and_sweeps(grid):
    _, _, results = grid
    assert results["command"] == "verify.em_construction"
    assert results["seed"] == results["settings"]["seed"] == 5
    assert results["dtype"] == results["settings"]["dtype"] == "float64"
    assert results["settings"]["pieces"] == [64, 128]
    assert results["settings"]["dims"] == [1, 2]
    assert results["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert results["versions"]["numpy"] == np.__version__
    assert results["instances"] == 8
    assert results["estimates"] is None
    assert set(results["slopes"]) == set(LABELS)
    for found in results["slopes"].values():
        assert found["slope"] < -1
        assert found["components"] > 0
    for split in ("optimal", "equal"):
        rows = results["sweeps"][split]
        assert [(row["problem"], row["pieces"]) for row in rows] == [
            (label, pieces) for label in LABELS for pieces in (64, 128)
        ]
        for row in rows:
            assert row["split"] == split
            assert 0 < row["error"] <= row["instance"] <= row["apriori"]
    for best, equal in zip(results["sweeps"]["optimal"], results["sweeps"]["equal"], strict=True):
        assert best["rho"] <= equal["rho"]


def test_page_is_one_file_with_everything_in_it(grid):
    out, _, results = grid
    page, figures = one_file_page(out)
    assert {
        "at_a_glance",
        "error_against_pieces",
        "error_against_steps",
        "bound_against_error",
        "paths",
        "weights_layer_1",
        "weights_layer_2",
    } <= figures
    for label in LABELS:
        assert label in page
    assert "Every bound held." in page
    assert page.count("<tr><td>d=") >= len(results["records"]) + len(results["slopes"])


def test_page_states_the_versions(grid):
    out, _, results = grid
    page = (out / "index.html").read_text()
    assert results["versions"]["torch"] in page
    assert results["versions"]["scikit-learn"] in page


@pytest.mark.usefixtures("no_figures")
def test_same_seed_same_numbers(tmp_path):
    first, again, other = (
        run(tmp_path / name, *TINY_GRID, "--seed", seed)[1]["records"]
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert without_time(first) == without_time(again)
    assert [r["observed"] for r in first] != [r["observed"] for r in other]


@pytest.mark.usefixtures("no_figures")
def test_the_same_run_again_takes_the_place_of_the_first_and_another_does_not(tmp_path):
    arguments = (*TINY_GRID, "--out", tmp_path / "out", "--seed")
    first, again = (run(tmp_path / "out", *TINY_GRID, "--seed", 3)[1] for _ in range(2))
    assert without_time(again["records"]) == without_time(first["records"])
    outcome = invoke(app, *arguments, 4)
    assert outcome.code == 2
    assert "holds a run of other settings (seed: 3 there, 4 now)" in outcome.err
    assert strict_json(tmp_path / "out" / "results.json") == again


@pytest.mark.usefixtures("no_figures")
def test_float32(tmp_path):
    _, results = run(tmp_path / "out", *TINY_GRID, "--dtype", "float32")
    _, double = run(tmp_path / "double", *TINY_GRID)
    assert {r["dtype"] for r in results["records"]} == {"float32"}
    for single, r in zip(results["records"], double["records"], strict=True):
        assert single["one_step"]["instance_bound"]["max"] > r["one_step"]["instance_bound"]["max"]


@pytest.mark.usefixtures("no_figures")
def test_larger_weights_serve_smaller_tasks(tmp_path):
    _, results = run(tmp_path / "out", *TINY_GRID, "--max-dim", 4, "--max-components", 5)
    assert [r["setting"]["dim"] for r in results["records"]] == [2, 2]
    assert results["passed"] is True


@pytest.mark.usefixtures("no_figures")
def test_a_size_given_twice_is_one_size(tmp_path):
    _, once = run(tmp_path / "once", *TINY_GRID, "--dims", "2")
    _, twice = run(tmp_path / "twice", *TINY_GRID, "--dims", "2,2")
    assert without_time(twice["records"]) == without_time(once["records"])


@pytest.mark.usefixtures("no_figures")
def test_every_start_has_its_sweep(tmp_path):
    arguments = (*TINY_GRID, "--dims", 1, "--pieces", "64,128", "--start", "random-points,normal")
    outcome, results = run(tmp_path / "out", *arguments)
    assert [r["setting"]["start"] for r in results["records"]] == ["random-points"] * 4 + ["normal"] * 4
    assert len(results["sweeps"]["optimal"]) == len(results["sweeps"]["equal"]) == 4
    assert outcome.out.count("slope of log error over log pieces") == 2


# ---- as a person runs it


def python_m(folder, *arguments):
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "verify.em_construction", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_process_that_keeps_its_bounds(tmp_path):
    done = python_m(tmp_path, *TINY_GRID, "--steps", 1, "--out", "results")
    assert done.returncode == 0, done.stderr
    assert "every bound held" in done.stdout
    assert "error:" not in done.stderr
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    assert strict_json(tmp_path / "results" / "results.json")["passed"] is True


def test_process_with_bad_input(tmp_path):
    done = python_m(tmp_path, *TINY_GRID, "--dtype", "float16", "--out", "results")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "error: --dtype float16: it is one of float32, float64\n"
    assert list(tmp_path.iterdir()) == []
