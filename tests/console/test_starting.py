"""Ctrl-C while Python is still loading a command."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from console.starting import answer_early_stops

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("room", ["training", "verify"])
def test_a_stop_before_the_command_began_is_one_line(room, tmp_path):
    """A module that takes the place of torch stands for the seconds of loading."""
    (tmp_path / "torch.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    found = subprocess.run(  # noqa: S603
        [sys.executable, "-m", f"{room}.{'evaluate' if room == 'training' else '__main__'}"],
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == -signal.SIGINT  # 130 in a shell
    assert found.stderr == "stopped before it began; nothing of this call is saved\n"


def test_an_import_changes_no_hook(monkeypatch):
    before = sys.excepthook
    answer_early_stops()
    assert sys.excepthook is before
    monkeypatch.setattr(sys, "argv", ["-m"])
    monkeypatch.setattr(sys, "excepthook", before)
    answer_early_stops()
    assert sys.excepthook is not before
