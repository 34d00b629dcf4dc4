"""Ctrl-C while Python is still loading a command."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from console.starting import STOPPED_EARLY, answer_early_stops, leave_stops_to_the_command

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("room", ["training", "verify"])
def test_a_stop_before_the_command_began_is_one_line(room, tmp_path):
    """A module that takes the place of torch stands for the seconds of loading."""
    (tmp_path / "torch.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    words = ["training.evaluate", "em"] if room == "training" else ["verify"]
    found = subprocess.run(  # noqa: S603
        [sys.executable, "-m", *words],
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == -signal.SIGINT  # 130 in a shell
    assert found.stderr == STOPPED_EARLY


def test_an_import_that_swallows_the_stop_cannot_go_on(tmp_path):
    """numpy and matplotlib, half imported, were used by what came next: a traceback of somebody else's."""
    (tmp_path / "torch.py").write_text(
        "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\nexcept BaseException:\n    pass\n"
        "raise ValueError('half loaded')\n"
    )
    found = subprocess.run(
        [sys.executable, "-m", "verify"],
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stderr) == (-signal.SIGINT, STOPPED_EARLY)


def test_only_the_module_that_python_was_asked_to_run_answers(monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    answer_early_stops()
    assert signal.getsignal(signal.SIGINT) is before
    monkeypatch.setattr(sys, "argv", ["-m"])
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        answer_early_stops()
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        leave_stops_to_the_command()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as nohup leaves it
        answer_early_stops()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
