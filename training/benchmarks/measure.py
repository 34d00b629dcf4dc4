"""Figures of a solver on held-out sets: likelihood, grouping, number of components, processor time."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import adjusted_rand_score

from training.benchmarks.solvers import Solver
from training.tasks.priors import HeldOut


@dataclass(frozen=True)
class Row:
    """A solver on data sets; None where a figure needs sets with an estimate, or two of them.

    Attributes:
        n_sets: that it was given; n_failed of them have no estimate and are in no mean.
        log_likelihood: per point of the points fitted, mean over sets, with its standard error.
        above: the same less the truth's on the same points, set by set.
        ari: adjusted Rand index of the likeliest component with the one that a point came from, mean.
        found_components: share of sets with as many components as the truth, where the solver chooses; a
            failed one is wrong.
        cpu_milliseconds: of all threads, a set.
    """

    solver: str
    chooses: bool
    n_sets: int
    n_failed: int
    log_likelihood: float | None
    log_likelihood_se: float | None
    above: float | None
    above_se: float | None
    ari: float | None
    found_components: float | None
    cpu_milliseconds: float


def measure(solver: Solver, sets: Sequence[HeldOut], seed: int) -> Row:
    """Of all the sets."""
    began = time.process_time()
    found = solver.run(sets, seed)
    seconds = time.process_time() - began
    levels, above, groupings, right = [], [], [], []
    for one, mixture in zip(sets, found, strict=True):
        right.append(mixture is not None and mixture.n_components == one.truth.n_components)
        if mixture is None:
            continue
        level = float(mixture.log_likelihood_per_point(one.X))
        levels.append(level)
        above.append(level - float(one.truth.log_likelihood_per_point(one.X)))
        groupings.append(adjusted_rand_score(one.labels.numpy(), mixture.predict(one.X).numpy()))
    return Row(
        solver.name,
        solver.chooses,
        len(sets),
        len(sets) - len(levels),
        *_mean(levels),
        *_mean(above),
        _mean(groupings)[0],
        float(np.mean(right)) if solver.chooses else None,
        1000 * seconds / len(sets),
    )


def _mean(values: list[float]) -> tuple[float | None, float | None]:
    """With its standard error."""
    if len(values) < 2:
        return None, None
    return float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(len(values)))
