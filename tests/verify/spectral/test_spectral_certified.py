"""Certificates of the spectral theorems: what they hold, planted faults, the command's option."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from commands import invoke, one_file_page, strict_json

import verify.spectral.sweeps as sweeps
from console.extras import missing
from verify.certify.certificate import Certified, certify
from verify.engine import certificates
from verify.engine.measure import drawn, measure
from verify.engine.theorem import Bound, States
from verify.spectral.certified import numbers
from verify.spectral.problems import started
from verify.spectral.theorem import ESTIMATED, SPECTRAL, SQUARES, Spectral
from verify.spectral_construction import app

F64 = torch.float64


def run(theorem: Spectral, tasks: int = 2, dtype: torch.dtype = F64) -> tuple[Any, Any, States]:
    sizes = theorem.sizes[0]
    weights = theorem.construct(sizes, 1, theorem.accuracies[0])
    instance = drawn(theorem, "orthogonal means", sizes, tasks, dtype, torch.Generator().manual_seed(3))
    return weights, instance, theorem.run(weights, instance, dtype)


@pytest.mark.parametrize("theorem", [SPECTRAL, SQUARES, ESTIMATED], ids=lambda theorem: theorem.key)
def test_the_bounds_hold_and_errors_are_those_that_floats_show(theorem: Spectral) -> None:
    weights, instance, states = run(theorem)
    measured = measure(theorem, weights, instance, F64)
    for task, found in enumerate(certify(theorem, weights, instance, states, F64)):
        assert [one.quantity for one in found] == list(theorem.quantities)
        for one in found:
            assert one.verdict == "held"
            assert one.claimed == one.items > 0
            assert 0 <= one.error.low <= one.error.high <= one.bound.low <= one.bound.high
            errors = measured.error[one.quantity][task, 0]
            rounding = measured.bound[one.quantity].rounding[task, 0]
            # The reference in float64 is off by less than the rounding that the bound allows for.
            assert bool(((errors - one.error.high).abs() <= rounding).any())


class Shrunk(Spectral):
    """A bound of nine tenths of the error."""

    def bounds(self, weights: Any, instance: Any, states: States, dtype: torch.dtype) -> dict[str, Bound]:
        true = super().bounds(weights, instance, states, dtype)
        with torch._C.DisableTorchFunction():  # numbers that are given, in floats and in balls
            off = (states["means"] - self.reference(instance, 1)["means"]).norm(dim=-1)[:, 1:]
            return true | {"means": Bound(0.9 * off, torch.zeros_like(off))}


def verdicts(found: list[Certified]) -> dict[str, str]:
    return {one.quantity: one.verdict for one in found}


def test_a_bound_of_nine_tenths_of_the_error_is_broken() -> None:
    theorem = Shrunk()
    weights, instance, states = run(theorem, 1, torch.float32)  # whose error float64's reference knows well
    (found,) = certify(theorem, weights, instance, states, torch.float32)
    assert verdicts(found) == {
        "means": "broken",
        "weights": "held",
        "whitening": "held",
        "variance": "held",
    }


def test_the_defect_is_that_of_the_matrix_and_not_what_floats_made_of_it() -> None:
    weights, instance, states = run(SPECTRAL, 1)
    moved = states | {"W": states["W"] * (1 + 1e-6)}  # |W M2 W^T - I| of 2e-6; the float defect stays
    (found,) = certify(SPECTRAL, weights, instance, moved, F64)
    assert verdicts(found)["whitening"] == "broken"


@pytest.fixture
def small_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "SIZE", (2, 2, 40))
    monkeypatch.setattr(sweeps, "ROUNDS", (8,))
    monkeypatch.setattr(sweeps, "SAMPLES", (40,))


GRID = ("--dims", 2, "--components", 1, "--samples", 40, "--trials", 2, "--starts", 2, "--steps", 3)


@pytest.mark.usefixtures("small_sweeps")
@pytest.mark.parametrize(
    ("asked", "tasks"),
    [("--certify", 2), pytest.param("--no-certify", 0, marks=pytest.mark.slow)],
)
def test_the_command_certifies_what_it_is_asked_to(tmp_path: Any, asked: str, tasks: int) -> None:
    outcome = invoke(app, *GRID, "--rounds", 8, asked, "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    (row,) = strict_json(tmp_path / "out" / "results.json")["rows"]
    page, _ = one_file_page(tmp_path / "out")
    if not tasks:
        assert "certified" not in row
        assert "certified: nothing" in outcome.out
        assert "<h2>Certificates</h2>" not in page
        return
    found = row["certified"]
    assert (found["verdict"], found["tasks"]) == ("held", tasks)
    assert 0 <= found["error"][0] <= found["error"][1] <= found["bound"][0] <= found["bound"][1]
    assert "1 records, 1 held, 0 broken, 0 unknown" in outcome.out
    assert "<h2>Certificates</h2>" in page


def test_without_python_flint_it_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "can_certify", lambda: False)
    outcome = invoke(app, *GRID, "--certify")
    assert outcome.code == 2
    assert outcome.err == f"error: {missing('--certify', 'certify')}\n"


def test_default_sizes_beyond_one_component_get_none_unasked() -> None:
    points = torch.zeros(1, 256, 2, dtype=F64)

    class Starts:
        starts = 10

    problem = started(points, 2, Starts(), torch.Generator())  # pyright: ignore[reportArgumentType]
    assert numbers(problem, 30) > certificates.SMALL
    assert numbers(problem, 3) < certificates.SMALL
