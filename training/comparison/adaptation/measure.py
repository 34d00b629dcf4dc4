"""How many EM layers a network is worth, and how many it needs behind it.

An EM step is two constructed layers (constructions.em.weights). The curves are made with exact EM steps of
baselines.em; `polish_check` measures how far the constructed layers are from these.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from baselines.metrics import errors
from baselines.mixture import Mixture
from training.comparison.adaptation.report import render
from training.comparison.common.parts import Part, Start, Subject
from training.comparison.common.regimes import (
    BAD,
    NETWORKS,
    RANDOM_STARTS,
    SHUFFLED,
    RegimeTasks,
    component_regimes,
    em_iterates,
    refusal,
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


def compute(subject: Subject, start: Start) -> dict[str, Any]:
    """Curves and worths of every K as JSON values; adaptation_section says what is made of them."""
    regimes = []
    for regime in component_regimes(subject):
        start(f"{regime.title}: EM behind the network")
        regimes.append(measure(regime_tasks(subject, regime, subject.effort.tasks)))
    start("constructed layers against exact steps")
    tasks = regime_tasks(subject, component_regimes(subject)[-1], subject.effort.tasks)
    number = QUICK_POLISH_TASKS if subject.effort.quick else POLISH_TASKS
    return {
        "name": subject.released.name,
        "d": subject.model.config.n_features,
        "layers": subject.model.config.layers,
        "seed": subject.effort.seed,
        "steps": STEPS,
        "bad": BAD,
        "near": NEAR,
        "regimes": regimes,
        "polish": polish_check(subject.model, tasks, number),
    }


def curves_of(tasks: RegimeTasks) -> dict[str, list[Mixture]]:
    """Every start and what 1, ..., STEPS exact EM steps make of it."""
    found = {name: em_iterates(tasks.batch.X, tasks.network(name), STEPS) for name in NETWORKS}
    found[SHUFFLED] = em_iterates(tasks.batch.X, tasks.network(SHUFFLED), STEPS)
    for name in RANDOM_STARTS:
        found[name] = tasks.iterates(name, STEPS)
    found["k-means"] = em_iterates(tasks.batch.X, tasks.method("k-means").mixture, STEPS)
    return found


def measure(tasks: RegimeTasks) -> dict[str, Any]:
    """One K: error and distance to converged EM after t steps from each start, and what follows."""
    paths = curves_of(tasks)
    error = {name: torch.stack([errors(m, tasks.truth).total for m in path]) for name, path in paths.items()}
    goal = tasks.converged("truth").mixture
    gap = {name: torch.stack([errors(m, goal).total for m in path]) for name, path in paths.items()}
    generator = tasks.generator(11)
    solved = {name: ~(values[-1] > BAD * tasks.floor) for name, values in error.items()}
    own = error["learned"][0]
    floor = tasks.floor
    return {
        "title": tasks.regime.title,
        "K": tasks.regime.n_components,
        "tasks": tasks.n_tasks,
        "floor": mean_interval(floor, generator),
        "floor_median": float(floor.quantile(0.5)),
        "curves": {
            name: {
                "mean": [mean_interval(row, generator) for row in values],
                "median": [float(row.quantile(0.5)) for row in values],
                "solved": [mean_interval(row[solved[name]], generator) for row in values],
                "distance": [mean_interval(row, generator) for row in gap[name]],
                "failed": float((~solved[name]).double().mean()),
            }
            for name, values in error.items()
        },
        "worth": {
            kind: {name: worth(error[name], error[kind][0], solved[name], generator) for name in WORTH_STARTS}
            for kind in (*NETWORKS, SHUFFLED)
        },
        "needed": {name: needed(values, floor, solved[name], generator) for name, values in error.items()},
        "own_solved": float((~(own > BAD * floor)).double().mean()),
    }


def worth(curve: Tensor, own: Tensor, solved: Tensor, generator: torch.Generator) -> dict[str, Any]:
    """Smallest t at which EM from a start is no worse than the network alone; curve (steps + 1, T), own (T,).

    mean, median   by the mean and the median error over all tasks: [t, low, high], tasks drawn again.
    solved         by the mean over the tasks that the start ends up solving (`solved` (T,)), both sides.
    task           task by task: median t with its quartiles, and the share of tasks where it never is.
    NEVER (None in JSON) where no t <= steps does.
    """
    n = curve.shape[1]
    drawn = resampled(n, generator, 500)
    each = first_step(curve <= own)
    used = solved.nonzero().squeeze(-1)
    return {
        "mean": [
            _scalar(first_step((curve.mean(1) <= own.mean())[:, None])),
            *_limits(first_step(_drawn_means(curve, drawn) <= _drawn_means(own[None], drawn))),
        ],
        "median": [
            _scalar(first_step((curve.quantile(0.5, dim=1) <= own.quantile(0.5))[:, None])),
            *_limits(first_step(_drawn_medians(curve, drawn) <= _drawn_medians(own[None], drawn))),
        ],
        "solved": _restricted(curve[:, used], own[used], generator),
        "task": {
            "quartiles": [_quantile(each, q) for q in (0.25, 0.5, 0.75)],
            "never": float(each.isinf().double().mean()),
        },
    }


def _restricted(curve: Tensor, own: Tensor, generator: torch.Generator) -> list[float]:
    """[t, low, high, number of tasks] by the mean over these tasks; NaN for less than two."""
    n = curve.shape[1]
    if n < 2:
        return [math.nan, math.nan, math.nan, n]
    drawn = resampled(n, generator, 500)
    value = _scalar(first_step((curve.mean(1) <= own.mean())[:, None]))
    return [value, *_limits(first_step(_drawn_means(curve, drawn) <= _drawn_means(own[None], drawn))), n]


def needed(curve: Tensor, floor: Tensor, solved: Tensor, generator: torch.Generator) -> dict[str, Any]:
    """Smallest t at which the mean error is at most NEAR times the floor's, over all tasks and the solved."""
    goal = NEAR * floor
    drawn = resampled(curve.shape[1], generator, 500)
    used = solved.nonzero().squeeze(-1)
    return {
        "mean": [
            _scalar(first_step((curve.mean(1) <= goal.mean())[:, None])),
            *_limits(first_step(_drawn_means(curve, drawn) <= _drawn_means(goal[None], drawn))),
        ],
        "solved": _restricted(curve[:, used], goal[used], generator),
    }


def first_step(reached: Tensor) -> Tensor:
    """(steps + 1, B) booleans -> (B,) the first t that is True, NEVER where none is."""
    steps = torch.arange(len(reached), dtype=torch.float64)[:, None]
    return torch.where(reached, steps, NEVER).amin(0)


def polish_check(model: Any, tasks: RegimeTasks, n_tasks: int) -> dict[str, Any]:
    """Constructed EM layers behind the network against exact steps from its estimate, on n_tasks tasks.

    For each number of steps: the largest and the mean distance in the paper's metric. Control: the distance
    to no step at all, the network's own estimate. A network that cannot have EM layers: only the reason.
    """
    if not isinstance(model, TGMM):
        return {"refusal": f"a {type(model).__name__} has no constructed layers"}
    if model.config.scales:
        return {"refusal": "EM layers need unit covariances, this network estimates scales"}
    X, K = tasks.batch.X[:n_tasks], tasks.regime.n_components
    exact = em_iterates(X, model.estimate(X, K), max(POLISH_STEPS))
    rows = []
    for steps in POLISH_STEPS:
        found = model.with_polish(steps).estimate(X, K)
        gap, off = errors(found, exact[steps]).total, errors(found, exact[0]).total
        rows.append(
            {
                "steps": steps,
                "mean": float(gap.mean()),
                "most": float(gap.max()),
                "control": float(off.mean()),
            }
        )
    floor = float(tasks.floor[:n_tasks].mean())
    return {"refusal": "", "tasks": len(X), "title": tasks.regime.title, "floor": floor, "rows": rows}


def _drawn_means(values: Tensor, drawn: Tensor) -> Tensor:
    """(R, T), (B, T) indices -> (R, B) means of the drawn tasks."""
    counts = torch.zeros(len(drawn), values.shape[1], dtype=values.dtype)
    counts.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=values.dtype))
    return values @ counts.mT / values.shape[1]


def _drawn_medians(values: Tensor, drawn: Tensor) -> Tensor:
    """The same for medians; of an even number the lower of the middle two, as fast as it is fair here."""
    return torch.stack([row[drawn].median(1).values for row in values])


def _limits(drawn: Tensor) -> list[float]:
    """2.5 and 97.5 % quantiles, values that were drawn; NEVER is larger than any t."""
    return [_quantile(drawn, TAIL), _quantile(drawn, 1 - TAIL)]


def _quantile(values: Tensor, q: float) -> float:
    """One of the values: no average with NEVER."""
    ordered = values.sort().values
    return float(ordered[min(len(ordered) - 1, math.ceil(q * len(ordered)) - 1 if q > 0 else 0)])


def _scalar(values: Tensor) -> float:
    return float(values[0])


PART = Part(
    key="adaptation",
    title="How many EM layers is the network worth?",
    compute=compute,
    render=render,
    pieces=lambda subject: len(component_regimes(subject)) + 1,
    pictures=("adaptation-error", "adaptation-distance", "adaptation-worth"),
    refusal=refusal,
)
