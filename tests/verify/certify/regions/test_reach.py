"""``python -m verify.certified_regions``: its rows, page and figure, and what it refuses."""

import sys

import pytest
from commands import invoke, one_file_page, strict_json

from verify.certified_regions import app
from verify.certify.regions.command import HEADER
from verify.certify.regions.reach import Asked, Reached, reach

TINY = ("--dims", "2,1", "--components", 2, "--radii", "1e-2,1e-4,0.3", "--samples", 5, "--steps", 2)
SMALL = ("--pieces", 32, "--tasks", 2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("regions") / "new"
    outcome = invoke(app, *TINY, *SMALL, "--out", out)
    assert outcome.code == 0, outcome.err
    return out, outcome, strict_json(out / "results.json")


def test_the_rows_are_complete(run):
    _, outcome, results = run
    assert results["command"] == "verify.certified_regions"
    assert results["settings"]["radii"] == [1e-4, 1e-2, 0.3]
    assert results["settings"]["dims"] == [1, 2]
    rows = results["rows"]
    assert [(row["dim"], row["radius"]) for row in rows] == [
        (d, r) for d in (1, 2) for r in (1e-4, 1e-2, 0.3)
    ]
    for row in rows:
        assert row["tasks"] == 2
        assert row["median"] <= row["largest"]
        assert row["over_error"] >= 1
    for small, _, large in (rows[:3], rows[3:]):
        assert small["verdict"] == "certified"
        assert small["over_error"] < 1.2
        assert large["verdict"] == "unknown"
    assert "boxes certified: B at most 10 times the point bound" in outcome.out


def test_the_page_is_one_file(run):
    out, _, results = run
    page, pictures = one_file_page(out)
    assert pictures == {"bound_against_radius"}
    assert all(f"<th>{name}</th>" in page for name in HEADER)
    assert page.count("<td>certified</td>") == sum(row["verdict"] == "certified" for row in results["rows"])


def test_the_verdict_of_several_tasks():
    row = Reached(1, 2, 0.1, 3, 1, 0.1, 0.2, 3.0, 4.0, 0.5)
    assert row.verdict == "1 certified, 2 unknown"


def test_a_smaller_factor_certifies_less():
    asked = Asked([1], [2], [1e-3], 5, 1, 32, 2, 1e-6, 3, 0)
    started = []
    [row] = reach(asked, started.append)
    assert started == ["d = 1, K = 2"]
    assert row.verdict == "unknown"
    assert row.largest is not None
    assert 0 < row.largest < 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--radii", "x"), "numbers separated by commas"),
        (("--radii", "0"), "must lie above 0"),
        (("--radii", "nan"), "must lie above 0"),
        (("--radii", "2"), "up to 1"),
        (("--dims", "0"), "at least 1"),
        (("--components", "a"), "whole numbers"),
        (("--samples", 2), "at least as many as components"),
        (("--samples", 10**9), "memory"),
        (("--steps", 0), "at least 1"),
        (("--budget", 0), "at least 1"),
        (("--factor", "nan"), "a positive number"),
        (("--factor", "inf"), "a positive number"),
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
    for name in [
        name for name in sys.modules if name.startswith(("verify.certify", "verify.balls", "flint"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "flint", None)
    outcome = invoke(app, "--out", tmp_path / "new")
    assert outcome.code == 2
    [line] = outcome.err.splitlines()
    assert "pip install 'gmm-theory-toolkit[certify]'" in line
