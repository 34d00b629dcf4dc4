"""The whole study: train what the folder lacks, choose the rates, measure what was not trained here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from baselines.workers.pieces import run_pieces
from console.cells import Cells
from console.typed_json import Kept, load_result, save_result
from constructions.language.shown import short_repr
from training.comparison.common.parts import Start
from training.comparison.common.running import COMMAND, one_thread
from training.comparison.common.studies import StudyEffort
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


def pieces(effort: StudyEffort) -> int:
    """How often :func:`answer` calls `start`, at most."""
    settings = settings_of(effort.quick, effort.seed)
    return len(sweep_plans(settings)) + len(run_plans(settings, [])) + len(settings.n_features)


def answer(effort: StudyEffort, out: Path, start: Start) -> StartsResult:
    """Train and measure what the folder lacks; a run is kept as soon as it is done."""
    settings = settings_of(effort.quick, effort.seed)
    run = {"study": "starts", "quick": effort.quick, "seed": effort.seed}
    cells = Cells(out, COMMAND, run, ROOMS, threads=1)
    every = [key_of(plan, settings) for plan in (*sweep_plans(settings), *run_plans(settings, []))]
    with cells.stopping(every):
        return measure_starts(settings, effort, cells, start)


def measure_starts(settings: StartsSettings, effort: StudyEffort, cells: Cells, start: Start) -> StartsResult:
    """The sweep, all runs, the references."""
    sweep = _all_runs(sweep_plans(settings), settings, effort, cells, start)
    rates = chosen_rates(sweep)
    runs = _all_runs(run_plans(settings, rates), settings, effort, cells, start)
    found: list[Reference] = []
    for d in settings.n_features:
        start(f"references, d = {d}")
        problem = StartProblem(d)
        asked = held_out(problem, settings.tasks, settings.seed)
        found += references(problem, SIZES, asked, watched_of(asked, settings))
    return StartsResult(settings, SIZES, sweep, rates, runs, found)


def _all_runs(
    plans: Sequence[RunPlan], settings: StartsSettings, effort: StudyEffort, cells: Cells, start: Start
) -> list[RunResult]:
    """In the order of the plans; kept ones are read, the others trained and kept."""
    kept = {plan: load_result(cells, key_of(plan, settings), RunResult) for plan in plans}
    found = {plan: one for plan, one in kept.items() if one is not None}
    missing = [plan for plan in plans if plan not in found]
    for plan, trained in run_pieces(partial(_timed, settings), missing):
        found[plan] = save_result(cells, key_of(plan, settings), trained)
        start(f"d = {plan.n_features}, {plan.arm}, {plan.change}, rate {plan.rate:g}, seed {plan.seed}")
    return [found[plan].result for plan in plans]


def _timed(settings: StartsSettings, plan: RunPlan) -> Kept[RunResult]:
    """A run and the processor's seconds."""
    began = time.process_time()
    with one_thread():
        found = run_one(plan, settings)
    return Kept(found, time.process_time() - began)
