"""How many EM layers a network is worth, and how many it needs behind it.

An EM step is two constructed layers (constructions.em.unit). The curves are made with exact EM steps of
baselines.em; `polish_check` measures how far the constructed layers are from these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.metrics import errors
from baselines.mixture import Mixture
from console.phrases import CountedInterval, Interval
from constructions.language.shown import short_repr
from training.comparison.common.parts import AboutNetwork, Start, Subject
from training.comparison.common.random_paths import RegimePurpose
from training.comparison.common.regimes import (
    BAD,
    NETWORKS,
    RANDOM_STARTS,
    SHUFFLED,
    RegimeTasks,
    component_regimes,
    em_iterates,
    regime_tasks,
)
from training.comparison.common.task_statistics import TAIL, mean_interval, resampled
from training.model.tgmm import TGMM

STEPS = 15
NEAR = 1.05
"""The floor is reached at a mean error of at most so many times that of EM from the truth."""
NEVER = math.inf
POLISH_TASKS, POLISH_STEPS = 8, (1, 3)
QUICK_POLISH_TASKS = 4
WORTH_STARTS = (*RANDOM_STARTS, "k-means")
"""From where the EM steps are counted that the network is worth; "k-means" is the best of ten starts."""


@dataclass(frozen=True)
class Curve:
    """Of one start, after 0, 1, ..., STEPS steps of EM.

    mean, median  of the error over all tasks. solved: the mean over those that the start ends up solving.
    distance      the mean distance to converged EM.
    failed        share of the tasks that it fails at the end.
    """

    mean: list[Interval]
    median: list[float]
    solved: list[Interval]
    distance: list[Interval]
    failed: float


@dataclass(frozen=True)
class TaskWorth:
    """Task by task: t with its quartiles, and the share of tasks where the start never is as good."""

    quartiles: list[float]
    never: float


@dataclass(frozen=True)
class Worth:
    """Smallest t at which EM from a start is no worse than the network alone; NEVER where no t <= STEPS does.

    mean, median  by the mean and the median error over all tasks, tasks drawn again.
    solved        by the mean over the tasks that the start ends up solving, both sides.
    """

    mean: Interval
    median: Interval
    solved: CountedInterval
    task: TaskWorth


@dataclass(frozen=True)
class Needed:
    """Smallest t at which the mean error is at most NEAR times the floor's: all tasks, and the solved."""

    mean: Interval
    solved: CountedInterval


@dataclass(frozen=True)
class ComponentResult:
    """One K. floor: the error of EM from the truth. Keys are starts; of `worth` first a network's output."""

    title: str
    K: int
    tasks: int
    floor: Interval
    floor_median: float
    curves: dict[str, Curve]
    worth: dict[str, dict[str, Worth]]
    needed: dict[str, Needed]
    own_solved: float

    __repr__ = short_repr


@dataclass(frozen=True)
class PolishRow:
    """Constructed steps against exact ones: mean and largest distance; control: to no step at all."""

    steps: int
    mean: float
    most: float
    control: float


@dataclass(frozen=True)
class Polish:
    """Of so many tasks of one kind, with the error of EM from the truth there."""

    refusal: str
    tasks: int
    title: str
    floor: float
    rows: list[PolishRow]


@dataclass(frozen=True)
class NoPolish:
    """Why a network cannot have constructed layers behind it."""

    refusal: str


@dataclass(frozen=True)
class AdaptationResult(AboutNetwork):
    """Of every K; bad and near are BAD and NEAR."""

    layers: int
    steps: int
    bad: float
    near: float
    regimes: list[ComponentResult]
    polish: Polish | NoPolish

    __repr__ = short_repr


def compute(subject: Subject, start: Start) -> AdaptationResult:
    """Curves and worths of every K."""
    regimes = []
    for regime in component_regimes(subject):
        start(f"{regime.title}: EM behind the network")
        regimes.append(measure(regime_tasks(subject, regime, subject.effort.tasks)))
    start("constructed layers against exact steps")
    tasks = regime_tasks(subject, component_regimes(subject)[-1], subject.effort.tasks)
    number = QUICK_POLISH_TASKS if subject.effort.quick else POLISH_TASKS
    return AdaptationResult(
        **vars(subject.about),
        layers=subject.model.config.layers,
        steps=STEPS,
        bad=BAD,
        near=NEAR,
        regimes=regimes,
        polish=polish_check(subject.model, tasks, number),
    )


def curves_of(tasks: RegimeTasks) -> dict[str, list[Mixture]]:
    """Every start and what 1, ..., STEPS exact EM steps make of it."""
    starts = {name: tasks.network(name) for name in (*NETWORKS, SHUFFLED)}
    starts |= {name: tasks.start(name).mixture for name in RANDOM_STARTS}
    starts["k-means"] = tasks.method("k-means").mixture
    return {name: em_iterates(tasks.batch.X, start, STEPS) for name, start in starts.items()}


def measure(tasks: RegimeTasks) -> ComponentResult:
    """One K: error and distance to converged EM after t steps from each start, and what follows."""
    paths = curves_of(tasks)
    error = {name: torch.stack([errors(m, tasks.truth).total for m in path]) for name, path in paths.items()}
    goal = tasks.converged("truth").mixture
    gap = {name: torch.stack([errors(m, goal).total for m in path]) for name, path in paths.items()}
    generator = tasks.generator(RegimePurpose.ADAPTATION_RESAMPLED)
    solved = {name: ~(values[-1] > BAD * tasks.floor) for name, values in error.items()}
    own = error["learned"][0]
    floor = tasks.floor
    return ComponentResult(  # in this order: each draws from the one generator
        title=tasks.regime.title,
        K=tasks.regime.n_components,
        tasks=tasks.n_tasks,
        floor=mean_interval(floor, generator),
        floor_median=float(floor.quantile(0.5)),
        curves={
            name: Curve(
                mean=[mean_interval(row, generator) for row in values],
                median=[float(row.quantile(0.5)) for row in values],
                solved=[mean_interval(row[solved[name]], generator) for row in values],
                distance=[mean_interval(row, generator) for row in gap[name]],
                failed=float((~solved[name]).double().mean()),
            )
            for name, values in error.items()
        },
        worth={
            kind: {name: worth(error[name], error[kind][0], solved[name], generator) for name in WORTH_STARTS}
            for kind in (*NETWORKS, SHUFFLED)
        },
        needed={name: needed(values, floor, solved[name], generator) for name, values in error.items()},
        own_solved=float((~(own > BAD * floor)).double().mean()),
    )


def worth(curve: Tensor, own: Tensor, solved: Tensor, generator: torch.Generator) -> Worth:
    """Of a start's curve (steps + 1, T), the network's own (T,), and the tasks that the start solves (T,)."""
    drawn = resampled(curve.shape[1], generator, 500)
    each = first_step(curve <= own)
    used = solved.nonzero().squeeze(-1)
    return Worth(
        mean=_by_mean(curve, own, drawn),
        median=Interval(
            float(first_step((curve.quantile(0.5, dim=1) <= own.quantile(0.5))[:, None])),
            *_limits(first_step(_drawn_medians(curve, drawn) <= _drawn_medians(own[None], drawn))),
        ),
        solved=_restricted(curve[:, used], own[used], generator),
        task=TaskWorth([_quantile(each, q) for q in (0.25, 0.5, 0.75)], float(each.isinf().double().mean())),
    )


def _by_mean(curve: Tensor, own: Tensor, drawn: Tensor) -> Interval:
    value = float(first_step((curve.mean(1) <= own.mean())[:, None]))
    return Interval(value, *_limits(first_step(_drawn_means(curve, drawn) <= _drawn_means(own[None], drawn))))


def _restricted(curve: Tensor, own: Tensor, generator: torch.Generator) -> CountedInterval:
    """By the mean over these tasks; NaN for less than two."""
    n = curve.shape[1]
    if n < 2:
        return CountedInterval(math.nan, math.nan, math.nan, n)
    return CountedInterval(*_by_mean(curve, own, resampled(n, generator, 500)), n)


def needed(curve: Tensor, floor: Tensor, solved: Tensor, generator: torch.Generator) -> Needed:
    """Of a start's curve (steps + 1, T), the floor (T,), and the tasks that the start solves (T,)."""
    goal = NEAR * floor
    drawn = resampled(curve.shape[1], generator, 500)
    used = solved.nonzero().squeeze(-1)
    return Needed(_by_mean(curve, goal, drawn), _restricted(curve[:, used], goal[used], generator))


def first_step(reached: Tensor) -> Tensor:
    """(steps + 1, B) booleans -> (B,) the first t that is True, NEVER where none is."""
    steps = torch.arange(len(reached), dtype=torch.float64)[:, None]
    return torch.where(reached, steps, NEVER).amin(0)


def polish_check(model: object, tasks: RegimeTasks, n_tasks: int) -> Polish | NoPolish:
    """Constructed EM layers behind the network against exact steps from its estimate, on n_tasks tasks.

    Distances are in the paper's metric. Control: the distance to the network's own estimate.
    """
    if not isinstance(model, TGMM):
        return NoPolish(f"a {type(model).__name__} has no constructed layers")
    if model.config.covariance != "unit":
        return NoPolish("EM layers need unit covariances, this network estimates others")
    X, K = tasks.batch.X[:n_tasks], tasks.regime.n_components
    exact = em_iterates(X, model.estimate(X, K), max(POLISH_STEPS))
    rows = []
    for steps in POLISH_STEPS:
        found = model.with_polish(steps).estimate(X, K)
        gap, off = errors(found, exact[steps]).total, errors(found, exact[0]).total
        rows.append(PolishRow(steps, float(gap.mean()), float(gap.max()), float(off.mean())))
    return Polish("", len(X), tasks.regime.title, float(tasks.floor[:n_tasks].mean()), rows)


def _drawn_means(values: Tensor, drawn: Tensor) -> Tensor:
    """(R, T), (B, T) indices -> (R, B) means of the drawn tasks."""
    counts = torch.zeros(len(drawn), values.shape[1], dtype=values.dtype)
    counts.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=values.dtype))
    return values @ counts.mT / values.shape[1]


def _drawn_medians(values: Tensor, drawn: Tensor) -> Tensor:
    """The same for medians; of an even number the lower of the middle two, as fast as it is fair here."""
    return torch.stack([row[drawn].median(1).values for row in values])


def _limits(drawn: Tensor) -> tuple[float, float]:
    """2.5 and 97.5 % quantiles, values that were drawn; NEVER is larger than any t."""
    return _quantile(drawn, TAIL), _quantile(drawn, 1 - TAIL)


def _quantile(values: Tensor, q: float) -> float:
    """One of the values: no average with NEVER."""
    ordered = values.sort().values
    return float(ordered[min(len(ordered) - 1, math.ceil(q * len(ordered)) - 1 if q > 0 else 0)])
