"""The published levels, measured again (slow), and the parts of the comparison (fast)."""

import json

import pytest
import torch

from baselines.metrics import Summary
from verify.errors import run_command
from verify.reference_levels import (
    GREEDY,
    LEVELS,
    ORACLE,
    Published,
    app,
    measure_levels,
    published_standard_error,
)


@pytest.fixture(autouse=True)
def one_thread():
    """A second thread only waits on tensors this small, and on a busy machine it waits for long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
def test_published_levels_are_reproduced():
    levels = measure_levels(n_tasks=1024, seed=0)
    compared = [level for level in levels if level.published is not None]
    assert len(compared) == len(LEVELS) == 12
    assert [level for level in compared if not level.reproduced] == []
    for level in levels:
        if level.method == GREEDY and level.n_features == 8:
            oracle = next(
                o.measured
                for o in levels
                if o.method == ORACLE and (o.n_features, o.n_components) == (8, level.n_components)
            )
            assert level.measured.mean <= oracle.mean + 3 * oracle.standard_error


def test_published_standard_error():
    """Half of 1,024 tasks at error 4 above an oracle of no spread: the deviation is 2, its error 2/32."""
    oracle = Summary(mean=1.0, median=1.0, p90=1.0, standard_error=0.0, percent_bad=0.0, n_tasks=100)
    assert published_standard_error(Published(3.0, 50.0, 0.0), oracle) == pytest.approx(2 / 32)
    spread = Summary(mean=1.0, median=1.0, p90=1.0, standard_error=0.3, percent_bad=0.0, n_tasks=64)
    assert published_standard_error(Published(1.0, None, 0.0), spread) == pytest.approx(0.3 * 8 / 32)


def test_a_wrong_level_is_told_apart(monkeypatch):
    key = (ORACLE, 8, 3)
    right = measure_levels(64, 0, dims=(8,), components=(3,))[0]
    assert right.reproduced
    monkeypatch.setitem(LEVELS, key, Published(0.056, None, 0.0005))
    wrong = measure_levels(64, 0, dims=(8,), components=(3,))[0]
    assert not wrong.reproduced
    assert wrong.measured == right.measured


def test_command(tmp_path, capsys):
    code = run_command(app, ["--tasks", "8", "--seed", "1", "--out", str(tmp_path / "new")])
    content = json.loads((tmp_path / "new" / "results.json").read_text())
    assert code == (0 if content["passed"] else 1)
    assert len(content["records"]) == 16
    assert content["settings"]["n_tasks"] == 8
    assert "Total error on the paper's tasks" in capsys.readouterr().out


def test_command_refuses_bad_input(tmp_path, capsys):
    assert run_command(app, ["--tasks", "1"]) == 2
    assert capsys.readouterr().err == "error: n_tasks is 1, needs at least 2\n"
    taken = tmp_path / "file"
    taken.write_text("kept")
    assert run_command(app, ["--tasks", "8", "--out", str(taken)]) == 2
    assert str(taken) in capsys.readouterr().err
    assert taken.read_text() == "kept"
