"""``python -m verify.spectral_construction``: what it writes; own points; broken layers; the ledger."""

import dataclasses

import numpy as np
import pytest
import torch
from commands import invoke, one_file_page, snapshot, strict_json

import verify.spectral.problems as problems
import verify.spectral.sweeps as sweeps
from constructions.spectral.weights import SpectralConstruction, spectral_construction
from verify.registry import CHECKS
from verify.spectral_construction import app

GRID = (
    "--dims",
    3,
    "--components",
    2,
    "--samples",
    60,
    "--trials",
    2,
    "--starts",
    3,
    "--steps",
    10,
    "--rounds",
    8,
)
FIGURES = {"error_against_loops", "spectrum", "power_paths", "bound_against_error", "plane"}
MEANS = np.array([[4.0, 0.0, 1.0], [0.0, 5.0, -1.0]])


@pytest.fixture(autouse=True)
def small_sweeps(monkeypatch):
    """The sweeps of the command at a size of a few milliseconds each."""
    monkeypatch.setattr(sweeps, "SIZE", (2, 2, 60))
    monkeypatch.setattr(sweeps, "ROUNDS", (2, 8))
    monkeypatch.setattr(sweeps, "PIECES", (64, 512))
    monkeypatch.setattr(sweeps, "SAMPLES", (30, 90))


@pytest.fixture
def own(tmp_path):
    """Points of two components in three coordinates, the noise of standard deviation 1.2."""
    g = np.random.default_rng(0)
    X = MEANS[g.integers(2, size=400)] + 1.2 * g.normal(size=(400, 3))
    np.savetxt(tmp_path / "own.csv", X, delimiter=",", header="a,b,c", comments="")
    return tmp_path / "own.csv"


@pytest.mark.parametrize("read_in", ["products", "squares"])
def test_the_grid_is_measured_swept_and_written(tmp_path, read_in):
    out = tmp_path / "new"
    outcome = invoke(app, *GRID, "--read-in", read_in, "--pieces", 512, "--out", out)
    assert outcome.code == 0, outcome.err
    results = strict_json(out / "results.json")
    assert results["passed"]
    assert results["broken"] == 0
    [row] = results["rows"]
    assert row["tasks"] + sum(int(part.split()[0]) for part in row["failed"].split(", ") if part) == 2
    # Every bound held, above; this is small beside the means, 1 and longer, so that bounds alone do not pass.
    assert row["median"] <= row["worst"] <= 1e-2
    assert (row["certified"]["verdict"], row["certified"]["tasks"]) == ("held", 1)  # unasked: it is small
    names = ("rounds", "N") if read_in == "products" else ("rounds", "pieces", "N")
    assert list(dict.fromkeys(p["sweep"] for p in results["sweeps"])) == list(names)
    assert (results["slopes"]["pieces"] is None) == (read_in == "products")
    page, pictures = one_file_page(out)
    assert pictures == FIGURES
    assert "Every bound held" in page
    assert "every claim held" in outcome.out


@pytest.mark.parametrize("variance", ["1.44", "estimated"])
def test_own_points_get_estimates_close_to_the_truth(own, tmp_path, variance):
    out = tmp_path / "mine"
    outcome = invoke(app, "--data", own, "--components", 2, "--variance", variance, "--out", out)
    assert outcome.code == 0, outcome.err
    results = strict_json(out / "results.json")
    found = np.array(sorted(e["mean"] for e in results["estimates"]))
    assert len(results["estimates"]) == 2
    # The moments of 400 points: four standard errors of a mean of 200 points with deviation 1.2, tripled.
    assert np.abs(found - MEANS[[1, 0]]).max() <= 3 * 4 * 1.2 / 200**0.5
    # The bound of the means, of one task its own, is relative to the length of the largest mean.
    [row] = results["rows"]
    means, loops = (np.array([e[name] for e in results["estimates"]]) for name in ("mean", "reference_mean"))
    allowed = row["bound"] * np.linalg.norm(loops, axis=1).max()
    assert row["claimed"] == row["tasks"] == 1
    assert allowed < 1e-9  # iterated until rounding alone is left: beside means of size 1 it says something
    assert np.linalg.norm(means - loops, axis=1).max() <= allowed
    assert results["sweeps"] == []
    assert results["columns"] == ["a", "b", "c"]
    lines = [line.split() for line in outcome.out.splitlines()]
    assert ["component", "0", "1"] in lines
    assert ["mean", "of", "c", *(f"{e['mean'][2]:.4g}" for e in results["estimates"])] in lines


def test_points_without_enough_directions_are_refused_with_the_baselines_status(own, tmp_path):
    before = snapshot(tmp_path)
    outcome = invoke(app, "--data", own, "--components", 3, "--variance", 2.5, "--out", tmp_path / "none")
    assert outcome.code == 2
    [line] = outcome.err.splitlines()
    assert line.startswith("error: own.csv: eigenvalue 3 of the second moment less the variance is -")
    assert "(RANK_DEFICIENT; the baseline says RANK_DEFICIENT)" in line
    assert snapshot(tmp_path) == before


def test_layers_without_deflation_are_reported_broken(tmp_path, monkeypatch):
    """T is copied and nothing taken from it: every component is the first one."""

    def built(*sizes: int, **options: object) -> SpectralConstruction:
        made = spectral_construction(*sizes, **options)
        layers = list(made.construction.layers)
        number = next(i for i, layer in enumerate(layers) if layer.name == "deflate")
        kept = layers[number].heads[0].heads[:2]  # pyright: ignore[reportAttributeAccessIssue]
        first = dataclasses.replace(layers[number].heads[0], heads=kept)
        heads = (first, *layers[number].heads[1:])
        layers[number] = dataclasses.replace(layers[number], heads=heads)
        construction = dataclasses.replace(made.construction, layers=tuple(layers))
        return dataclasses.replace(made, construction=construction)

    monkeypatch.setattr(problems, "spectral_construction", built)
    outcome = invoke(app, *GRID, "--out", tmp_path / "broken")
    assert outcome.code == 1
    assert "BROKEN" in outcome.out
    assert strict_json(tmp_path / "broken" / "results.json")["passed"] is False


LINES = [name for name in CHECKS if name.startswith("spectral-")]
assert LINES


@pytest.mark.parametrize("name", LINES)
def test_the_lines_of_the_ledger_hold(name):
    torch.manual_seed(0)
    records = list(CHECKS[name](3, 120))
    assert records
    for record in records:
        assert record.passed, record
        assert record.instances > 0
        assert record.evidence == ("certified" if name.endswith("-certified") else "sampled")
