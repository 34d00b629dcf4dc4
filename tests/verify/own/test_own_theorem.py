"""A theorem in a file of somebody's own: conformance, the command, the ledger's lines, what is refused."""

import pytest
import torch
from commands import invoke, one_file_page, snapshot, strict_json
from own_theorems import GRADIENT_DESCENT, NAME, SOURCE, TEXT, changed, theorem_of

from constructions.language.rounding import gamma
from verify.__main__ import app as ledger
from verify.engine.claims import check_search
from verify.engine.conformance import conformance
from verify.engine.measure import drawn
from verify.engine.search import search
from verify.theorem import app

U = 2.0**-53
SMALL = ("--trials", 3, "--instances", 60, "--steps", 2)
WRONG_SIGN = ("dot(q.id, k.id) - dot(q.x, k.step)", "dot(q.id, k.id) + dot(q.x, k.step)")

TestGradientDescent = conformance(GRADIENT_DESCENT)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "gradient_descent.py"
    path.write_text(SOURCE, encoding="utf-8")
    return f"{path}:{NAME}"


def test_the_note_is_short_enough_to_read():
    assert TEXT.count("\n") <= 150


def test_two_thousand_instances_keep_their_bounds():
    found = search(GRADIENT_DESCENT, 2000, torch.float64, seed=0)
    assert found.broken == []
    assert found.instances >= 2000
    assert found.claimed == found.steps
    assert set(found.families) == set(GRADIENT_DESCENT.families)
    assert found.margin < 20  # within a digit or so: a bound of infinity would hold too


def test_the_reference_ends_at_the_least_squares_solution():
    """200 steps of easy problems; from w = 0 the distance shrinks by |I - eta X^T X / n| a step."""
    generator = torch.Generator().manual_seed(0)
    instance = drawn(GRADIENT_DESCENT, "normal", {"d": 2, "n": 30, "q": 2}, 4, torch.float64, generator)
    X, y, s = instance.X, instance.y[..., None], instance.s
    w, found = torch.linalg.lstsq(X, y).solution, GRADIENT_DESCENT.path_of_w(instance, 200)[-1]

    def norm(x):
        return x.norm(dim=1, keepdim=True)

    rate = torch.linalg.matrix_norm(torch.eye(2) - s.mT @ X, 2)[:, None, None]
    assert (rate < 0.9).all()
    # A step's rounding as in the note, with what steps before it left of theirs: a geometric sum.
    local = gamma(37, U) * norm(s.abs().mT @ (y.abs() + X.abs() @ w.abs())) + U * norm(w)
    # Higham, theorem 20.1: a backward error of gamma_{n d} in X and y, through the condition of X.
    sigma = torch.linalg.svdvals(X)[:, :, None]
    kappa = sigma[:, :1] / sigma[:, -1:]
    solved = 2 * gamma(60, U) * kappa * (norm(w) + kappa * norm(y - X @ w) / sigma[:, :1])
    assert (norm(found - w) <= rate**200 * norm(w) + 2 * local / (1 - rate) + solved).all()


def test_the_command_measures_searches_and_writes_a_page(file, tmp_path):
    outcome = invoke(app, file, *SMALL, "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert "every claim held" in outcome.out
    assert "parameters" in outcome.out
    results = strict_json(tmp_path / "out" / "results.json")
    assert results["passed"] is True
    assert results["search"]["instances"] >= 60
    rows = results["paths"]
    assert len(rows) == 2 * len(GRADIENT_DESCENT.sizes) * len(GRADIENT_DESCENT.families)
    for row in rows:
        assert 0 <= row["error"] <= row["approximation"] + row["rounding"]
        assert row["approximation"] == 0
        assert row["broken"] == 0
    page, figures = one_file_page(tmp_path / "out")
    assert GRADIENT_DESCENT.hypotheses[0] in page
    assert figures == {"error_against_steps", "bound_against_error", "weights_layer_1"}


def test_a_broken_version_is_reported_as_broken(tmp_path):
    path = tmp_path / "gradient_descent.py"
    path.write_text(changed(*WRONG_SIGN), encoding="utf-8")
    outcome = invoke(app, f"{path}:{NAME}", *SMALL, "--out", tmp_path / "out")
    assert outcome.code == 1
    assert "A CLAIM IS BROKEN" in outcome.out
    assert strict_json(tmp_path / "out" / "results.json")["passed"] is False
    lines = invoke(
        ledger, "--theorems", f"{path}:{NAME}", "--only", "gradient-descent-search", "--instances", 60,
        "--out", tmp_path / "ledger",
    )  # fmt: skip
    assert lines.code == 1
    assert lines.out.startswith("FAILED")


def test_a_bound_that_forgets_its_dtype_is_broken_in_float32():
    wrong = theorem_of(
        changed("u, u64, one = unit_roundoff(dtype)", "u, u64, one = unit_roundoff(torch.float64)")
    )
    assert search(wrong, 60, torch.float32, seed=0).broken
    assert search(wrong, 60, torch.float64, seed=0).broken == []


def test_a_reference_that_is_nowhere_defined_claims_nothing():
    """Nothing is compared with NaN, so nothing may be said to have held."""
    wrong = theorem_of(
        changed("torch.stack([y - x @ w for w in path], 1)", "torch.stack([y * torch.nan] * len(path), 1)")
    )
    found = search(wrong, 60, torch.float64, seed=0)
    assert (found.claimed, found.broken) == (0, [])
    assert not check_search(wrong, 0, 60)[0].passed


def test_the_ledger_gets_two_lines(file, tmp_path):
    names = "gradient-descent-search,gradient-descent-paths"
    outcome = invoke(
        ledger, "--theorems", file, "--only", names, "--instances", 100, "--out", tmp_path / "out"
    )
    assert outcome.code == 0, outcome.err
    records = strict_json(tmp_path / "out" / "results.json")["records"]
    assert [record["passed"] for record in records] == [True, True]
    assert all(record["source"] == GRADIENT_DESCENT.source for record in records)
    assert records[0]["instances"] >= 100


BAD_FILES = {
    "no name": ("{file}", "FILE.py:NAME is needed"),
    "no such file": ("{folder}/other.py:MINE", "there is no file"),
    "no such name": ("{file}:MINE", "theorems in it: GRADIENT_DESCENT"),
    "no theorem": ("{file}:Regression", "is a type; a verify.engine.theorem.Theorem is needed"),
    "no Python": ("{folder}/broken.py:MINE", "broken.py:2 does not run: SyntaxError"),
    "an exception": ("{folder}/raising.py:MINE", "raising.py:2 does not run: ZeroDivisionError"),
    "a member missing": ("{folder}/half.py:Half", "abstract"),
    "no text": ("{folder}/binary.py:MINE", "does not run"),
}


@pytest.mark.parametrize("case", list(BAD_FILES))
@pytest.mark.parametrize("command", ["theorem", "ledger"])
def test_what_is_no_theorem_gets_one_line(case, command, tmp_path):
    (tmp_path / "gradient_descent.py").write_text(SOURCE, encoding="utf-8")
    (tmp_path / "broken.py").write_text("x = 1\ndef (:\n")
    (tmp_path / "raising.py").write_text("x = 1\n1 / 0\n")
    (tmp_path / "half.py").write_text(
        "from verify.engine.theorem import Theorem\n\n\nclass Half(Theorem):\n    name = 'half'\n"
    )
    (tmp_path / "binary.py").write_bytes(b"\x00\xff\xfe")
    place, said = BAD_FILES[case]
    place = place.format(file=tmp_path / "gradient_descent.py", folder=tmp_path)
    before = snapshot(tmp_path)
    arguments = (place,) if command == "theorem" else ("--theorems", place, "--only", "em-slope")
    outcome = invoke(app if command == "theorem" else ledger, *arguments, "--out", tmp_path / "out")
    assert outcome.code == 2
    assert said in outcome.err
    assert outcome.err.count("\n") == 1
    assert snapshot(tmp_path) == before


def test_a_theorem_with_the_key_of_another_is_refused(tmp_path):
    path = tmp_path / "copy.py"
    path.write_text(changed('"gradient-descent"', '"em"'), encoding="utf-8")
    outcome = invoke(ledger, "--theorems", f"{path}:{NAME}", "--out", tmp_path / "out")
    assert outcome.code == 2
    assert "the ledger has em-search already" in outcome.err
