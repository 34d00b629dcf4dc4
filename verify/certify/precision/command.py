"""What ``python -m verify.precision`` does once its options are read."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from console.output import significant
from console.terminal import print_table, progress, widen
from verify.certify.precision.cases import Case, cases
from verify.certify.precision.figure import error_by_dtype
from verify.certify.precision.table import Row, Spread, rows_of
from verify.engine.report import Report
from verify.engine.theorem import Theorem

COMMAND = "verify.precision"
NAMES = ("error_by_dtype",)
HEADER = ("theorem", "dtype", "kernel", "runs", "error, median", "largest", "rounding, median", "largest")
MORE = ("weights, median", "largest", "of", "remarks")


@dataclass(frozen=True)
class Asked:
    """Keys of theorems, dtypes by name, tasks of each size, and the seed of their draws."""

    theorems: Sequence[str]
    dtypes: Sequence[str]
    tasks: int
    seed: int


Job = tuple[Case, str, Asked]


def measured(job: Job) -> list[Row]:
    """The rows of one case in one dtype."""
    case, dtype, asked = job
    return rows_of(case, getattr(torch, dtype), asked.tasks, asked.seed)


@contextmanager
def rows_by(workers: int, jobs: Sequence[Job]) -> Iterator[Iterator[list[Row]]]:
    """Those of each job in turn: by so many processes of one thread each, or by this one if there is one."""
    if workers == 1:
        yield map(measured, jobs)
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _alone)
    try:
        yield pool.map(measured, jobs)
    finally:
        pool.shutdown(cancel_futures=True)


def _alone() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is answered by who started it
    torch.set_num_threads(1)


def precision_table(theorems: Mapping[str, Theorem[Any]], asked: Asked, out: Path, workers: int = 1) -> int:
    """Measure, print and write; the exit code.

    Raises:
        BadInputError: a folder that cannot be written or is another run's.
    """
    settings = {"theorems": list(asked.theorems), "dtypes": list(asked.dtypes)}
    settings |= {"tasks": asked.tasks, "seed": asked.seed}
    report = Report(out, COMMAND, NAMES, settings, Path(__file__).parents[1] / "precision_report.html")
    console, places = Console(), cases(theorems)
    jobs = list(product(places, asked.dtypes, [asked]))
    with progress(len(jobs)) as start, rows_by(workers, jobs) as found:
        rows: list[Row] = []
        for (case, dtype, _), some in zip(jobs, found, strict=True):
            start(f"{case.name}, {dtype}")
            rows += some
    widen(console)
    title = "Certified errors over the natural scale, of the named runs"
    print_table(console, title, HEADER, [row_cells(row) for row in rows])
    done, kinds = sum(row.runs for row in rows), sum(row.error is not None for row in rows)
    console.print(f"{done} runs certified, {kinds} of {len(rows)} lines", markup=False)
    results: dict[str, Any] = {
        "settings": settings,
        "evidence": "certified, for each run that is counted; no bound over all inputs",
        "threads": torch.get_num_threads() if workers == 1 else 1,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "python_flint": metadata.version("python-flint"),
        "rows": rows,
    }
    cells = [[*row_cells(row), *more_cells(row)] for row in rows]
    page = {"header": (*HEADER, *MORE), "cells": cells, "asked": asked}
    return report.write(console, results, [error_by_dtype(rows)], page)


def row_cells(row: Row) -> list[str]:
    """A line on a terminal."""
    run = row.dtype if row.attention == row.dtype else f"{row.dtype}, attention {row.attention}"
    runs = f"{row.runs} of {row.tasks}"
    return [f"{row.theorem}, {row.size}", run, row.kernel, runs, *_cells(row.error), *_cells(row.rounding)]


def more_cells(row: Row) -> list[str]:
    """What the page has beside it."""
    steps = f"{row.steps} step{'' if row.steps == 1 else 's'}"
    of = [row.quantity, steps, "" if row.accuracy == "-" else row.accuracy]
    return [*_cells(row.weights), ", ".join(filter(None, of)), "; ".join(row.remarks)]


def _cells(found: Spread | None) -> list[str]:
    return ["-", "-"] if found is None else [significant(found.median), significant(found.largest)]
