"""Which runs there are: a sweep of learning rates, every arm on its seeds, and what is changed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from training.comparison.starts.learning.arms import ARMS, CHANGES, Arm, Change, RunPlan, WideSizes
from training.comparison.starts.learning.levels import HeldOut, held_out, overall
from training.comparison.starts.learning.runs import WATCHES, RunResult, train
from training.comparison.starts.learning.slotted_tasks import StartProblem

NEAR_RATES = (3e-5, 1e-4, 3e-4)
"""Peaks of the learning rate that are tried from the construction; 1e-3 threw it out at both d."""
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
    sweep_steps: int = 300
    tasks_per_step: int = 16
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


def settings_of(quick: bool, seed: int) -> StartsSettings:
    """600 steps and three seeds, or with quick too little to conclude from."""
    return replace(QUICK if quick else StartsSettings(), seed=seed)


def sweep_plans(settings: StartsSettings) -> list[RunPlan]:
    """Every rate of every arm, and of the arms with Muon, where it is a change."""
    found = []
    for d in settings.n_features:
        for arm, change in _swept(settings, d):
            for rate in RANDOM_RATES if arm in ("random", "normed") else NEAR_RATES:
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
    """Of each arm and change that was swept; a run that broke off is chosen where all of them did alone."""
    best: dict[tuple[int, Arm, Change], tuple[float, float]] = {}
    for run in sweep:
        key = (run.plan.n_features, run.plan.arm, run.plan.change)
        error = overall(run.levels) if run.levels else math.inf
        best[key] = min(best.get(key, (math.inf, run.plan.rate)), (error, run.plan.rate))
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


def run_one(plan: RunPlan, settings: StartsSettings) -> RunResult:
    """Train and measure; a run of the sweep on held-out tasks of its own seed, at both its ends alone."""
    problem = StartProblem(plan.n_features)
    if is_of_sweep(plan, settings):
        asked = held_out(problem, settings.watched_tasks, plan.seed)
        return train(problem, plan, SIZES, asked, asked, watches=1)
    asked = held_out(problem, settings.tasks, settings.seed)
    return train(problem, plan, SIZES, watched_of(asked, settings), asked, WATCHES)


def watched_of(asked: Sequence[HeldOut], settings: StartsSettings) -> list[HeldOut]:
    """The first tasks of each K."""
    return [one[: settings.watched_tasks] for one in asked]


def is_of_sweep(plan: RunPlan, settings: StartsSettings) -> bool:
    """By its seed, which no other run has."""
    return plan.seed == SEEDS_APART * settings.seed + SWEEP_SEED


def key_of(plan: RunPlan, settings: StartsSettings) -> str:
    """Of the cell of a run; the rate of one that is not of the sweep follows from the sweep."""
    last = f"rate{plan.rate:g}" if is_of_sweep(plan, settings) else f"seed{plan.seed}"
    return f"d{plan.n_features}_{plan.arm}_{plan.change}_{last}"
