"""Stopping a command at random moments, and the figures that it ends with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
STOPS = (signal.SIGKILL, signal.SIGINT)
TIMES = {"seconds", "milliseconds", "cpu_milliseconds"}


def started(arguments: list[str]) -> subprocess.Popen[str]:
    """The command in a process of its own, from this copy of the code."""
    words = [sys.executable, "-m", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    return subprocess.Popen(words, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)  # noqa: S603


def stop_and_go_on(arguments: list[str], out: Path, stops: int, longest: float, seed: int) -> list[str]:
    """Stop the command `stops` times after up to `longest` seconds each, by kill -9 and Ctrl-C in turn; then
    let it end. What became of each call, for a person to read.

    Raises AssertionError where a call fails, or Ctrl-C is answered by anything but one line and 130.
    """
    moments, said = np.random.default_rng(seed), []
    for number in range(stops):
        process = started([*arguments, "--out", str(out)])
        wait, stop = moments.uniform(0, longest), STOPS[number % 2]
        try:
            _, error = process.communicate(timeout=wait)
        except subprocess.TimeoutExpired:
            process.send_signal(stop)
            _, error = process.communicate(timeout=60)
        parts = len(list((out / "parts").glob("*.json")))
        said.append(f"{stop.name} after {wait:.1f} s: {process.returncode}, {parts} parts")
        assert process.returncode in (0, -stop, 130), (said, error)
        if process.returncode == 130:
            assert error.splitlines()[-1].startswith("stopped"), error
            assert "Traceback" not in error
        elif (
            process.returncode == -signal.SIGINT
        ):  # Python was still loading the command, or not yet that far
            assert "going on" not in error, error
    process = started([*arguments, "--out", str(out)])
    _, error = process.communicate()
    assert process.returncode == 0, error
    return said


def figures(out: Path) -> Any:
    """results.json without the times."""
    return _timeless(json.loads((out / "results.json").read_text(encoding="utf-8")))


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key not in TIMES}
    return [_timeless(item) for item in value] if isinstance(value, list) else value
