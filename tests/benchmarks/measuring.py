"""What the benchmarks share: timing, recording, where the time goes, peak memory of a fresh process."""

import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from torch.profiler import ProfilerActivity, profile


def record(benchmark: Any, **figures: object) -> None:
    """Print the figures and save them with the benchmark."""
    benchmark.extra_info.update(figures)
    for name, value in figures.items():
        print(f"  {name}: {value:.4g}" if isinstance(value, float) else f"  {name}: {value}")


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that ``run`` took, and what it returned."""
    began = time.perf_counter()
    result = run()
    return time.perf_counter() - began, result


def cost_by_operation(run: Callable[[], object]) -> str:
    """Share of CPU time of the costliest operations, largest first."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        run()
    rows = sorted(found.key_averages(), key=lambda row: -row.self_cpu_time_total)
    total = sum(row.self_cpu_time_total for row in rows)
    return ", ".join(
        f"{row.key.removeprefix('aten::')} {row.self_cpu_time_total / total:.0%}" for row in rows[:4]
    )


def peak_bytes() -> int:
    """Largest resident size of this process so far.

    From the kernel's VmHWM where there is one: getrusage also counts the parent before this one started.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def peak_resident_gib() -> float:
    """Peak resident memory of this process so far."""
    return peak_bytes() / 2**30


def in_a_fresh_process(function: Callable[..., Any], *arguments: object) -> Any:
    """The function's result, from a process that has done nothing else."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()
