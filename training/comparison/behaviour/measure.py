"""Which algorithm a network's answers are nearest to, task by task, regime by regime.

Distance is the paper's metric e(a, b) after exact alignment (baselines.metrics): of the learned network, of
an untrained one, and of the learned network's answer to another task, to every reference on the same tasks.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from baselines.methods import METHODS
from training.comparison.behaviour.directions import directions
from training.comparison.behaviour.estimators import STEPS
from training.comparison.behaviour.report import render
from training.comparison.common.parts import Part, Start, Subject
from training.comparison.common.regimes import (
    N_SAMPLES,
    NETWORKS,
    RANDOM_STARTS,
    SHUFFLED,
    STARTS,
    Found,
    Regime,
    RegimeTasks,
    all_regimes,
    distance,
    refusal,
    regime_tasks,
    tasks_of,
)
from training.comparison.common.task_statistics import (
    mean_interval,
    median_interval,
    share_interval,
)

KINDS = (*NETWORKS, SHUFFLED)
POSTERIOR = "posterior-mean"
SLOW_TASKS = {POSTERIOR: 24}
"""Methods that are measured on the first tasks only, of the paper's regimes of at most N_SAMPLES points."""
TIE = 1e-12
"""Two distances this near are equal: the metric of equal estimates rounds to about 1e-30."""
ALIKE = 0.01
"""Distances that differ by less than this share of the smaller are the same for the question asked here."""


def compute(subject: Subject, start: Start) -> dict[str, Any]:
    """Every regime as JSON values; behaviour_section says what is made of them."""
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
    return {
        "name": subject.released.name,
        "d": subject.model.config.n_features,
        "seed": subject.effort.seed,
        "steps": STEPS,
        "absent": absent,
        "scales": subject.model.config.scales,
        "regimes": values,
    }


def measure(tasks: RegimeTasks, quick: bool) -> dict[str, Any]:
    """One regime: distances, who is nearest, the algorithms among themselves, directions of the deviation."""
    regime = tasks.regime
    references, slow = references_of(tasks, quick)
    curves = {
        kind: {
            name: torch.stack(
                [distance(tasks.network(kind), Found(m, missing)) for m in tasks.iterates(name, STEPS)]
            )
            for name in STARTS
            if (missing := _missing(tasks, name)) is not None
        }
        for kind in KINDS
    }
    generator = tasks.generator(7)
    kinds, chosen = {}, {}
    for kind in KINDS:
        found = {name: distance(tasks.network(kind), ref) for name, ref in references.items()}
        steps = {}
        for name, curve in curves[kind].items():
            found[f"early {name}"], steps[name] = halves_chosen(curve, 0 if name in RANDOM_STARTS else 1)
        chosen[kind] = steps
        kinds[kind] = {
            "distances": {
                name: {
                    "mean": mean_interval(values, generator),
                    "median": median_interval(values),
                    "n": int((~values.isnan()).sum()),
                }
                for name, values in found.items()
            },
            **ranking({name: found[name] for name in contest(found, slow)}, generator),
            "with_slow": slow_ranking(found, slow, generator),
        }
    return {
        "title": regime.title,
        "K": regime.n_components,
        "N": regime.n_samples,
        "separation": regime.separation,
        "beyond": regime.n_components > regime.n_features,
        "spectral_refusal": regime.spectral_refusal,
        "tasks": tasks.n_tasks,
        "slow": {name: len(references[name].missing) for name in slow},
        "floor": mean_interval(tasks.floor, generator),
        "kinds": kinds,
        "steps": chosen,
        "curves": {kind: _curves(curves[kind], generator) for kind in KINDS},
        "matrix": _matrix(tasks, references, chosen["learned"]),
        "directions": directions(tasks, references, generator),
    }


def references_of(tasks: RegimeTasks, quick: bool) -> tuple[dict[str, Found], list[str]]:
    """Every reference but the EM iterates, by its key, and the keys of those on fewer tasks."""
    found = {
        "truth": Found(tasks.truth, torch.zeros(tasks.n_tasks, dtype=torch.bool)),
        "em": Found(tasks.best_em, torch.zeros(tasks.n_tasks, dtype=torch.bool)),
        "k-means": tasks.method("k-means"),
        "map-em": Found(tasks.mode, torch.zeros(tasks.n_tasks, dtype=torch.bool)),
    }
    for name in STARTS:
        if name != "spectral" or not tasks.regime.spectral_refusal:
            found[f"em {name}"] = tasks.converged(name)
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


def halves_chosen(curve: Tensor, first: int) -> tuple[Tensor, list[int]]:
    """Distances (T,) to EM after t steps, t >= first the nearest on average on the other half of the tasks.

    curve (steps + 1, T). Even tasks are given the t chosen on the odd ones and the other way round, so that
    choosing does not make the distance smaller than it is. Returns also [t of even tasks, t of odd ones].
    """
    even = torch.arange(curve.shape[1]) % 2 == 0
    values, steps = torch.empty_like(curve[0]), []
    for mine in (even, ~even):
        t = first + int(curve[first:, ~mine].nanmean(1).nan_to_num(nan=math.inf).argmin())
        values[mine] = curve[t, mine]
        steps.append(t)
    return values, steps


def ranking(found: dict[str, Tensor], generator: torch.Generator) -> dict[str, Any]:
    """The nearest on average and the second, what lies between them, and in how many tasks each is nearest.

    Differences from the first and their intervals are over the tasks that have both. `ties`: references whose
    difference has an interval that reaches below ALIKE times the first's distance. A task's win goes in equal
    parts to those within ALIKE of the smallest distance.
    """
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
    return {
        "order": order,
        "differences": gaps,
        "ties": [name for name in rest if not gaps[name]["mean"][1] > ALIKE * means[first]],
        "median_first": min(names, key=lambda name: medians[name]),
        "wins": {
            name: share_interval(round(float(share) * n), n)
            for name, share in zip(names, shares, strict=True)
        },
        "tasks": n,
    }


def paired(other: Tensor, first: Tensor, generator: torch.Generator) -> dict[str, Any]:
    """Of other - first over the tasks that have both: mean and median, the share of tasks above 0."""
    gap = (other - first)[~(other - first).isnan()]
    return {
        "mean": mean_interval(gap, generator),
        "median": median_interval(gap),
        "nearer": share_interval(int((gap > TIE).sum()), len(gap)),
    }


def slow_ranking(found: dict[str, Tensor], slow: list[str], generator: torch.Generator) -> dict[str, Any]:
    """`ranking` with the slow methods too, on the tasks that all of those have; empty without any."""
    if not slow:
        return {}
    n = min(len(found[name]) for name in slow)
    return ranking({name: found[name][:n] for name in (*contest(found, []), *slow)}, generator)


def _median(values: Tensor) -> float:
    """Of those that are not NaN."""
    known = values[~values.isnan()]
    return float(known.quantile(0.5)) if len(known) else math.nan


def _missing(tasks: RegimeTasks, name: str) -> Tensor | None:
    """Tasks without this start; None where the regime has none at all."""
    if name == "spectral" and tasks.regime.spectral_refusal:
        return None
    return tasks.start(name).missing


def _curves(curves: dict[str, Tensor], generator: torch.Generator) -> dict[str, Any]:
    """Mean (with interval) and median distance after t steps, start by start."""
    return {
        name: {
            "mean": [mean_interval(values, generator) for values in curve],
            "median": [_median(values) for values in curve],
        }
        for name, curve in curves.items()
    }


def _matrix(tasks: RegimeTasks, references: dict[str, Found], steps: dict[str, list[int]]) -> dict[str, Any]:
    """Median distance of the network and the algorithms to each other, on the first tasks that all have."""
    none = torch.zeros(tasks.n_tasks, dtype=torch.bool)
    members = {"network": Found(tasks.network("learned"), none)}
    for name in ("truth", "em truth", "em", "map-em", "k-means", "spectral", *SLOW_TASKS):
        if name in references:
            members[name] = references[name]
    for name in RANDOM_STARTS:
        members[f"early {name}"] = Found(tasks.iterates(name, STEPS)[steps[name][0]], none)

    n = min(len(member.missing) for member in members.values())

    def between(one: Found, other: Found) -> float:
        return _median(
            distance(one.mixture[:n], Found(other.mixture[:n], one.missing[:n] | other.missing[:n]))
        )

    values = [[between(one, other) for other in members.values()] for one in members.values()]
    return {"names": list(members), "values": values, "tasks": n}


PART = Part(
    key="behaviour",
    title="Which algorithm is the network nearest to?",
    compute=compute,
    render=render,
    pieces=lambda subject: len(all_regimes(subject)),
    pictures=("behaviour-steps", "behaviour-nearest", "behaviour-matrix", "behaviour-directions"),
    refusal=refusal,
)
