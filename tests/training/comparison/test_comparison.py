"""The whole comparison of a shipped network at --quick size, and training on two processes."""

import dataclasses
import json
import time

import pytest

from console.errors import run_command
from training import compare
from training.comparison import command
from training.comparison.common.random_paths import OriginPurpose
from training.comparison.origins.em_problem import EMProblem
from training.comparison.origins.measure import QUICK, run_plans, train_all


@pytest.mark.slow
def test_a_shipped_network_from_end_to_end(tmp_path):
    assert run_command(compare.app, ["d2", "--quick", "--out", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert list(results["parts"]) == list(command.PARTS)
    assert results["refused"] == {}
    page = (tmp_path / "index.html").read_text()
    for part in command.PARTS.values():
        assert part.title in page
    assert page.count("data:image/png;base64,") == len(list(tmp_path.glob("*.png")))
    assert {path.stem for path in tmp_path.glob("*.png")} <= set(command.PICTURES)
    began = time.perf_counter()
    assert run_command(compare.app, ["d2", "--quick", "--out", str(tmp_path)]) == 0
    again = json.loads((tmp_path / "results.json").read_text())
    assert again["parts"] == results["parts"]
    computed = sum(part["seconds"] for part in results["parts"].values())
    assert time.perf_counter() - began < computed  # it drew pictures only


@pytest.mark.slow
def test_two_processes_train_what_one_trains():
    problem = EMProblem(n_components=2, n_samples=8, steps=1, pieces=4)
    few = dataclasses.replace(QUICK, steps=5, random_steps=5)
    held_out = problem.examples(8, OriginPurpose.HELD_OUT)
    plans = run_plans(few)
    one = {run.plan: run.curve for run in train_all(problem, plans, held_out, 1)}
    two = {run.plan: run.curve for run in train_all(problem, plans, held_out, 2)}
    assert one == two
