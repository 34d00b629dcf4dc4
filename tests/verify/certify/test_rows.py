"""Certificates of records: of the tasks asked for, the worst of them, with the weights' own function."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from verify.balls.array import middles
from verify.balls.flint import precision
from verify.certify.rows import certificates, layers_in_balls, of_step
from verify.em.theorem import THEOREM_1
from verify.engine.measure import drawn, measure
from verify.gallery.ridge import RIDGE
from verify.tensor.theorem import RELU, RELU_PLAIN, SOFTMAX

F64 = torch.float64


def drawn_from(theorem: Any, tasks: int = 2) -> tuple[Any, Any]:
    sizes, family = theorem.sizes[0], next(iter(theorem.families))
    weights = theorem.construct(sizes, theorem.within(2), theorem.accuracies[0])
    return weights, drawn(theorem, family, sizes, tasks, F64, torch.Generator().manual_seed(1))


@pytest.mark.parametrize("theorem", [THEOREM_1, RELU, RELU_PLAIN, SOFTMAX], ids=lambda t: t.key)
def test_the_weights_own_function_is_where_floats_say(theorem: Any) -> None:
    weights, instance = drawn_from(theorem, 1)
    measured = measure(theorem, weights, instance, F64, steps=2)
    with precision(128):
        layers = layers_in_balls(theorem, weights, instance, F64, 2)
        for name, path in layers.items():
            off = torch.linalg.vector_norm(middles(path) - measured.states[name], dim=-1)[:, 1:]
            assert bool((off <= measured.bound[name].rounding).all())


def test_a_record_has_the_worst_of_its_tasks() -> None:
    weights, instance = drawn_from(THEOREM_1)
    both = certificates(THEOREM_1, weights, instance, F64, 2, 2, approximation=True)
    alone = [
        certificates(THEOREM_1, weights, THEOREM_1.task(instance, task), F64, 2, 1, approximation=True)
        for task in (0, 1)
    ]
    for place, one in both.items():
        of_tasks = [found[place] for found in alone]
        assert one.tasks == 2
        assert one.verdict == "held"
        margins = [found.bound[0] / found.error[1] for found in of_tasks]
        assert one.bound[0] / one.error[1] == pytest.approx(min(margins), rel=2**-20)
        assert one.approximation is not None
        assert one.approximation[1] == max(
            found.approximation[1] for found in of_tasks if found.approximation
        )
    step = of_step(both, 2)
    assert step in [both[2, name] for name in ("means", "weights")]
    assert of_step(both, 3) is None


def test_only_so_many_tasks_and_none() -> None:
    weights, instance = drawn_from(RELU)
    assert certificates(RELU, weights, instance, F64, 2, 0) == {}
    assert {one.tasks for one in certificates(RELU, weights, instance, F64, 2, 1).values()} == {1}


def test_there_is_no_approximation_where_a_step_is_no_pass() -> None:
    weights, instance = drawn_from(RIDGE, 1)
    found = certificates(RIDGE, weights, instance, F64, 2, 1, approximation=True)
    assert {one.approximation for one in found.values()} == {None}


COMMANDS = {
    "verify.em_construction": "--dims 2 --components 2 --samples 30 --steps 2 --pieces 16 --trials 2",
    "verify.tensor_power": "--dims 2 --steps 2 --trials 2",
    "verify.softmax_tensor_power": "--dims 2 --steps 2 --trials 2 --pairs 1",
}


def records_of(results: dict[str, Any]) -> list[dict[str, Any]]:
    return results["records"] if "records" in results else results["paths"]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("asked", ["--certify", "--no-certify", ""])
def test_commands_write_intervals(command: str, asked: str, tmp_path: Path) -> None:
    words = [*COMMANDS[command].split(), *asked.split(), "--out", str(tmp_path / "out")]
    ended = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-m", command, *words], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    found = [record["certified"] for record in records_of(results) if "certified" in record]
    page = (tmp_path / "out" / "index.html").read_text()
    if asked == "--no-certify":
        assert found == []
        assert "Certificates</h2>" not in page
        return
    assert len(found) == len(records_of(results))
    assert "Certificates</h2>" in page
    for one in found:
        assert one["verdict"] == "held"
        assert one["error"][0] <= one["error"][1] <= one["bound"][0] <= one["bound"][1]
        assert one["tasks"] == (2 if asked else 1)
        assert ("approximation" in one) == bool(asked)
