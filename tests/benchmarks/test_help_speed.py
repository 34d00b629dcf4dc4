"""``--help`` of every command against typer alone. No time is asserted.

Run by `make bench`. CPU seconds (user and system) and wall-clock seconds of whole processes on one thread,
medians of rounds in which the commands alternate with ``python -c "import typer"``, the least that one takes.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from entries import ENTRIES
from measuring import record

ROOT = Path(__file__).parents[2]
ROUNDS = 5


def seconds_of(*words: str) -> tuple[float, float]:
    """(CPU, wall clock) of a Python process with these arguments."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *words], env=environment, stdout=subprocess.DEVNULL)  # noqa: S603
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return used.ru_utime + used.ru_stime, time.perf_counter() - began


def test_help(benchmark):
    words = {"typer": ("-c", "import typer")}
    words |= {name.removesuffix(".__main__"): ("-m", name, "--help") for name in ENTRIES}
    rounds = [{name: seconds_of(*given) for name, given in words.items()} for _ in range(ROUNDS + 1)][1:]
    benchmark.pedantic(lambda: seconds_of(*words["typer"]), rounds=1)
    figures = {}
    for name in words:
        cpu, wall = (statistics.median(side) for side in zip(*(one[name] for one in rounds), strict=True))
        figures |= {f"{name}_cpu_seconds": cpu, f"{name}_seconds": wall}
    print(f"\n--help of every command, medians of {ROUNDS} rounds")
    record(benchmark, **figures)
