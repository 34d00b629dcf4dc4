"""The results of an evaluation as tables: on the terminal, and as cells for the page."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console

from console.output import significant
from console.terminal import print_table
from training.evaluation.measure import CellResult, Row

HEADER = (
    *("method", "total", "s.e.", "median", "p90", "% bad", "means", "weights"),
    *("algor.", "log-lik", "ARI", "failed", "tasks", "CPU ms"),
)
LEGEND = (
    "total: (1/K) sum_k (|mu_hat_k - mu_k|^2 / d + (pi_hat_k - pi_k)^2) after the best permutation, mean "
    "over tasks, with its standard error, median and 90th percentile; means, weights: its two parts. "
    "% bad: tasks with more than ten times the error of the oracle, EM started from the truth (em-truth), "
    "and tasks that failed. Statistical error: the total of the oracle. algor.: algorithmic error, the same "
    "distance between the estimate and the oracle's. log-lik: per point, less the truth's. ARI: adjusted "
    "Rand index of the grouping with the true components. failed: tasks without an estimate. CPU ms: "
    "processor time a task, the tasks as one batch. A name is followed by what covariances the estimate has, "
    "where they are not those of the tasks."
)
WIDTH = 130


def cell_title(result: CellResult) -> str:
    """As in "d = 8, K = 5, N = 128: statistical error 0.048"."""
    if result.statistical is None:
        return result.cell.title
    return f"{result.cell.title}: statistical error {significant(result.statistical.mean, 3)}"


def cell_rows(result: CellResult) -> list[list[str]]:
    """A row a contender, the oracle first; dashes for one that is absent."""
    rows = [_cells(row, result) for row in result.rows]
    return rows + [[name, *"-" * (len(HEADER) - 1)] for name in result.absent]


def _cells(row: Row, result: CellResult) -> list[str]:
    covariance = "unit" if result.cell.distribution is None else result.cell.distribution.covariance_type
    name = row.method
    if row.covariance_type not in ("", covariance):
        name += f" ({row.covariance_type})"
    t = row.total
    total = ["-"] * 5
    if t is not None:
        total = [decimal(value) for value in (t.mean, t.standard_error, t.median, t.p90)]
        total.append(f"{t.percent_bad:.1f}")
    parts = (row.means, row.weights, row.algorithmic, row.log_likelihood, row.adjusted_rand_index)
    counts = (str(row.n_failed), str(row.n_tasks))
    return [name, *total, *map(decimal, parts), *counts, significant(row.cpu_milliseconds, 3)]


def decimal(value: float) -> str:
    """Four decimals below 10, fewer above; a power of ten where that would not do; a dash for NaN."""
    size = abs(value)
    if not math.isfinite(value):
        return "-"
    if 0 < size < 5e-5 or size >= 1e5:
        return f"{value:.0e}"
    return f"{value:.{4 if size < 10 else 2 if size < 1000 else 0}f}"


def reasons(results: Sequence[CellResult]) -> list[str]:
    """Why there are dashes: one line for each contender and reason, with the cells it holds for."""
    found: dict[tuple[str, str], list[str]] = {}
    for result in results:
        for name, reason in result.absent.items():
            found.setdefault((name, reason), []).append(result.cell.title)
    return [f"{name}: {reason} ({'; '.join(places)})" for (name, reason), places in found.items()]


def print_results(console: Console, results: Sequence[CellResult]) -> None:
    """One table a cell, what the columns mean, and why there are dashes."""
    if not console.is_terminal:
        console.width = max(console.width, WIDTH)
    for result in results:
        print_table(console, cell_title(result), HEADER, cell_rows(result))
    console.print(LEGEND, style="dim", markup=False)
    for line in reasons(results):
        console.print(line, markup=False)
