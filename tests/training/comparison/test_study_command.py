"""The command of a study: what it refuses, and a small study from end to end."""

import json
import sys

import pytest

from console.errors import run_command
from training import compare
from training.comparison import study_command
from training.comparison.finding.design import QUICK_CELLS


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "one checkpoint or one --study is needed; none is given"),
        (["d2", "--study", "finding"], "one checkpoint or one --study is needed; d2 and finding are given"),
        (["--study", "losing"], "--study losing: it is one of finding"),
        (["--study", "finding", "--jobs", "0"], "--jobs 0: at least 1 is needed"),
        (["--study", "finding", "--tasks", "64"], "--tasks 64: a study has none"),
        (["d2", "--jobs", "2"], "--jobs 2: only a study has it"),
    ],
)
def test_bad_input_is_one_line(arguments, said, capsys, tmp_path):
    assert run_command(compare.app, [*arguments, "--out", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_missing_dask_is_said_in_one_line_before_anything_is_trained(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    arguments = ["--study", "finding", "--dask", "tcp://x:1", "--out", str(tmp_path)]
    assert run_command(compare.app, arguments) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: --dask tcp://x:1 needs distributed, which is not installed: pip install")
    assert not list(tmp_path.iterdir())


def test_the_names_of_the_help_are_those_of_the_studies():
    assert tuple(study_command.STUDIES) == compare.STUDY_NAMES
    assert all(name == study.key for name, study in study_command.STUDIES.items())


@pytest.mark.slow
def test_finding_from_end_to_end(tmp_path):
    arguments = ["--study", "finding", "--quick", "--jobs", "2", "--out", str(tmp_path)]
    assert run_command(compare.app, arguments) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert [cell["cell"]["name"] for cell in results["result"]["cells"]] == list(QUICK_CELLS)
    page = (tmp_path / "index.html").read_text()
    assert page.count("data:image/png;base64,") == len(list(tmp_path.glob("*.png"))) == 2
    kept = {path: path.read_bytes() for path in (tmp_path / "parts").iterdir()}
    assert run_command(compare.app, arguments) == 0
    assert kept == {path: path.read_bytes() for path in (tmp_path / "parts").iterdir()}
    again = json.loads((tmp_path / "results.json").read_text())
    assert again["result"] == results["result"]
