"""``python -m verify.em_construction`` finds a bound that is broken: exit code 1, and says so everywhere."""

import dataclasses
from functools import partial

import pytest
import torch
from commands import (
    TINY_GRID,
    built,
    flipped_half_norm2,
    giving_nan,
    invoke,
    strict_json,
    with_wrong_square,
    without_log_count,
)

import verify.em.asked as command
import verify.em.measure as em_measure
from constructions.language.rounding import unit_roundoff
from verify.em_construction import app

U = unit_roundoff(torch.float64)

# ---- a broken bound is found


def shrunk(name, *arguments, **named):
    """The bounds of a path with one of them set to 0."""
    bounds = em_measure_path_bound(*arguments, **named)
    if name == "path":
        return dataclasses.replace(bounds, mean=torch.zeros_like(bounds.mean))
    steps = [
        dataclasses.replace(step, **{name: torch.zeros_like(getattr(step, name))}) for step in bounds.steps
    ]
    return dataclasses.replace(bounds, steps=steps)


em_measure_path_bound = em_measure.path_bound
BOUNDS = ["mean_instance", "weight_instance", "mean_apriori", "weight_apriori", "path"]


def assert_reported_broken(outcome, out):
    results = strict_json(out / "results.json")
    assert outcome.code == 1
    assert "A BOUND IS BROKEN" in outcome.out
    assert "every bound held" not in outcome.out
    assert results["passed"] is False
    assert results["broken"] > 0
    broken = [r for r in results["records"] if not r["passed"]]
    certified = [r for r in results["records"] if r.get("certified", {}).get("verdict") == "broken"]
    counted = sum(sum(r["broken"].values()) for r in broken)
    assert counted + len(certified) == results["broken"]
    assert all(r in broken for r in certified)
    page = (out / "index.html").read_text()
    assert "A bound is broken" in page
    assert page.count(">BROKEN<") >= len(broken)


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("bound", BOUNDS)
def test_each_bound_is_enforced(bound, monkeypatch, tmp_path):
    monkeypatch.setattr(em_measure, "path_bound", partial(shrunk, bound))
    outcome = invoke(app, *TINY_GRID, "--out", tmp_path / "out")
    assert_reported_broken(outcome, tmp_path / "out")


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("mutate", [flipped_half_norm2, without_log_count, with_wrong_square])
def test_a_wrong_construction_is_found(mutate, monkeypatch, tmp_path):
    monkeypatch.setattr(command, "em_construction", partial(built, mutate=mutate))
    outcome = invoke(app, *TINY_GRID, "--pieces", 256, "--out", tmp_path / "out")
    assert_reported_broken(outcome, tmp_path / "out")


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("steps", [1, 2])
def test_layers_that_give_nan_are_broken_not_bad_input(steps, monkeypatch, tmp_path):
    monkeypatch.setattr(command, "em_construction", partial(built, mutate=giving_nan))
    outcome = invoke(app, *TINY_GRID, "--steps", steps, "--out", tmp_path / "out")
    assert_reported_broken(outcome, tmp_path / "out")
