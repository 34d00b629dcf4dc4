"""The whole study: train what the folder lacks, choose the rates, measure what was not trained here."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib

from console.cells import Cells
from console.typed_json import Kept, load_result, save_result
from constructions.language.shown import short_repr
from training.comparison.common.parts import Start
from training.comparison.starts.learning.arms import Arm, Change, RunPlan, WideSizes
from training.comparison.starts.learning.design import (
    SIZES,
    ChosenRate,
    StartsSettings,
    chosen_rates,
    key_of,
    run_one,
    run_plans,
    settings_of,
    sweep_plans,
    watched_of,
)
from training.comparison.starts.learning.levels import held_out
from training.comparison.starts.learning.runs import RunResult
from training.comparison.starts.learning.slotted_tasks import StartProblem
from training.comparison.starts.references import Reference, references

COMMAND = "training.compare"
ROOMS = (
    *("constructions", "baselines", "training/tasks", "training/trainer", "training/serving"),
    *("training/comparison/common", "training/comparison/symmetry", "training/comparison/starts/learning"),
)
"""Whose code decides the figures of a run."""


@dataclass(frozen=True)
class StartsResult:
    """Everything; references are levels of what was not trained here."""

    settings: StartsSettings
    sizes: WideSizes
    sweep: list[RunResult]
    rates: list[ChosenRate]
    runs: list[RunResult]
    references: list[Reference]

    __repr__ = short_repr

    def chosen(self, n_features: int, arm: Arm, change: Change = "none") -> list[RunResult]:
        """The runs that differ in the seed alone."""
        wanted = (n_features, arm, change)
        return [run for run in self.runs if (run.plan.n_features, run.plan.arm, run.plan.change) == wanted]

    def reference(self, n_features: int, name: str) -> Reference:
        """By its name; KeyError where there is none."""
        found = {(one.n_features, one.name): one for one in self.references}
        return found[n_features, name]


def pieces(quick: bool, seed: int) -> int:
    """How often :func:`compute` calls `start`."""
    settings = settings_of(quick, seed)
    return len(sweep_plans(settings)) + len(run_plans(settings, [])) + len(settings.n_features)


def compute(quick: bool, seed: int, jobs: int, out: Path, start: Start) -> StartsResult:
    """On `jobs` processes of one thread each; a run is kept in the folder as soon as it is done."""
    settings = settings_of(quick, seed)
    cells = Cells(out, COMMAND, {"study": "starts", "quick": quick, "seed": seed}, ROOMS, threads=1)
    every = [key_of(plan, settings) for plan in (*sweep_plans(settings), *run_plans(settings, []))]
    with cells.stopping(every):
        return measure_starts(settings, jobs, cells, start)


def measure_starts(settings: StartsSettings, jobs: int, cells: Cells, start: Start) -> StartsResult:
    """The sweep, all runs, the references."""
    sweep = list(_all_runs(sweep_plans(settings), settings, jobs, cells, start))
    rates = chosen_rates(sweep)
    runs = list(_all_runs(run_plans(settings, rates), settings, jobs, cells, start))
    found: list[Reference] = []
    for d in settings.n_features:
        start(f"references, d = {d}")
        problem = StartProblem(d)
        asked = held_out(problem, settings.tasks, settings.seed)
        found += references(problem, SIZES, asked, watched_of(asked, settings))
    return StartsResult(settings, SIZES, sweep, rates, runs, found)


def _all_runs(
    plans: Sequence[RunPlan], settings: StartsSettings, jobs: int, cells: Cells, start: Start
) -> Iterator[RunResult]:
    """In the order of the plans; kept ones are read, the others trained and kept."""
    held = [load_result(cells, key_of(plan, settings), RunResult) for plan in plans]
    missing = [plan for plan, kept in zip(plans, held, strict=True) if kept is None]
    trained = _trained(missing, settings, jobs)
    for plan, kept in zip(plans, held, strict=True):
        start(f"d = {plan.n_features}, {plan.arm}, {plan.change}, rate {plan.rate:g}, seed {plan.seed}")
        found = save_result(cells, key_of(plan, settings), next(trained)) if kept is None else kept
        yield found.result


def _trained(plans: Sequence[RunPlan], settings: StartsSettings, jobs: int) -> Iterator[Kept[RunResult]]:
    """In order, each as soon as it is ready."""
    if jobs == 1 or not plans:
        yield from (_timed(plan, settings) for plan in plans)
        return
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        work = (joblib.delayed(_timed)(plan, settings) for plan in plans)
        found: Any = joblib.Parallel(n_jobs=jobs, return_as="generator")(work)
        yield from found


def _timed(plan: RunPlan, settings: StartsSettings) -> Kept[RunResult]:
    began = time.process_time()
    return Kept(run_one(plan, settings), time.process_time() - began)
