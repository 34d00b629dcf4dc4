"""Two sides of one piece of work, timed in turns in one process, and their peak memory in fresh ones."""

from __future__ import annotations

import importlib
import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

ROUNDS = 5
LEAST_SECONDS = 0.02
"""A side that is faster is repeated within a round until it takes that long."""


@dataclass(frozen=True)
class Row:
    """One line of the table. Times are medians over the rounds, CPU seconds of one thread.

    Attributes:
        group, work: what was done. peer: what it is compared with.
        ours, theirs: CPU seconds. rounds: of both sides, in turns.
        our_memory, their_memory: MiB by which it raised the peak of a fresh process; None where not measured.
        note: what else was found, as sizes of errors or shares of tasks solved.
    """

    group: str
    work: str
    peer: str
    ours: float
    theirs: float
    rounds: int
    our_memory: float | None = None
    their_memory: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float:
        """Ours over theirs: below 1 ours is faster."""
        return self.ours / self.theirs

    @property
    def memory_ratio(self) -> float | None:
        """Ours over theirs."""
        if self.our_memory is None or self.their_memory is None:
            return None
        return self.our_memory / max(self.their_memory, 1e-3)


def cpu_seconds(run: Callable[[], object], times: int = 1) -> float:
    """CPU seconds of one run, all threads together, averaged over ``times`` of them."""
    began = time.process_time()
    for _ in range(times):
        run()
    return (time.process_time() - began) / times


def in_turns(sides: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Median CPU seconds of each side; every round runs all sides, after one round that does not count."""
    first = {name: cpu_seconds(run) for name, run in sides.items()}
    times = {name: 1 + int(LEAST_SECONDS / max(seconds, 1e-6)) for name, seconds in first.items()}
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            found[name].append(cpu_seconds(run, times[name]))
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def one_thread() -> None:
    """This process computes on one thread from now on."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(1)


def peak_mib() -> float:
    """Largest resident size of this process so far.

    From the kernel's VmHWM where there is one: getrusage also counts the parent before this one started.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def added_memory(prepare: Callable[..., Callable[[], object]], *arguments: object) -> float:
    """MiB by which ``prepare(*arguments)`` and the run that it gives raise the peak of a fresh process."""
    return in_a_fresh_process(_added_here, prepare, *arguments)


def _added_here(prepare: Callable[..., Callable[[], object]], *arguments: object) -> float:
    one_thread()
    before = peak_mib()
    prepare(*arguments)()
    return peak_mib() - before


def in_a_fresh_process(function: Callable[..., Any], *arguments: object) -> Any:
    """The function's result, from a process that has done nothing else."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def part(module: str, function: str) -> Any:
    """What a function of a module of this folder measures on one thread, as JSON has it."""
    one_thread()
    found = getattr(importlib.import_module(f"{__package__}.{module}"), function)()
    return found if isinstance(found, dict) else [asdict(row) for row in found]
