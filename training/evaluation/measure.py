"""Measuring estimators on tasks whose truth is known, every one of them on the same tasks.

Of one task, in the paper's metric e(a, b) = (1/K) sum_k (|mu_a,k - mu_b,k|^2 / d + (pi_a,k - pi_b,k)^2) after
the exact alignment that makes it smallest:

    total          e(estimate, truth), and its two parts
    statistical    e(oracle, truth), oracle = EM started from the truth: what is left to an estimator that
                   never lands in a bad optimum
    algorithmic    e(estimate, oracle): how far the method is from there
    log_likelihood per point, of the estimate less that of the truth, on the points it was fitted to: above 0
                   for a good fit, since the truth is not the likeliest
    adjusted_rand_index  of the estimate's grouping with the components the points came from

The square roots of the first three obey the triangle inequality (for one alignment), so a method with a small
algorithmic error has the statistical error and little more. A task is bad when its total error is above ten
times the oracle's; a task without an estimate is bad too, and in no mean.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from baselines.checks import check_count
from baselines.methods import MethodResult
from baselines.metrics import Summary, adjusted_rand_index, errors, summarise
from baselines.mixture import Mixture
from constructions.language.shown import short_repr
from training.evaluation.contenders import ORACLE, Contender, oracle
from training.evaluation.grids import Cell
from training.tasks import TaskBatch, sample_tasks

NUMBERS_AT_ONCE = 2**22
"""Coordinates of tasks that are made at a time: at N = 4,096 those of a whole cell take 0.5 GB."""

DATA, DRAWS = 0, 1  # which random numbers of a slice


@dataclass(frozen=True, eq=False)
class TaskFigures:
    """Figures of T tasks, each (T,) in float64, NaN where there is no estimate; see the module's text."""

    total: Tensor
    means: Tensor
    weights: Tensor
    algorithmic: Tensor
    log_likelihood: Tensor
    adjusted_rand_index: Tensor

    __repr__ = short_repr


@dataclass(frozen=True)
class Row:
    """One contender on one cell: figures over the tasks that have an estimate.

    n_tasks        tasks it was given; n_failed of them have no estimate.
    n_unfinished   tasks with an estimate, but without the method's own stopping rule met.
    covariance_type  of its estimates; "" if there is none.
    total          Summary of the total error, failed tasks in percent_bad only; None for less than two.
    the others     means; NaN if there is no estimate.
    milliseconds   wall time a task, all tasks of a slice as one batch; cpu_milliseconds, processor time of
                   all threads, which other work on the machine does not stretch.
    """

    method: str
    n_tasks: int
    n_failed: int
    n_unfinished: int
    covariance_type: str
    total: Summary | None
    means: float
    weights: float
    algorithmic: float
    algorithmic_median: float
    log_likelihood: float
    adjusted_rand_index: float
    milliseconds: float
    cpu_milliseconds: float


@dataclass(frozen=True)
class CellResult:
    """All contenders on one cell.

    rows    the oracle first; empty where the cell has no tasks.
    absent  contender -> why it has no row.
    """

    cell: Cell
    rows: list[Row]
    absent: dict[str, str]

    __repr__ = short_repr

    def with_rows_of(self, other: CellResult) -> CellResult:
        """Also the rows and the absent of a cell of the same tasks, where this one has none of the name."""
        mine = {row.method for row in self.rows} | set(self.absent)
        rows = self.rows + [row for row in other.rows if row.method not in mine]
        absent = {name: reason for name, reason in other.absent.items() if name not in mine}
        return replace(self, rows=rows, absent=self.absent | absent)

    @property
    def statistical(self) -> Summary | None:
        """Errors of the oracle."""
        return self.rows[0].total if self.rows else None


@dataclass(eq=False)
class _Tally:
    """What is known of one contender so far."""

    contender: Contender
    most_tasks: int
    figures: list[TaskFigures] = field(default_factory=list)
    oracle_totals: list[Tensor] = field(default_factory=list)
    n_unfinished: int = 0
    covariance_type: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    @property
    def n_tasks(self) -> int:
        return sum(len(part.total) for part in self.figures)


def slices_of(cell: Cell, n_tasks: int) -> list[int]:
    """Numbers of tasks that are made and measured together, n_tasks in all."""
    most = max(1, NUMBERS_AT_ONCE // (cell.n_samples * cell.n_features))
    return [min(most, n_tasks - first) for first in range(0, n_tasks, most)]


def measure_cell(
    cell: Cell,
    contenders: Sequence[Contender],
    n_tasks: int,
    seed: int,
    start: Callable[[str], None] = lambda name: None,
) -> CellResult:
    """The oracle and every contender on n_tasks tasks of the cell, float64; some on the first of them.

    The tasks are a function of (cell, n_tasks, seed), and a method's random numbers of (cell, seed, slice):
    what else is measured makes no difference to either. ``start`` is called with the name of each contender
    as it starts on each slice, those without a row included.

    A cell whose law accepts no means has no rows. Raises ValueError for n_tasks < 2, and as contenders do.
    """
    check_count("the number of tasks", n_tasks, least=2)
    everyone = [
        oracle("unit" if cell.distribution is None else cell.distribution.covariance_type),
        *contenders,
    ]
    absent = {one.name: cell.impossible or one.refusal(cell) for one in everyone}
    absent = {name: reason for name, reason in absent.items() if reason}
    tallies = [_Tally(one, one.most_tasks(cell, n_tasks)) for one in everyone if one.name not in absent]
    for index, size in enumerate(slices_of(cell, n_tasks)):
        for name in absent:
            start(name)
        if cell.distribution is None:
            continue
        generator = torch.Generator().manual_seed(cell.seed(seed, index, DATA))
        try:
            batch = sample_tasks(
                cell.distribution, size, cell.n_components, cell.n_samples, generator, dtype=torch.float64
            )
        except ValueError as problem:  # its means are never accepted: no tasks, and the other cells go on
            return CellResult(cell, [], {one.name: str(problem) for one in everyone})
        best: Mixture | None = None
        for tally in tallies:
            start(tally.contender.name)
            generator = torch.Generator().manual_seed(cell.seed(seed, index, DRAWS))
            best = _measure(tally, batch, best, generator)
    return CellResult(cell, [_row(tally) for tally in tallies], absent)


def _measure(
    tally: _Tally, batch: TaskBatch, best: Mixture | None, generator: torch.Generator
) -> Mixture | None:
    """Let the contender estimate (a part of) the tasks; the oracle's estimate, made by the first tally."""
    contender = tally.contender
    size = min(len(batch.X), tally.most_tasks - tally.n_tasks)
    if size == 0:
        return best
    part = TaskBatch(batch.X[:size], batch.n_samples[:size], batch.labels[:size], batch.truth[:size])
    if contender.prepare is not None:
        contender.prepare(part.X, part.truth.n_components)
    started, cpu_started = time.perf_counter(), time.process_time()
    truth = part.truth if contender.knows_truth else None
    result = contender.run(part.X, part.truth.n_components, generator, truth)
    tally.seconds += time.perf_counter() - started
    tally.cpu_seconds += time.process_time() - cpu_started
    if best is None:
        best = _complete(result)
    reference = best[:size]
    tally.figures.append(task_figures(result, part, reference))
    tally.oracle_totals.append(errors(reference, part.truth).total)
    tally.n_unfinished += int((~result.converged & ~result.failed).sum())
    if result.mixture is not None:
        tally.covariance_type = result.mixture.covariance_type
    return best


def _complete(result: MethodResult) -> Mixture:
    if result.mixture is None or bool(result.failed.any()):
        raise ValueError(f"{int(result.failed.sum())} tasks have no estimate by {ORACLE}, needs one for all")
    return result.mixture


def task_figures(result: MethodResult, batch: TaskBatch, best: Mixture) -> TaskFigures:
    """Figures of every task of the batch, all of one N; ``best`` is the oracle's estimate."""
    n_tasks = len(batch.X)
    if result.mixture is None:
        return TaskFigures(*(torch.full((n_tasks,), torch.nan, dtype=torch.float64) for _ in range(6)))
    found = ~result.failed
    estimate, truth, X = result.mixture, batch.truth[found], batch.X[found]
    error = errors(estimate, truth)
    values = (
        error.total,
        error.means,
        error.weights,
        errors(estimate, best[found]).total,
        estimate.log_likelihood_per_point(X) - truth.log_likelihood_per_point(X),
        adjusted_rand_index(estimate.predict(X), batch.labels[found]),
    )
    everywhere = []
    for value in values:
        spread = torch.full((n_tasks,), torch.nan, dtype=torch.float64)
        spread[found] = value
        everywhere.append(spread)
    return TaskFigures(*everywhere)


def _row(tally: _Tally) -> Row:
    figures = {
        name: torch.cat([getattr(part, name) for part in tally.figures])
        for name in TaskFigures.__dataclass_fields__
    }
    found = ~figures["total"].isnan()
    n_failed = int((~found).sum())
    average = {name: float(values[found].mean()) for name, values in figures.items()}  # NaN of none
    algorithmic = figures["algorithmic"][found]
    return Row(
        method=tally.contender.name,
        n_tasks=tally.n_tasks,
        n_failed=n_failed,
        n_unfinished=tally.n_unfinished,
        covariance_type=tally.covariance_type,
        total=total_summary(figures["total"], torch.cat(tally.oracle_totals)),
        means=average["means"],
        weights=average["weights"],
        algorithmic=average["algorithmic"],
        algorithmic_median=float(algorithmic.median()) if len(algorithmic) else float("nan"),
        log_likelihood=average["log_likelihood"],
        adjusted_rand_index=average["adjusted_rand_index"],
        milliseconds=1000 * tally.seconds / tally.n_tasks,
        cpu_milliseconds=1000 * tally.cpu_seconds / tally.n_tasks,
    )


def total_summary(total: Tensor, oracle_total: Tensor) -> Summary | None:
    """Summary of (T,) errors; a NaN is a failed task: bad, and in no other figure. None for less than two."""
    found = ~total.isnan()
    n_found = int(found.sum())
    if n_found < 2:
        return None
    summary = summarise(total[found], oracle_total[found])
    n_bad = summary.percent_bad / 100 * n_found + len(total) - n_found
    return replace(summary, percent_bad=100 * n_bad / len(total))


def cell_record(result: CellResult) -> dict[str, Any]:
    """The cell as JSON values."""
    cell, D = result.cell, result.cell.distribution
    return {
        "d": cell.n_features,
        "K": cell.n_components,
        "N": cell.n_samples,
        "perturbation": None if D is None else D.perturbation,
        "separation": None if D is None else D.separation,
        "covariance": None if D is None else D.covariance,
        "elongation": cell.elongation,
        "correlation": None if D is None or D.covariance != "correlated" else D.correlation,
        "start": cell.start,
        "statistical_error": None if result.statistical is None else vars(result.statistical),
        "rows": [
            vars(row) | {"total": None if row.total is None else vars(row.total)} for row in result.rows
        ],
        "absent": result.absent,
    }


def result_of(cell: Cell, record: dict[str, Any]) -> CellResult:
    """The result that :func:`cell_record` wrote down."""
    rows = [
        Row(**row | {"total": None if row["total"] is None else Summary(**row["total"])})
        for row in record["rows"]
    ]
    return CellResult(cell, rows, record["absent"])
