"""``python -m verify.precision``: its rows, page and figure, and what it refuses."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from commands import invoke, one_file_page, strict_json

from verify.certify.precision import command, table
from verify.certify.precision.cases import Case, cases
from verify.certify.precision.command import HEADER, MORE, Asked, rows_by
from verify.certify.precision.table import Spread, rows_of
from verify.engine import certificates
from verify.precision import app
from verify.registry import THEOREMS

LOW, TWO = ("--dtypes", "float32,bfloat16"), ("--tasks", 2, "--workers", 1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("precision") / "new"
    outcome = invoke(app, "--theorems", "kmeans,least-squares", *LOW, *TWO, "--out", out)
    assert outcome.code == 0, outcome.err
    return out, outcome, strict_json(out / "results.json")


def test_the_rows_are_complete(run):
    _, outcome, results = run
    assert results["command"] == "verify.precision"
    assert results["threads"] == torch.get_num_threads()
    assert results["settings"] == {
        "theorems": ["kmeans", "least-squares"],
        "dtypes": ["float32", "bfloat16"],
        "tasks": 2,
        "seed": 0,
    }
    rows = results["rows"]
    assert [row["kernel"] for row in rows] == 6 * ["math", "flash"] + 6 * ["products"]
    for row in rows:
        assert row["runs"] == len(row["families"]) == 2
        for part in ("error", "weights", "rounding"):
            assert 0 <= row[part]["median"] <= row[part]["largest"] < 0.1
        softmax = row["theorem"] == "kmeans"
        low = row["dtype"] == "bfloat16"
        assert row["attention"] == ("float32" if softmax and low else row["dtype"])
        assert row["refused"] == (2 if low else 0)
        assert bool(row["remarks"]) == low
    assert "36 runs certified, 18 of 18 lines" in outcome.out


def test_the_page_is_one_file(run):
    out, _, results = run
    page, pictures = one_file_page(out)
    assert pictures == {"error_by_dtype"}
    assert all(f"<th>{name}</th>" in page for name in (*HEADER, *MORE))
    assert page.index("<figure>") < page.index("<table>")
    assert "Evidence: certified" in page
    assert page.count("<td>2 of 2</td>") == len(results["rows"])


def test_every_size_at_the_finest_accuracy():
    em, *_ = found = cases({"em": THEOREMS["em"], "pca": THEOREMS["pca"]})
    assert [case.steps for case in found] == [2, 2, 1, 1, 2, 2, 2]
    assert (em.accuracy, em.name) == ("2048 pieces", "em, d=2 K=3 N=40")
    assert found[-1].accuracy == "-"
    for case in found:
        names = [family for family, _ in case.tasks(2, 0)]
        assert len(set(names)) == 2


def test_a_median_is_never_below():
    assert Spread.of([3.0, 1.0, 2.0, 4.0]) == Spread(3.0, 4.0)
    assert Spread.of([]) is None
    assert Spread.of([1.0, None]) is None


def test_what_does_not_run_is_said(monkeypatch):
    case = Case(THEOREMS["kmeans"], THEOREMS["kmeans"].sizes[1], 1)

    def none(transformer, read, kernel=None):
        if kernel == "flash":
            raise RuntimeError("No available kernel. Aborting execution.\nmore")
        return run_layers(transformer, read, kernel)

    run_layers = table.run_layers
    monkeypatch.setattr(table, "run_layers", none)
    math, flash = rows_of(case, torch.float32, 1, 0)
    assert (math.runs, math.remarks) == (1, [])
    assert (flash.runs, flash.error) == (0, None)
    assert flash.remarks == ["1 of 1 does not run: No available kernel. Aborting execution."]


def test_too_many_hidden_values_are_left_out_in_bfloat16(monkeypatch):
    monkeypatch.setattr(table, "MOST_BFLOAT16", 10)
    case = Case(THEOREMS["least-squares"], THEOREMS["least-squares"].sizes[0], 1)
    [row] = rows_of(case, torch.bfloat16, 1, 0)
    assert row.runs == 0
    assert "too slow in bfloat16" in row.remarks[0]
    assert command.more_cells(row)[2] == "1 step"  # of no quantity, as there is none
    [row] = rows_of(case, torch.float32, 1, 0)
    assert row.runs == 1


def test_a_run_that_is_not_finite_is_not_counted(monkeypatch):
    case = Case(THEOREMS["least-squares"], THEOREMS["least-squares"].sizes[0], 1)
    run_layers = table.run_layers

    def lost(transformer, read, kernel=None):
        ran = run_layers(transformer, read, kernel)
        ran.stream.fill_(torch.inf)
        return ran

    monkeypatch.setattr(table, "run_layers", lost)
    [row] = rows_of(case, torch.float64, 2, 0)
    assert row.runs == 0
    assert row.remarks[0].startswith("2 of 2 leaves the range")


def jobs_of(dtype: str):
    asked = Asked(["least-squares"], [dtype], 1, 0)
    return [(case, dtype, asked) for case in cases({"least-squares": THEOREMS["least-squares"]})[:2]]


def test_rows_come_in_the_order_of_the_jobs_whoever_works(monkeypatch):
    """A thread in the place of processes, which take seconds to start; what they are sent can be sent."""
    monkeypatch.setattr(command, "ProcessPoolExecutor", lambda workers, *_: ThreadPoolExecutor(1))
    jobs = jobs_of("float32")
    with rows_by(2, pickle.loads(pickle.dumps(jobs))) as found:  # noqa: S301
        rows = list(found)  # before others compute: the bits of balls are those of the whole process
    with rows_by(1, jobs) as one:
        assert rows == list(one)


@pytest.mark.slow
def test_two_processes_find_what_one_finds():
    with rows_by(2, jobs_of("float64")) as two, rows_by(1, jobs_of("float64")) as one:
        assert list(two) == list(one)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--theorems", "em,nothing"), "'nothing' is not one of em,"),
        (("--dtypes", "float16"), "'float16' is not one of float64, float32, bfloat16"),
        (("--tasks", 0), "at least 1"),
        (("--tasks", "x"), "whole number"),
        (("--workers", 0), "at least 1"),
        (("--seed", -1), "between 0"),
    ],
)
def test_bad_input_is_one_line(words, says, tmp_path):
    outcome = invoke(app, *words, "--out", tmp_path / "new")
    assert outcome.code == 2
    [line] = outcome.err.splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert not (tmp_path / "new").exists()


def test_without_python_flint_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(certificates, "can_certify", lambda: False)
    outcome = invoke(app, "--out", tmp_path / "new")
    assert outcome.code == 2
    [line] = outcome.err.splitlines()
    assert line.startswith("error: verify.precision needs python-flint, which is not installed: pip install")
