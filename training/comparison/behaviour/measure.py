"""Which algorithm a network's answers are nearest to, task by task, regime by regime.

Distance is the paper's metric e(a, b) after exact alignment (baselines.metrics): of the learned network, of
an untrained one, and of the learned network's answer to another task, to every reference on the same tasks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from baselines.methods import METHODS
from console.phrases import Interval
from console.typed_json import Absent
from constructions.language.shown import short_repr
from training.comparison.behaviour.directions import Direction, directions
from training.comparison.behaviour.estimators import STEPS
from training.comparison.common.parts import AboutNetwork, Start, Subject
from training.comparison.common.random_paths import RegimePurpose
from training.comparison.common.regimes import (
    N_SAMPLES,
    NETWORKS,
    RANDOM_STARTS,
    SHUFFLED,
    Found,
    Regime,
    RegimeTasks,
    all_regimes,
    complete,
    distance,
    regime_tasks,
    tasks_of,
)
from training.comparison.common.task_statistics import mean_interval, median_interval, share_interval

KINDS = (*NETWORKS, SHUFFLED)
POSTERIOR = "posterior-mean"
SLOW_TASKS = {POSTERIOR: 24}
"""Methods that are measured on the first tasks only, of the paper's regimes of at most N_SAMPLES points."""
TIE = 1e-12
"""Two distances this near are equal: the metric of equal estimates rounds to about 1e-30."""
ALIKE = 0.01
"""Distances that differ by less than this share of the smaller are the same for the question asked here."""


@dataclass(frozen=True)
class Distance:
    """To a reference, over the n tasks that it has an estimate of."""

    mean: Interval
    median: Interval
    n: int


@dataclass(frozen=True)
class Gap:
    """By how much a reference is farther than the nearest; nearer: in which share of the tasks it is."""

    mean: Interval
    median: Interval
    nearer: Interval


@dataclass(frozen=True)
class Ranking:
    """Who is nearest; keys are references.

    order         nearest on average first. differences: of the others from the first.
    ties          those whose difference has an interval that reaches below ALIKE times the first's distance.
    median_first  the nearest by the median.
    wins          in which share of the tasks each is nearest; a task's win goes in equal parts to those
                  within ALIKE of the smallest distance.
    """

    order: list[str]
    differences: dict[str, Gap]
    ties: list[str]
    median_first: str
    wins: dict[str, Interval]
    tasks: int


@dataclass(frozen=True)
class KindResult(Ranking):
    """Of the learned network, or of a control. with_slow: the ranking with slow methods, on fewer tasks."""

    distances: dict[str, Distance]
    with_slow: Annotated[Ranking | None, Absent({})] = None

    __repr__ = short_repr


@dataclass(frozen=True)
class StepCurve:
    """Distance to EM after 0, 1, ..., STEPS steps from one start."""

    mean: list[Interval]
    median: list[float]


@dataclass(frozen=True)
class Matrix:
    """Median distances of the named to each other, on so many tasks."""

    names: list[str]
    values: list[list[float]]
    tasks: int


@dataclass(frozen=True)
class RegimeResult:
    """One regime.

    slow    tasks of the methods that have fewer. floor: the error of EM from the truth.
    kinds   KINDS. steps: of EM stopped early, by kind and start, those of even and of odd tasks.
    curves  by kind and start. directions: by reference, of the network's deviation from EM.
    """

    title: str
    K: int
    N: int
    separation: float | None
    beyond: bool
    spectral_refusal: str
    tasks: int
    slow: dict[str, int]
    floor: Interval
    kinds: dict[str, KindResult]
    steps: dict[str, dict[str, tuple[int, int]]]
    curves: dict[str, dict[str, StepCurve]]
    matrix: Matrix
    directions: dict[str, Direction]

    __repr__ = short_repr


@dataclass(frozen=True)
class BehaviourResult(AboutNetwork):
    """Of all regimes; absent: what is left out, and why. scales: whether the network estimates variances."""

    steps: int
    absent: list[str]
    scales: bool
    regimes: list[RegimeResult]

    __repr__ = short_repr


def compute(subject: Subject, start: Start) -> BehaviourResult:
    """Every regime."""
    regimes, names = all_regimes(subject), list(METHODS)
    values = []
    for regime in regimes:
        start(f"{regime.title}: distances to the algorithms")
        n = tasks_of(regime, subject.effort.tasks)
        values.append(measure(regime_tasks(subject, regime, n), subject.effort.quick))
    absent = []
    if POSTERIOR not in names:
        absent.append("the Bayes posterior mean is not among the methods: left out")
    elif subject.effort.quick:
        absent.append("the Bayes posterior mean takes too long for --quick: left out")
    elif not all(map(_for_slow, regimes)):
        absent.append(
            f"the Bayes posterior mean takes too long above N = {N_SAMPLES}, and its prior is not that of a "
            "fixed separation: left out there"
        )
    return BehaviourResult(
        **vars(subject.about),
        steps=STEPS,
        absent=absent,
        scales=subject.model.config.covariance != "unit",
        regimes=values,
    )


def measure(tasks: RegimeTasks, quick: bool) -> RegimeResult:
    """One regime: distances, who is nearest, the algorithms among themselves, directions of the deviation."""
    regime = tasks.regime
    references, slow = references_of(tasks, quick)
    curves = {
        kind: {
            name: torch.stack([distance(tasks.network(kind), one) for one in _iterates(tasks, name)])
            for name in regime.starts
        }
        for kind in KINDS
    }
    generator = tasks.generator(RegimePurpose.BEHAVIOUR_RESAMPLED)
    kinds: dict[str, KindResult] = {}
    chosen: dict[str, dict[str, tuple[int, int]]] = {}
    for kind in KINDS:
        found = {name: distance(tasks.network(kind), ref) for name, ref in references.items()}
        chosen[kind] = {}
        for name, curve in curves[kind].items():
            first = 0 if name in RANDOM_STARTS else 1
            found[f"early {name}"], chosen[kind][name] = halves_chosen(curve, first)
        distances = {
            name: Distance(
                mean_interval(values, generator), median_interval(values), int((~values.isnan()).sum())
            )
            for name, values in found.items()
        }
        own = ranking({name: found[name] for name in contest(found, slow)}, generator)
        with_slow = slow_ranking(found, slow, generator)
        kinds[kind] = KindResult(**vars(own), distances=distances, with_slow=with_slow)
    return RegimeResult(  # in this order: floor, curves and directions draw from the one generator
        title=regime.title,
        K=regime.n_components,
        N=regime.n_samples,
        separation=regime.separation,
        beyond=regime.n_components > regime.n_features,
        spectral_refusal=regime.spectral_refusal,
        tasks=tasks.n_tasks,
        slow={name: len(references[name].missing) for name in slow},
        floor=mean_interval(tasks.floor, generator),
        kinds=kinds,
        steps=chosen,
        curves={kind: _curves(curves[kind], generator) for kind in KINDS},
        matrix=_matrix(tasks, references, chosen["learned"]),
        directions=directions(tasks, references, generator),
    )


def references_of(tasks: RegimeTasks, quick: bool) -> tuple[dict[str, Found], list[str]]:
    """Every reference but the EM iterates, by its key, and the keys of those on fewer tasks."""
    found = {
        "truth": complete(tasks.truth),
        "em": complete(tasks.best_em),
        "k-means": tasks.method("k-means"),
        "map-em": complete(tasks.mode),
    }
    found |= {f"em {name}": tasks.converged(name) for name in tasks.regime.starts}
    if not tasks.regime.spectral_refusal:
        found["spectral"] = tasks.method("spectral")
    slow = [] if quick or not _for_slow(tasks.regime) else [n for n in SLOW_TASKS if n in METHODS]
    for name in slow:
        found[name] = tasks.method(name, SLOW_TASKS[name])
    return found, slow


def _for_slow(regime: Regime) -> bool:
    return regime.separation is None and regime.n_samples <= N_SAMPLES


def contest(found: dict[str, Tensor], slow: list[str]) -> list[str]:
    """References of which the nearest is sought: one each of what would be nearly the same."""
    names = ("truth", "em", *(f"early {name}" for name in RANDOM_STARTS), "k-means", "spectral", "map-em")
    return [name for name in names if name in found and name not in slow]


def halves_chosen(curve: Tensor, first: int) -> tuple[Tensor, tuple[int, int]]:
    """Distances (T,) to EM after t steps, t >= first the nearest on average on the other half of the tasks.

    curve (steps + 1, T). Even tasks are given the t chosen on the odd ones and the other way round, so that
    choosing does not make the distance smaller than it is. Returns also both t, of the even tasks first.
    """
    even = torch.arange(curve.shape[1]) % 2 == 0
    values, steps = torch.empty_like(curve[0]), []
    for mine in (even, ~even):
        t = first + int(curve[first:, ~mine].nanmean(1).nan_to_num(nan=math.inf).argmin())
        values[mine] = curve[t, mine]
        steps.append(t)
    return values, (steps[0], steps[1])


def ranking(found: dict[str, Tensor], generator: torch.Generator) -> Ranking:
    """Of distances (T,) to each reference; differences are over the tasks that have both."""
    names = list(found)
    means = {name: float(values.nanmean()) for name, values in found.items()}
    order = sorted(names, key=lambda name: (math.isnan(means[name]), means[name]))
    first, rest = order[0], order[1:]
    gaps = {name: paired(found[name], found[first], generator) for name in rest}
    table = torch.stack([found[name].nan_to_num(nan=math.inf) for name in names])
    winners = (table <= (1 + ALIKE) * table.amin(0) + TIE).double()
    shares = (winners / winners.sum(0)).mean(1)
    n = table.shape[1]
    medians = {name: _median(values) for name, values in found.items()}
    return Ranking(
        order=order,
        differences=gaps,
        ties=[name for name in rest if not gaps[name].mean.low > ALIKE * means[first]],
        median_first=min(names, key=lambda name: medians[name]),
        wins={
            name: share_interval(round(float(share) * n), n)
            for name, share in zip(names, shares, strict=True)
        },
        tasks=n,
    )


def paired(other: Tensor, first: Tensor, generator: torch.Generator) -> Gap:
    """Of other - first over the tasks that have both: mean and median, the share of tasks above 0."""
    gap = (other - first)[~(other - first).isnan()]
    return Gap(
        mean_interval(gap, generator), median_interval(gap), share_interval(int((gap > TIE).sum()), len(gap))
    )


def slow_ranking(found: dict[str, Tensor], slow: list[str], generator: torch.Generator) -> Ranking | None:
    """`ranking` with the slow methods too, on the tasks that all of those have; None without any."""
    if not slow:
        return None
    n = min(len(found[name]) for name in slow)
    return ranking({name: found[name][:n] for name in (*contest(found, []), *slow)}, generator)


def _median(values: Tensor) -> float:
    """Of those that are not NaN."""
    known = values[~values.isnan()]
    return float(known.quantile(0.5)) if len(known) else math.nan


def _iterates(tasks: RegimeTasks, name: str) -> list[Found]:
    """EM after 0, 1, ..., STEPS steps from a start, on the tasks that have it."""
    missing = tasks.start(name).missing
    return [Found(mixture, missing) for mixture in tasks.iterates(name, STEPS)]


def _curves(curves: dict[str, Tensor], generator: torch.Generator) -> dict[str, StepCurve]:
    """Of curves (STEPS + 1, T), start by start."""
    return {
        name: StepCurve([mean_interval(values, generator) for values in curve], [_median(v) for v in curve])
        for name, curve in curves.items()
    }


def _matrix(tasks: RegimeTasks, references: dict[str, Found], steps: dict[str, tuple[int, int]]) -> Matrix:
    """Median distance of the network and the algorithms to each other, on the first tasks that all have."""
    members = {"network": complete(tasks.network("learned"))}
    for name in ("truth", "em truth", "em", "map-em", "k-means", "spectral", *SLOW_TASKS):
        if name in references:
            members[name] = references[name]
    for name in RANDOM_STARTS:
        members[f"early {name}"] = complete(tasks.iterates(name, STEPS)[steps[name][0]])
    n = min(len(member.missing) for member in members.values())

    def between(one: Found, other: Found) -> float:
        return _median(
            distance(one.mixture[:n], Found(other.mixture[:n], one.missing[:n] | other.missing[:n]))
        )

    values = [[between(one, other) for other in members.values()] for one in members.values()]
    return Matrix(list(members), values, n)
