"""What the commands cost before they do anything: ``--help``, and loading what a checked call needs."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

from .measure import ROUNDS, Row

ROOT = Path(__file__).parents[2]
HELP = ("verify.em_construction", "verify.tensor_power", "verify.theorem", "verify", "training.train")
LOADED = ("verify.em.command", "verify.tensor.relu_command", "verify.own.command")
LOADED += ("training.evaluation.command", "training.comparison.command", "verify.ledger.command")


def process_seconds(*words: str) -> float:
    """CPU seconds, user and system, of a Python process with these arguments, on one thread."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, *words], env=environment, stdout=subprocess.DEVNULL)  # noqa: S603
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"python {' '.join(words)} ended with {process.returncode}")
    return used.ru_utime + used.ru_stime


def startup_rows() -> list[Row]:
    """Whole processes in turns with ``python -c "import torch"``."""
    words = {"torch": ("-c", "import torch")}
    words |= {f"python -m {name} --help": ("-m", name, "--help") for name in HELP}
    words |= {f"import {name}": ("-c", f"import {name}") for name in LOADED}
    rounds = [{name: process_seconds(*given) for name, given in words.items()} for _ in range(ROUNDS + 1)]
    took = {name: statistics.median(one[name] for one in rounds[1:]) for name in words}
    return [
        Row("start-up", name, "import torch", took[name], took["torch"], ROUNDS)
        for name in words
        if name != "torch"
    ]
