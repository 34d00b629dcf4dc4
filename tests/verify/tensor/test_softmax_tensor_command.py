"""``python -m verify.softmax_tensor_power``: what it writes; a person's own tensor; broken layers."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import invoke, one_file_page, strict_json
from tensor_commands import (
    SOFTMAX,
    assert_reported_broken,
    building,
    giving_nan,
    missing_negative_head,
    missing_norm,
    run,
    without_sink_token,
    wrong_alpha,
    wrong_slice,
)

import verify.tensor.softmax_command as command
import verify.tensor.softmax_figures as figures
import verify.tensor.softmax_rows as rows
from console.output import significant
from constructions.language.hypotheses import LostDirectionError
from verify.softmax_tensor_power import app
from verify.tensor.data import TensorProblem
from verify.tensor.measure import Runtime
from verify.tensor.softmax_rows import EPSILONS, SINKS

UNCERTIFIED = ("--no-certify",)  # where nothing is asked of certificates
SMALL = ((2, 2), (4, 4))
FEW_EPSILONS = EPSILONS[::10]
OTHER = {"float64": "float32", "float32": "float64"}


@pytest.fixture
def quick(monkeypatch):
    """Without figures, with short sweeps, and with one small tensor to recover."""
    monkeypatch.setattr(figures, "pictures", lambda *_: [])
    monkeypatch.setattr(command, "RECOVERED", ((2, 2),))
    monkeypatch.setattr(rows, "EPSILONS", FEW_EPSILONS)
    monkeypatch.setattr(rows, "SINKS", (0.0, 36.0))


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """With every eps and sink; tensors of few dimensions are deflated, test_tensor_ledger has the larger."""
    out = tmp_path_factory.mktemp("grid") / "deep" / "er"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "RECOVERED", SMALL)
        return (out, *run(app, out, *SOFTMAX, "--seed", 5))


def test_the_results_are_complete(grid):
    _, outcome, results = grid
    assert results["command"] == "verify.softmax_tensor_power"
    assert (results["seed"], results["dtype"]) == (5, "float64")
    assert (results["passed"], results["broken"]) == (True, 0)
    assert results["settings"] == {
        "certify": None,
        "tensor": None,
        "start": None,
        "dims": [2],
        "max_dim": None,
        "steps": 2,
        "trials": 4,
        "dtype": "float64",
        "device": "cpu",
        "evaluation": "dense",
        "seed": 5,
        "pairs": [1, 2],
        "epsilon": None,
        "sink": 36.0,
    }
    sections = ("best", "epsilon", "sink", "without_sink", "paths", "recovery", "resources")
    assert all(results[name] for name in sections)
    assert results["instances"] == sum(p["instances"] for p in results["epsilon"] + results["sink"])
    assert "every claim held" in outcome.out
    assert "BROKEN" not in outcome.out
    assert "error:" not in outcome.err


def test_the_sweep_has_every_point(grid):
    _, _, results = grid
    for dtype in ("float64", "float32"):
        for pairs in (1, 2):
            points = [p for p in results["epsilon"] if (p["dtype"], p["pairs"]) == (dtype, pairs)]
            [best] = [b for b in results["best"] if (b["dtype"], b["pairs"]) == (dtype, pairs)]
            assert [p["epsilon"] for p in points] == [*EPSILONS, best["predicted_epsilon"]]
            assert best["error"] == min(p["error"] for p in points[:-1])
            assert best["error_there"] == points[-1]["error"]
            assert best["predicted_error"] == points[-1]["predicted"]
            assert best["heads"] == 4 * pairs
    for p in results["epsilon"] + results["sink"]:
        assert p["broken"] == 0
        assert p["instances"] == 4
        assert 0 <= p["error"] <= p["largest"]
        assert p["margin"] is None or p["margin"] >= 1
        assert p["error"] <= p["bound"]


def test_slopes_and_levels(grid):
    _, _, results = grid
    found = {(b["dtype"], b["pairs"]): b for b in results["best"]}
    for pairs in (1, 2):
        assert found["float64", pairs]["slope"] == pytest.approx(2 * pairs, rel=0.1)
    assert found["float64", 1]["error"] < 1e-9
    assert found["float64", 2]["error"] < 1e-10
    assert 1e-7 < found["float32", 1]["error"] < 1e-3


def test_the_sink_is_needed(grid):
    _, outcome, results = grid
    assert [p["sink"] for p in results["sink"]] == list(SINKS)
    heights = {p["sink"]: p["error"] for p in results["sink"]}
    assert heights[0.0] > 0.01
    assert heights[8.0] < heights[0.0] / 30
    assert heights[36.0] < 1e-9
    [dropped] = results["without_sink"]
    assert 0.05 < dropped["lost"] <= 1
    assert f"sink dropped, {dropped['problem']}: {dropped['lost']:.0%} of T(I, v, v) lost" in outcome.out


def test_paths_and_recovery(grid):
    _, _, results = grid
    assert [(r["form"], r["step"]) for r in results["paths"]] == [
        (f"softmax, p={p}", t) for p in (1, 2) for t in (1, 2)
    ]
    assert [(r["d"], r["components"], r["form"]) for r in results["recovery"]] == [
        (d, K, f"softmax, p={p}") for d, K in SMALL for p in (1, 2)
    ]
    for r in results["recovery"]:
        assert r["distinct"] is True
        assert r["error"] <= r["bound"] < 1e-6


def test_the_page_holds_the_figures_of_the_results(grid):
    out, _, results = grid
    page, figures = one_file_page(out)
    assert figures == {"error_against_epsilon", "error_against_sink", "pairs_and_dtypes", "paths"}
    assert "Every bound held." in page
    for section in ("epsilon", "sink", "paths", "recovery"):
        for row in results[section]:
            assert f"<td>{significant(row['error'])}</td>" in page
            assert f"<td>{significant(row['bound'])}</td>" in page
    for b in results["best"]:
        for name in ("epsilon", "error", "predicted_epsilon", "predicted_error", "error_there"):
            assert f"<td>{significant(b[name])}</td>" in page
    for row in results["resources"]:
        assert "".join(f"<td>{cell}</td>" for cell in row) in page
    assert "seed: 5" in page
    assert results["versions"]["torch"] in page


# ---- seeds, dtypes, sizes


def measured(results):
    return {name: results[name] for name in ("best", "epsilon", "sink", "without_sink", "paths", "recovery")}


@pytest.mark.usefixtures("quick")
def test_a_seed_fixes_every_number(tmp_path):
    first, again, other = (
        measured(run(app, tmp_path / name, *SOFTMAX, "--pairs", 1, "--seed", seed)[1])
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert first == again
    for name in first:
        assert first[name] != other[name]


@pytest.mark.usefixtures("quick")
def test_float32(tmp_path):
    _, results = run(app, tmp_path / "out", *SOFTMAX, *UNCERTIFIED, "--dtype", "float32")
    assert results["dtype"] == "float32"
    assert results["settings"]["sink"] == 15.75
    assert {p["dtype"] for p in results["sink"]} == {"float32"}
    assert [b["dtype"] for b in results["best"]] == ["float32"] * 2 + ["float64"] * 2
    assert all(1e-9 < r["error"] < 1e-2 for r in results["paths"])


@pytest.mark.usefixtures("quick")
def test_epsilon_and_sink_are_those_of_the_runs(tmp_path):
    coarse = run(app, tmp_path / "a", *SOFTMAX, *UNCERTIFIED, "--epsilon", 0.5, "--sink", 20)[1]
    fine = run(app, tmp_path / "b", *SOFTMAX, *UNCERTIFIED, "--sink", 20)[1]
    assert coarse["settings"]["epsilon"] == 0.5
    assert {b["sink"] for b in coarse["best"] if b["dtype"] == "float64"} == {20.0}
    for large, small in zip(coarse["paths"], fine["paths"], strict=True):
        assert large["error"] > 100 * small["error"]
    assert coarse["epsilon"] == fine["epsilon"]


@pytest.mark.usefixtures("quick")
def test_larger_weights_serve_smaller_tensors(tmp_path):
    _, results = run(app, tmp_path / "out", *SOFTMAX, *UNCERTIFIED, "--max-dim", 4)
    assert {(b["pairs"], b["heads"]) for b in results["best"]} == {(1, 8), (2, 16)}


# ---- a tensor of one's own


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("T.npy", np.random.default_rng(1).normal(size=(3, 3, 3)))
    return tmp_path


CERTIFIED_OWN = ("--tensor", "T.npy", "--steps", 2, "--pairs", "1,2")
OWN = (*CERTIFIED_OWN, *UNCERTIFIED)


@pytest.mark.usefixtures("quick", "here")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1e-3, 0.1, 10.0, 1000.0])
def test_starts_that_are_not_of_length_1(size, dtype):
    """A product of 100 and an eps of 1 would be a score of 100."""
    np.save("B.npy", size * np.random.default_rng(0).normal(size=(3, 3)))
    _, results = run(app, Path("out"), *OWN, "--start", "B.npy", "--dtype", dtype)
    assert {p["instances"] for p in results["epsilon"]} == {3}
    assert results["recovery"] == []
    claimed = {r["claimed"] for r in results["paths"] if r["step"] == 1}
    assert claimed == {3} or (size, dtype) == (1e-3, "float32")  # scores of 1e-6 drown there
    if dtype == "float64":
        assert results["ended"] == []


def drowned(size: float, step: int, dtype: torch.dtype) -> bool:
    """Whether a start of this size may be lost in a step of a construction for starts as large."""
    T, v = (torch.from_numpy(np.random.default_rng(0).normal(size=s)) for s in ((1, 3, 3, 3), (1, 3)))
    problem = TensorProblem("T", T, size * v).rounded(dtype)
    bound = max(rows.UNIT_BOUND, float(problem.v.abs().max()))
    power = rows.softmax_tensor_power_construction(3, 3, 1e-3, 1, 10.0, bound=bound)
    return rows.drowns(power, problem, Runtime(dtype), LostDirectionError("", step, 0))


def test_only_what_the_bound_allows_to_be_lost_is_excused():
    """Products of 1e-12 beside a sink of e^10 are below float32's rounding; at 1e-4 above float64's."""
    assert drowned(1e-6, 1, torch.float32)
    assert not drowned(1e-2, 1, torch.float64)
    assert not drowned(1.0, 1, torch.float32)
    assert not drowned(1.0, 2, torch.float64)


@pytest.mark.usefixtures("quick", "here")
@pytest.mark.parametrize("step", [1, 2])
def test_steps_whose_products_drown_are_said_and_not_shown(step, monkeypatch):
    """Whether a kernel rounds them to 0 or to noise, the run ends well; planted here at either step."""
    real = rows.along_path

    def lose(power, problem, on, steps):
        if steps >= step:
            raise LostDirectionError("planted", step, 0)
        return real(power, problem, on, steps)

    monkeypatch.setattr(rows, "along_path", lose)
    monkeypatch.setattr(rows, "drowns", lambda *_: True)
    outcome, results = run(app, Path("out"), *OWN)
    assert {r["step"] for r in results["paths"]} == set(range(1, step))
    assert len(results["ended"]) == 2  # p = 1, 2
    line = f"T.npy, d=3, not symmetric, p=1: from step {step} on T(I, v, v) is within rounding of 0"
    assert line in " ".join(outcome.out.split())
    assert line in (Path("out") / "index.html").read_text()


@pytest.mark.usefixtures("quick", "here")
def test_a_lost_direction_that_no_rounding_excuses_is_not_hidden(monkeypatch):
    def lose(*_):
        raise LostDirectionError("step 1 of tensor 0: planted", 1, 0)

    monkeypatch.setattr(rows, "along_path", lose)
    outcome = invoke(app, *OWN, "--out", "out")
    assert outcome.code == 2
    assert "step 1 of tensor 0: planted" in outcome.err


@pytest.mark.usefixtures("quick", "here")
@pytest.mark.parametrize(("scale", "both"), [(1e-60, False), (1e-20, True), (1e20, True), (1e60, False)])
def test_a_tensor_beyond_the_other_dtype_is_not_compared_in_it(scale, both):
    np.save("S.npy", np.load("T.npy") * scale)
    _, results = run(app, Path("out"), *OWN, "--tensor", "S.npy", "--pairs", 1)
    assert {b["dtype"] for b in results["best"]} == ({"float64", "float32"} if both else {"float64"})


@pytest.mark.usefixtures("quick", "here")
def test_one_coordinate_and_whole_numbers():
    np.save("one.npy", np.full((1, 1, 1), -3))
    _, results = run(app, Path("out"), *CERTIFIED_OWN, "--tensor", "one.npy")
    assert {r["certified"]["verdict"] for r in results["paths"]} == {"held"}
    assert results["best"][0]["problem"] == "one.npy, d=1, symmetric"


@pytest.mark.usefixtures("here")
def test_names_are_only_names(monkeypatch):
    monkeypatch.setattr(rows, "EPSILONS", FEW_EPSILONS)
    monkeypatch.setattr(rows, "SINKS", (0.0, 36.0))
    name = "_[red] $\\foo$ <b>.npy"
    np.save(name, np.load("T.npy"))
    outcome, _ = run(app, Path("out"), *OWN, "--tensor", name, "--pairs", 1)
    assert outcome.out.count("$\\foo$") >= 5
    assert "[red]" in outcome.out
    assert "<b>" not in (Path("out") / "index.html").read_text()


@pytest.mark.usefixtures("quick", "here")
def test_the_same_run_again_takes_the_place_of_the_first_and_another_does_not():
    run(app, Path("out"), *OWN, "--pairs", 1, "--seed", 3)
    for name in figures.NAMES:
        (Path("out") / f"{name}.png").write_bytes(b"an earlier picture")
    _, results = run(app, Path("out"), *OWN, "--pairs", 1, "--seed", 3)
    assert {p.name for p in Path("out").iterdir()} == {"results.json", "index.html"}
    other = invoke(app, *OWN, "--pairs", 1, "--seed", 4, "--out", Path("out"))
    assert other.code == 2
    assert "holds a run of other settings (seed: 3 there, 4 now)" in other.err
    assert strict_json(Path("out") / "results.json") == results


# ---- broken constructions


PLAIN = (wrong_slice, missing_negative_head, wrong_alpha, without_sink_token, giving_nan)
NORMALISED = (wrong_slice, missing_negative_head, without_sink_token, missing_norm)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("edit", "normalised"), [*((edit, False) for edit in PLAIN), *((edit, True) for edit in NORMALISED)]
)
def test_a_wrong_construction_is_broken_where_it_is_wrong(edit, normalised, monkeypatch, tmp_path):
    """Wrong in the plain step or in the normalised steps, and the other is not blamed."""
    monkeypatch.setattr(command, "RECOVERED", ())
    build = rows.softmax_tensor_power_construction
    wrong = building(build, edit, lambda em: em.normalised == normalised)
    monkeypatch.setattr(rows, "softmax_tensor_power_construction", wrong)
    outcome = invoke(app, *SOFTMAX, "--out", tmp_path / "out")
    results = assert_reported_broken(outcome, tmp_path / "out")
    broken = {name for name in ("epsilon", "sink", "paths") if any(r["broken"] for r in results[name])}
    assert broken == ({"paths"} if normalised else {"epsilon", "sink"})
    total = sum(r["broken"] for name in ("epsilon", "sink", "paths") for r in results[name])
    certified = sum(r["certified"]["verdict"] == "broken" for r in results["paths"])
    assert bool(certified) == normalised
    assert results["broken"] == total + certified


@pytest.mark.usefixtures("quick")
def test_components_within_no_bound_are_reported(monkeypatch, tmp_path):
    recovery = rows.recovery_row
    monkeypatch.setattr(rows, "recovery_row", lambda *a: dataclasses.replace(recovery(*a), broken=3))
    outcome = invoke(app, *SOFTMAX, *UNCERTIFIED, "--pairs", 1, "--out", tmp_path / "out")
    assert assert_reported_broken(outcome, tmp_path / "out")["broken"] == 3


@pytest.mark.usefixtures("quick")
def test_a_sweep_in_the_other_dtype_counts(monkeypatch, tmp_path):
    errors = rows.step_errors

    def wrong_in_float32(em, problem, on, printed):
        error, *bound = errors(em, problem, on, printed)
        return (error, *bound) if on.dtype == torch.float64 else (error + math.inf, *bound)

    monkeypatch.setattr(rows, "step_errors", wrong_in_float32)
    outcome = invoke(app, *SOFTMAX, *UNCERTIFIED, "--pairs", 1, "--out", tmp_path / "out")
    results = assert_reported_broken(outcome, tmp_path / "out")
    assert {p["dtype"] for p in results["epsilon"] if p["broken"]} == {"float32"}
