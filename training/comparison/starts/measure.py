"""All runs of "the theorem as a start": a sweep of learning rates, then every arm and change on its seeds.

A run is a function of its plan alone, and is kept on disk as soon as it is done where cells are given.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import joblib

from console.cells import Cells
from console.typed_json import Kept, load_result, save_result
from constructions.language.shown import short_repr
from training.comparison.common.parts import Start
from training.comparison.starts.arms import ARMS, CHANGES, Arm, Change, RunPlan, WideSizes
from training.comparison.starts.levels import held_out, overall
from training.comparison.starts.references import Reference, references
from training.comparison.starts.runs import WATCHES, RunResult, train
from training.comparison.starts.slotted_tasks import StartProblem

NEAR_RATES = (1e-4, 3e-4, 1e-3)
"""Peaks of the learning rate that are tried from the construction, and with Muon."""
RANDOM_RATES = (3e-4, 1e-3, 3e-3)
CHANGED_ARMS: tuple[Arm, ...] = ("constructed", "normed")
CHANGED_FEATURES = 2
SEEDS_APART, SWEEP_SEED = 1000, 900
"""Runs of seed s have the seeds 1,000 s, 1,000 s + 1, ...; the sweep has 1,000 s + 900."""
SIZES = WideSizes()


@dataclass(frozen=True)
class StartsSettings:
    """How much is trained.

    n_features              every d.
    steps, sweep_steps      of a run, and of one of the sweep.
    tasks_per_step          of all.
    seeds, change_seeds     of an arm, and of an arm with something changed.
    changes                 what is changed, at d = CHANGED_FEATURES.
    watched_tasks, tasks    held-out tasks of each K: on the way (and in the sweep), and at the end.
    seed                    of all that is random.
    """

    n_features: tuple[int, ...] = (8, 2)
    steps: int = 600
    sweep_steps: int = 120
    tasks_per_step: int = 20
    seeds: int = 3
    change_seeds: int = 2
    changes: tuple[Change, ...] = CHANGES[1:]
    watched_tasks: int = 64
    tasks: int = 512
    seed: int = 0


QUICK = StartsSettings((2,), 12, 4, 8, 1, 1, ("tied",), 8, 8)


@dataclass(frozen=True)
class ChosenRate:
    """The rate with the least error at the end of its run of the sweep, among those tried."""

    n_features: int
    arm: Arm
    change: Change
    rate: float


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


def settings_of(quick: bool, seed: int) -> StartsSettings:
    """600 steps and three seeds, or with quick too little to conclude from."""
    return replace(QUICK if quick else StartsSettings(), seed=seed)


def compute(quick: bool, seed: int, jobs: int, cells: Cells | None, start: Start) -> StartsResult:
    """The whole study on `jobs` processes of one thread each; runs that cells hold are not trained again."""
    return measure_starts(settings_of(quick, seed), jobs, cells, start)


def pieces(quick: bool, seed: int) -> int:
    """How often :func:`compute` calls `start`."""
    settings = settings_of(quick, seed)
    sweep = sweep_plans(settings)
    return 1 + len(sweep) + len(run_plans(settings, [])) + len(settings.n_features)


def sweep_plans(settings: StartsSettings) -> list[RunPlan]:
    """Every rate of every arm, and of the arms with Muon, where it is a change."""
    found = []
    for d in settings.n_features:
        for arm, change in _swept(settings, d):
            random = arm in ("random", "normed") and change == "none"
            for rate in RANDOM_RATES if random else NEAR_RATES:
                seed = SEEDS_APART * settings.seed + SWEEP_SEED
                steps, size = settings.sweep_steps, settings.tasks_per_step
                found.append(RunPlan(d, arm, change, rate, steps, seed, size))
    return found


def _swept(settings: StartsSettings, n_features: int) -> Iterator[tuple[Arm, Change]]:
    for arm in ARMS:
        yield arm, "none"
    if n_features == CHANGED_FEATURES and "muon" in settings.changes:
        for arm in CHANGED_ARMS:
            yield arm, "muon"


def chosen_rates(sweep: Sequence[RunResult]) -> list[ChosenRate]:
    """Of each arm and change that was swept; a run that broke off is never chosen."""
    best: dict[tuple[int, Arm, Change], tuple[float, float]] = {}
    for run in sweep:
        key = (run.plan.n_features, run.plan.arm, run.plan.change)
        error = overall(run.levels) if run.levels else float("inf")
        best[key] = min(best.get(key, (float("inf"), run.plan.rate)), (error, run.plan.rate))
    return [ChosenRate(*key, rate) for key, (_, rate) in best.items()]


def run_plans(settings: StartsSettings, rates: Sequence[ChosenRate]) -> list[RunPlan]:
    """Every run, seed by seed; a change other than Muon has its arm's rate, or 0 where none is known."""
    known = {(one.n_features, one.arm, one.change): one.rate for one in rates}

    def plan(d: int, arm: Arm, change: Change, place: int) -> RunPlan:
        rate = known.get((d, arm, change), known.get((d, arm, "none"), 0.0))
        seed = SEEDS_APART * settings.seed + place
        return RunPlan(d, arm, change, rate, settings.steps, seed, settings.tasks_per_step)

    plans = [
        plan(d, arm, "none", place)
        for place in range(settings.seeds)
        for d in settings.n_features
        for arm in ARMS
    ]
    if CHANGED_FEATURES in settings.n_features:
        plans += [
            plan(CHANGED_FEATURES, arm, change, place)
            for place in range(settings.change_seeds)
            for change in settings.changes
            for arm in CHANGED_ARMS
        ]
    return plans


def measure_starts(settings: StartsSettings, jobs: int, cells: Cells | None, start: Start) -> StartsResult:
    """Sweep, choose the rates, train, and measure the references."""
    start("the theorem as a start: learning rates")
    sweep = list(_all_runs(sweep_plans(settings), settings, jobs, cells, start, sweep=True))
    rates = chosen_rates(sweep)
    runs = list(_all_runs(run_plans(settings, rates), settings, jobs, cells, start, sweep=False))
    found: list[Reference] = []
    for d in settings.n_features:
        start(f"references, d = {d}")
        problem = StartProblem(d)
        found += references(problem, SIZES, held_out(problem, settings.tasks, settings.seed))
    return StartsResult(settings, SIZES, sweep, rates, runs, found)


def run_one(plan: RunPlan, settings: StartsSettings, sweep: bool) -> RunResult:
    """Train and measure; a run of the sweep on held-out tasks of its own seed, at its end alone."""
    problem = StartProblem(plan.n_features)
    if sweep:
        asked = held_out(problem, settings.watched_tasks, plan.seed)
        return train(problem, plan, SIZES, asked, asked, watches=1)
    asked = held_out(problem, settings.tasks, settings.seed)
    watched = [one[: settings.watched_tasks] for one in asked]
    return train(problem, plan, SIZES, watched, asked, WATCHES)


def key_of(plan: RunPlan) -> str:
    """Of the cell of a run."""
    parts = (f"d{plan.n_features}", plan.arm, plan.change, f"{plan.rate:g}", plan.steps, f"seed{plan.seed}")
    return "_".join(map(str, parts))


def _all_runs(
    plans: Sequence[RunPlan],
    settings: StartsSettings,
    jobs: int,
    cells: Cells | None,
    start: Start,
    sweep: bool,
) -> Iterator[RunResult]:
    """In the order of the plans; kept ones are read, the others trained and kept."""
    held = [None if cells is None else load_result(cells, key_of(plan), RunResult) for plan in plans]
    missing = [plan for plan, kept in zip(plans, held, strict=True) if kept is None]
    trained = _trained(missing, settings, jobs, sweep)
    for plan, kept in zip(plans, held, strict=True):
        start(f"d = {plan.n_features}, {plan.arm}, {plan.change}, rate {plan.rate:g}, seed {plan.seed}")
        if kept is not None:
            yield kept.result
            continue
        found = next(trained)
        yield found.result if cells is None else save_result(cells, key_of(plan), found).result


def _trained(
    plans: Sequence[RunPlan], settings: StartsSettings, jobs: int, sweep: bool
) -> Iterator[Kept[RunResult]]:
    """In order, as they are ready."""
    if jobs == 1 or not plans:
        yield from (_timed(plan, settings, sweep) for plan in plans)
        return
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        work = (joblib.delayed(_timed)(plan, settings, sweep) for plan in plans)
        found: Any = joblib.Parallel(n_jobs=jobs, return_as="generator")(work)
        yield from found


def _timed(plan: RunPlan, settings: StartsSettings, sweep: bool) -> Kept[RunResult]:
    began = time.perf_counter()
    return Kept(run_one(plan, settings, sweep), time.perf_counter() - began)
