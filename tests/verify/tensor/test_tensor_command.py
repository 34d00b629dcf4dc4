"""``python -m verify.tensor_power``: what it writes and returns; a person's own tensor; broken layers."""

import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import invoke, one_file_page, snapshot, strict_json
from matplotlib.figure import Figure
from tensor_commands import (
    RELU,
    assert_reported_broken,
    building,
    missing_negative_head,
    missing_norm,
    run,
    symmetric_tensor,
    wrong_slice,
)

import verify.tensor.exact_checks as exact_checks
import verify.tensor.relu_checks as checks
import verify.tensor.relu_command as command
import verify.tensor.relu_figures as figures
import verify.tensor.relu_rows as rows
from console.output import significant
from constructions import Construction
from verify.engine.record import proof
from verify.tensor_power import app

SECTIONS = {"exact", "one_step", "paths", "growth", "recovery", "resources"}


UNCERTIFIED = ("--no-certify",)  # a third of the time, where nothing is asked of certificates
SMALL = ((2, 2), (4, 3))


def make_quick(patch: pytest.MonkeyPatch) -> None:
    """Without figures, without the exact checks, and with one small tensor to recover."""
    patch.setattr(figures, "pictures", lambda *_: [])
    patch.setattr(command, "check_rational", lambda seed, instances: [])
    patch.setattr(command, "check_symbolic", lambda seed, instances: [])
    patch.setattr(command, "RECOVERED", SMALL[:1])


@pytest.fixture
def quick(monkeypatch):
    make_quick(monkeypatch)


# ---- the grid, with everything in it


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """A tenth of the exact instances, the small identities: test_tensor_power_exact has all of them.

    Tensors of few dimensions are deflated: test_tensor_ledger has the sizes of the command, marked slow.
    """
    out = tmp_path_factory.mktemp("grid") / "deep" / "er"
    few_instances = {"LEAST_INSTANCES": 96, "DIRECTIONS": 12, "RMS_DIMS": (1, 2)}
    with pytest.MonkeyPatch.context() as patch:
        for name, few in (few_instances | {"SYMBOLIC_SIZES": ((1, 1), (2, 2))}).items():
            patch.setattr(exact_checks, name, few)
        patch.setattr(command, "check_rational", lambda seed, n: exact_checks.check_rational(seed, n // 10))
        patch.setattr(command, "RECOVERED", SMALL)
        patch.setattr(command, "SHOWN_DIM", 1)  # one place of a matrix for every head: axes take seconds
        return (out, *run(app, out, *RELU, "--seed", 5))


@pytest.fixture
def empty_heat_maps(monkeypatch):
    """Pictures of weights with nothing in them: dozens of axes take seconds, and no name stands there."""
    monkeypatch.setattr(Construction, "plot_weights", lambda self: [Figure() for _ in self.layers])


def test_the_results_are_complete(grid):
    _, outcome, results = grid
    assert results["command"] == "verify.tensor_power"
    assert set(results) >= SECTIONS | {"versions", "source", "settings", "seed", "dtype", "passed", "broken"}
    assert all(results[name] for name in SECTIONS)
    assert (results["seed"], results["dtype"], results["passed"], results["broken"]) == (
        5,
        "float64",
        True,
        0,
    )
    assert results["settings"] == {
        **dict.fromkeys(("data", "dataset", "header", "columns", "drop", "label", "standardise", "pca")),
        **dict.fromkeys(("components", "variance")),
        "certify": None,
        "tensor": None,
        "start": None,
        "dims": [1, 2],
        "max_dim": None,
        "steps": 3,
        "trials": 2,
        "dtype": "float64",
        "device": "cpu",
        "evaluation": "dense",
        "seed": 5,
        "pieces": 64,
        "instances": 1000,
    }
    assert "every claim held" in outcome.out
    assert "BROKEN" not in outcome.out
    assert "error:" not in outcome.err


def test_the_exact_claims_are_proved(grid):
    """In a thousand instances; a tenth of that in the grid of these tests."""
    _, outcome, results = grid
    assert {record["evidence"] for record in results["exact"]} == {"proved"}
    assert all(record["passed"] and record["seed"] == 5 for record in results["exact"])
    rational = [r for r in results["exact"] if "random rational" in r["claim"]]
    assert [r["instances"] for r in rational] == [100]
    assert outcome.out.count("exact: held") == len(results["exact"]) == 5


def test_one_step_of_every_form_is_within_its_bound(grid):
    _, outcome, results = grid
    found = [(r["d"], r["form"], r["heads"]) for r in results["one_step"]]
    assert found == [
        *((1, "pairs", 2), (1, "offset", 2), (1, "pairs, 1/N", 2)),
        *((2, "pairs", 4), (2, "offset", 3), (2, "pairs, 1/N", 4)),
    ]
    for r in results["one_step"]:
        assert r["instances"] == 2
        assert r["broken"] == 0
        assert 0 <= r["error"] <= r["bound"] < 1e-13
        assert (r["offset"] is None) == (r["form"] != "offset")
    assert max(r["error"] for r in results["one_step"]) > 0
    assert outcome.out.count("Gaussian, d=2") == 3 + 3 + 1


def test_every_step_of_every_norm_has_a_row(grid):
    _, _, results = grid
    found = [(r["d"], r["form"], r["step"]) for r in results["paths"]]
    assert found == [
        (d, form, t) for d in (1, 2) for form in ("plain", "rms", "piecewise") for t in (1, 2, 3)
    ]
    for r in results["paths"]:
        assert (r["broken"], r["claimed"], r["instances"]) == (0, 2, 2)
        assert 0 <= r["error"] <= r["largest_error"]
        assert r["margin"] is None or r["margin"] >= 1
    chords = [r for r in results["paths"] if r["form"] == "piecewise"]
    assert all(1e-6 < r["bound"] < 0.1 for r in chords)
    assert max(r["largest_error"] for r in chords) > 1e-6
    assert max(r["largest_error"] for r in results["paths"] if r["form"] == "rms") < 1e-13


def test_components_are_found(grid):
    _, _, results = grid
    assert [(r["d"], r["components"], r["form"]) for r in results["recovery"]] == [
        (d, K, form) for d, K in SMALL for form in ("rms", "piecewise")
    ]
    for r in results["recovery"]:
        assert r["distinct"] is True
        assert r["broken"] == 0
        assert r["error"] <= r["bound"]
        assert r["eigenvalue_error"] < 1e-12
        assert r["distance"] < (1e-10 if r["form"] == "rms" else 0.5)


def test_growth_doubles(grid):
    _, _, results = grid
    for r in results["growth"]:
        assert (r["steps_asked"], r["steps_taken"], r["reason"]) == (3, 3, None)
        assert len(r["log10_length"]) == len(r["smallest"]) == len(r["largest"]) == 13
        assert r["log10_length"][0] == pytest.approx(0, abs=1e-15)
    one, two = (r["log10_length"] for r in results["growth"])
    # One coordinate: v <- t v^2, so that log v_t = (2^t - 1) log t exactly.
    assert one[6] == pytest.approx(63 * one[1], rel=1e-12)
    assert two[12] / two[11] == pytest.approx(2, abs=0.01)


def test_resources_of_each_size(grid):
    _, outcome, results = grid
    assert [row[:3] for row in results["resources"]] == [
        [name, d, "3"]
        for d in "12"
        for name in ("pairs, plain", "offset 1, RMS norm", "pairs, piecewise norm")
    ]
    assert "Resources" in outcome.out


def test_the_page_holds_the_figures_of_the_results(grid):
    out, _, results = grid
    page, figures = one_file_page(out)
    assert figures == {"one_step", "paths", "growth", "weights_layer_1", "weights_layer_2"}
    assert "Every claim held." in page
    for section in ("one_step", "paths", "recovery"):
        for row in results[section]:
            assert f"<td>{significant(row['error'])}</td>" in page
            assert f"<td>{significant(row['bound'])}</td>" in page
    for row in results["growth"]:
        assert ", ".join(significant(x, 3) for x in row["log10_length"]) in page
    for record in results["exact"]:
        assert str(record["instances"]) in page
    for row in results["resources"]:
        assert "".join(f"<td>{cell}</td>" for cell in row) in page
    assert "seed: 5" in page
    assert results["versions"]["torch"] in page
    assert {path.suffix for path in out.iterdir()} == {".json", ".html", ".png"}


# ---- seeds, dtypes, sizes


def measured(results):
    return {name: results[name] for name in ("one_step", "paths", "growth", "recovery")}


@pytest.mark.usefixtures("quick")
def test_a_seed_fixes_every_number(tmp_path):
    first, again, other = (
        measured(run(app, tmp_path / name, *RELU, "--dims", 2, "--seed", seed)[1])
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert first == again
    for name in first:
        assert first[name] != other[name]


@pytest.mark.usefixtures("quick")
def test_float32(tmp_path):
    """The offset must cover the rounding of |v_m s_j| in float32 too."""
    arguments = ("--dims", "2,3", "--trials", 32, "--steps", 2, "--pieces", 64, *UNCERTIFIED)
    _, results = run(app, tmp_path / "out", *arguments, "--dtype", "float32")
    assert results["dtype"] == "float32"
    for r in results["one_step"]:
        assert 1e-8 < r["error"] <= r["bound"] < 1e-4


@pytest.mark.usefixtures("quick")
def test_larger_weights_serve_smaller_tensors(tmp_path):
    _, results = run(app, tmp_path / "out", *RELU, "--dims", 2, "--max-dim", 5, *UNCERTIFIED)
    assert {(r["d"], r["heads"]) for r in results["one_step"]} == {(2, 10), (2, 6)}


@pytest.mark.usefixtures("quick")
def test_a_default_grid_takes_one_step_of_the_largest(monkeypatch, tmp_path):
    monkeypatch.setattr(command, "DEFAULT_DIMS", [2, 3])
    monkeypatch.setattr(command, "MOST_STEPWISE_DIM", 2)
    arguments = ("--trials", 2, "--steps", 2, "--pieces", 64, *UNCERTIFIED)
    _, results = run(app, tmp_path / "out", *arguments)
    assert {r["d"] for r in results["one_step"]} == {2, 3}
    assert {r["d"] for r in results["paths"]} == {r["d"] for r in results["growth"]} == {2}
    _, asked = run(app, tmp_path / "asked", *arguments, "--dims", 3)
    assert {r["d"] for r in asked["paths"]} == {3}


# ---- a tensor of one's own


def saved(name: str, array) -> Path:
    np.save(name, np.asarray(array))
    return Path(name)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved("T.npy", np.random.default_rng(1).normal(size=(3, 3, 3)))
    saved("v.npy", np.array([0.6, -0.5, 0.9]))
    return tmp_path


CERTIFIED_OWN = ("--steps", 2, "--pieces", 64)
OWN = (*CERTIFIED_OWN, *UNCERTIFIED)


@pytest.mark.usefixtures("quick", "here")
def test_own_tensor_of_either_kind():
    saved("S.npy", symmetric_tensor(3, 0).numpy())
    for name, kind in (("T.npy", "not symmetric"), ("S.npy", "symmetric")):
        outcome, results = run(app, Path(kind), "--tensor", name, *CERTIFIED_OWN)
        assert {r["certified"]["verdict"] for r in results["paths"]} == {"held"}
        label = f"{name}, d=3, {kind}"
        assert {r["problem"] for r in results["paths"]} == {label}
        assert label in outcome.out
        assert {r["instances"] for r in results["one_step"]} == {command.DEFAULT_TRIALS}
        assert results["settings"]["tensor"] == name
        assert results["recovery"] == []
        assert "Components with restarts" not in (Path(kind) / "index.html").read_text()


WHOLE = np.arange(1, 9).reshape(2, 2, 2)


@pytest.fixture(scope="module")
def of_floats(tmp_path_factory):
    """The results for whole numbers that are saved as float64."""
    with pytest.MonkeyPatch.context() as patch:
        make_quick(patch)
        patch.chdir(tmp_path_factory.mktemp("floats"))
        return run(app, Path("same"), "--tensor", saved("n.npy", WHOLE.astype(float)), *OWN)[1]


@pytest.mark.usefixtures("quick", "here")
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float16, np.float32, ">f8", np.longdouble])
def test_own_tensor_of_any_real_dtype(dtype, of_floats):
    _, results = run(app, Path("out"), "--tensor", saved("n.npy", WHOLE.astype(dtype)), *OWN)
    assert measured(results) == measured(of_floats)


@pytest.mark.usefixtures("quick", "here")
def test_the_tensor_in_the_file_is_the_one_that_is_run():
    """v <- 3 v^2 from v = 0.5: 0.75, then 1.6875."""
    saved("one.npy", np.full((1, 1, 1), 3.0))
    saved("half.npy", np.array([0.5]))
    _, results = run(app, Path("out"), "--tensor", "one.npy", "--start", "half.npy", *OWN)
    assert results["growth"][0]["log10_length"][:3] == pytest.approx(np.log10([0.5, 0.75, 1.6875]), abs=1e-14)
    assert {r["instances"] for r in results["one_step"]} == {1}


@pytest.mark.usefixtures("quick", "here")
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_starts_of_either_shape(size):
    starts = size * np.random.default_rng(0).normal(size=(4, 3))
    _, results = run(
        app,
        Path("out"),
        "--tensor",
        "T.npy",
        "--start",
        saved("B.npy", starts),
        *OWN,
        "--pieces",
        4096,
    )
    assert {r["instances"] for r in results["paths"]} == {4}
    # The bound on one step is relative to v v, so its scale drops out.
    assert max(r["bound"] for r in results["one_step"] if r["form"] == "pairs") < 1e-13
    _, results = run(app, Path("one"), "--tensor", "T.npy", "--start", "v.npy", *OWN)
    assert {r["instances"] for r in results["paths"]} == {1}


@pytest.mark.usefixtures("quick", "here")
@pytest.mark.parametrize("scale", [1e-100, 1e-30, 1e30, 1e100])
def test_own_tensor_of_any_scale(scale):
    path = saved("s.npy", np.load("T.npy") * scale)
    _, results = run(app, Path("out"), "--tensor", path, *OWN)
    assert results["passed"] is True
    pairs = [r for r in results["one_step"] if r["form"] == "pairs"]
    assert 0 < pairs[0]["error"] <= pairs[0]["bound"] < 1e-13


@pytest.mark.usefixtures("here", "empty_heat_maps")
@pytest.mark.parametrize("name", ["[red] $\\foo$ <b>&.npy", "_x.npy"])
def test_names_are_only_names(name, monkeypatch):
    """No markup, no formula, no tag, and no label that matplotlib hides."""
    monkeypatch.setattr(command, "check_rational", lambda seed, instances: [])
    monkeypatch.setattr(command, "check_symbolic", lambda seed, instances: [])
    outcome, results = run(app, Path("out"), "--tensor", saved(name, np.load("T.npy")), *OWN)
    assert outcome.out.count(name) >= 7
    assert results["growth"][0]["problem"] == f"{name}, d=3, not symmetric"
    assert "<b>" not in (Path("out") / "index.html").read_text()


@pytest.mark.usefixtures("quick", "here")
def test_a_name_that_is_no_text():
    import os

    name = os.fsdecode(b"\xff.npy")
    try:
        saved(name, np.load("T.npy"))
    except OSError:
        pytest.skip("this file system takes text alone")
    _, results = run(app, Path("out"), "--tensor", name, *OWN)
    assert results["settings"]["tensor"] == "�.npy"


@pytest.mark.usefixtures("quick", "here")
def test_a_run_stops_before_it_leaves_the_range():
    """|v_t| = 10^((2^t - 1) 12): 10^180 after step 4, and step 5 would be 10^372."""
    T = np.zeros((2, 2, 2))
    T[0, 0, 0] = 1e12
    saved("big.npy", T)
    saved("e1.npy", np.array([1.0, 0.0]))
    arguments = ("--tensor", "big.npy", "--start", "e1.npy", "--steps", 6, "--pieces", 64, *UNCERTIFIED)
    outcome, results = run(app, Path("out"), *arguments)
    [row] = results["growth"]
    assert (row["steps_asked"], row["steps_taken"]) == (6, 4)
    assert row["reason"] == "step 5 leaves the range of torch.float64"
    assert row["log10_length"][:6] == pytest.approx([0, 12, 36, 84, 180, 372])
    assert [r["step"] for r in results["paths"] if r["form"] == "plain"] == [1, 2, 3, 4]
    assert [r["step"] for r in results["paths"] if r["form"] == "rms"] == [1, 2, 3, 4, 5, 6]
    assert "stopped after 4: step 5 leaves the range of torch.float64" in " ".join(outcome.out.split())
    page = (Path("out") / "index.html").read_text()
    assert "4 of 6 steps run: step 5 leaves the range of torch.float64" in page


@pytest.mark.usefixtures("quick", "here")
def test_a_run_that_leaves_the_range_at_once():
    """Then there is no plain path, and the rest is checked all the same."""
    arguments = ("--tensor", saved("t.npy", np.full((1, 1, 1), 5e-13)), "--dtype", "float32")
    arguments += ("--steps", 3, "--pieces", 64, *UNCERTIFIED)
    _, results = run(app, Path("out"), *arguments)
    assert results["growth"][0]["steps_taken"] == 0
    assert {r["form"] for r in results["paths"]} == {"rms", "piecewise"}


@pytest.mark.usefixtures("here", "empty_heat_maps")
def test_many_steps_are_drawn_and_listed_in_part(monkeypatch):
    monkeypatch.setattr(command, "check_rational", lambda seed, instances: [])
    monkeypatch.setattr(command, "check_symbolic", lambda seed, instances: [])
    saved("e1.npy", np.array([1.0]))
    saved("one.npy", np.ones((1, 1, 1)))
    arguments = ("--tensor", "one.npy", "--start", "e1.npy", "--steps", 60, "--pieces", 8, *UNCERTIFIED)
    _, results = run(app, Path("out"), *arguments)
    [row] = results["growth"]
    assert row["steps_taken"] == 60
    assert len(row["log10_length"]) == rows.MOST_GROWTH_SHOWN + 1


# ---- where results go


@pytest.mark.usefixtures("here", "empty_heat_maps")
def test_the_same_run_again_takes_the_place_of_the_first_and_another_does_not(monkeypatch):
    monkeypatch.setattr(command, "check_rational", lambda seed, instances: [])
    monkeypatch.setattr(command, "check_symbolic", lambda seed, instances: [])
    monkeypatch.setattr(command, "RECOVERED", ())
    monkeypatch.setattr(command, "DEFAULT_DIMS", [2])
    out = Path("out")
    run(app, out, *OWN, "--trials", 2, "--seed", 3)
    assert {p.name for p in out.iterdir()} >= {"paths.png", "growth.png"}
    (out / "mine.txt").write_text("notes")
    monkeypatch.setattr(command, "MOST_STEPWISE_DIM", 1)
    _, results = run(app, out, *OWN, "--trials", 2, "--seed", 3)
    assert results["paths"] == []
    names = {p.name for p in out.iterdir()}
    assert not names & {"paths.png", "growth.png"}
    assert names == {
        *("results.json", "index.html", "mine.txt", "one_step.png"),
        *("weights_layer_1.png", "weights_layer_2.png"),
    }
    page = (out / "index.html").read_text()
    assert "<h2>All steps</h2>" not in page
    assert "Growth of the plain" not in page
    other = invoke(app, *OWN, "--trials", 2, "--seed", 4, "--out", out)
    assert other.code == 2
    assert "holds a run of other settings (seed: 3 there, 4 now)" in other.err
    assert strict_json(out / "results.json") == results


# ---- broken constructions


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("edit", "section", "forms"),
    [
        (wrong_slice, "one_step", {"pairs", "offset", "pairs, 1/N"}),
        (missing_negative_head, "one_step", {"pairs", "offset", "pairs, 1/N"}),
        (wrong_slice, "paths", {"plain", "rms", "piecewise"}),
        (missing_negative_head, "paths", {"plain", "rms", "piecewise"}),
        (missing_norm, "paths", {"rms"}),
    ],
)
def test_a_wrong_construction_is_broken_where_it_is_wrong(edit, section, forms, monkeypatch, tmp_path):
    """Wrong in one form at a time, and no other form is blamed."""
    build = rows.tensor_power_construction

    def kind(em) -> str:
        name = em.normalise if em.normalise != "none" else "plain" if section == "paths" else "pairs"
        if em.offset is not None:
            return "offset"
        return f"{name}, 1/N" if em.construction.divide_by_tokens else name

    def one_step_only(em) -> bool:
        return em.normalise == "none" and (em.steps == 1) == (section == "one_step")

    monkeypatch.setattr(command, "RECOVERED", ())
    for form in forms:

        def applies(em, form=form) -> bool:
            return kind(em) == form and (em.normalise != "none" or one_step_only(em))

        monkeypatch.setattr(rows, "tensor_power_construction", building(build, edit, applies))
        outcome = invoke(app, *RELU, "--dims", 2, "--pieces", 256, "--out", tmp_path / "out")
        results = assert_reported_broken(outcome, tmp_path / "out")
        assert {r["form"] for r in results[section] if r["broken"]} == {form}
        assert not any(r["broken"] for other in {"one_step", "paths"} - {section} for r in results[other])
        broken = sum(r["broken"] for name in ("one_step", "paths", "recovery") for r in results[name])
        certified = [r for r in results["paths"] if r["certified"]["verdict"] == "broken"]
        assert {r["form"] for r in certified} == ({form} if section == "paths" else set())
        assert broken + len(certified) == results["broken"]
        lines = [line for line in outcome.out.splitlines() if "BROKEN" in line and "Gaussian" in line]
        assert len(lines) == 1
        assert form in lines[0]


@pytest.mark.usefixtures("quick")
def test_a_broken_step_that_later_ones_mend_is_still_reported(monkeypatch, tmp_path):
    """The table shows the last step of a path, with the verdict of all."""
    along = rows.along_path

    def once_broken(em, *arguments):
        found = along(em, *arguments)
        found.bound[:, 1] = 0.0
        found.error[:, 1] += 1e-30
        return found

    monkeypatch.setattr(rows, "along_path", once_broken)
    outcome = invoke(app, *RELU, "--dims", 2, *UNCERTIFIED, "--out", tmp_path / "out")
    results = assert_reported_broken(outcome, tmp_path / "out")
    assert {(r["step"], bool(r["broken"])) for r in results["paths"]} == {(1, True), (2, False), (3, False)}
    assert len([line for line in outcome.out.splitlines() if "BROKEN" in line and "Gauss" in line]) == 3


@pytest.mark.usefixtures("quick")
def test_components_that_are_missed_are_reported(monkeypatch, tmp_path):
    import verify.tensor.recover as tensor_recover

    along = tensor_recover.along_path

    def all_the_same(*arguments):
        found = along(*arguments)
        found.last[:] = found.last[:1].clone()
        return found

    monkeypatch.setattr(tensor_recover, "along_path", all_the_same)
    outcome = invoke(app, *RELU, "--dims", 2, *UNCERTIFIED, "--out", tmp_path / "out")
    results = assert_reported_broken(outcome, tmp_path / "out")
    assert [r["distinct"] for r in results["recovery"]] == [False, False]
    assert all(r["broken"] for r in results["recovery"])
    assert re.search(r"d=2, K=2 +rms +NO ", outcome.out)


@pytest.mark.usefixtures("quick")
def test_a_failed_exact_claim_breaks_the_command(monkeypatch, tmp_path):
    false = proof("arithmetic", 0).record("two is three", 1.0, math.nan, 1, False, "2 < 3")
    monkeypatch.setattr(command, "check_rational", lambda seed, instances: [false])
    outcome = invoke(app, *RELU, "--dims", 2, *UNCERTIFIED, "--out", tmp_path / "out")
    results = assert_reported_broken(outcome, tmp_path / "out")
    assert results["broken"] == 1
    assert "exact: FAILED, two is three (2 < 3)" in outcome.out


# ---- as a person runs it


@pytest.mark.slow
def test_process(tmp_path):
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "verify.tensor_power", *map(str, RELU), "--out", "results"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "every claim held" in done.stdout
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    assert strict_json(tmp_path / "results" / "results.json")["passed"] is True


@pytest.mark.usefixtures("quick")
def test_nothing_is_written_beside_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(app, Path("a/b"), *RELU, "--dims", 1)
    assert set(snapshot(tmp_path)) == {"a", "a/b", "a/b/results.json", "a/b/index.html"}


def test_the_limits_of_the_ledger_are_those_asked_for():
    assert checks.SCALE_LIMIT == 1e-12
    assert checks.RECOVERY_LIMIT == 1e-10
    assert torch.get_num_threads() == 1
