"""In which direction a network's answers deviate from converged EM, where distances cannot decide."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from baselines.mixture import Mixture
from console.phrases import UNKNOWN, Interval
from training.comparison.behaviour.estimators import (
    EARLY_NAME,
    NOISE,
    PRIOR_FREE,
    Stand,
    displacement,
    early_em,
    everywhere,
    stands,
)
from training.comparison.common.regimes import BAD, SHUFFLED, Found, RegimeTasks, complete
from training.comparison.common.task_statistics import around, mean_interval, resampled

SHRINKAGE = 0.02
"""The least that a prior about 0 does; the coefficient of this direction counts in its size."""
LEAST = 0.01
"""A direction counts where the reference is at least so many floors away from EM."""
LEAST_TASKS = 5
"""A direction on fewer tasks is not shown; a control on fewer tasks is one that cannot be ruled out."""
TARGETS = ("truth", "k-means", "map-em", "posterior-mean")
PRIOR = ("map-em", "posterior-mean")
"""References that know the prior of the paper's tasks."""
CONTROLS = (SHUFFLED, "untrained", *PRIOR_FREE)


@dataclass(frozen=True)
class Alignment:
    """Average cosine and pooled coefficient of two displacements on n tasks."""

    n: int
    cosine: Interval
    coefficient: Interval


@dataclass(frozen=True)
class Direction:
    """Of the network and of controls towards a reference: tasks, and numbers that a displacement has."""

    n: int
    dimensions: int
    learned: Alignment
    controls: dict[str, Alignment]


def directions(
    tasks: RegimeTasks, references: dict[str, Found], generator: torch.Generator
) -> dict[str, Direction]:
    """Does the network deviate from converged EM towards a reference?

    u = estimate - EM and v = reference - EM, both aligned to EM, scaled so that |u|^2 is the metric. Of the
    tasks that the network does not fail, with a reference apart from EM and not in another basin (|v|^2 from
    LEAST to BAD floors): the average cosine of u and v, and the coefficient sum <u, v> / sum |v|^2.

    u and v share -EM, and whatever is nearer to the truth than EM is on its side: a positive cosine or a
    coefficient near 1 is no sign of a prior. Controls that keep this link are PRIOR_FREE estimators in the
    network's place (not where one of them is the reference); those that break it, the untrained network's u
    and v of the next task.
    """
    em = tasks.best_em
    targets = {name: references[name] for name in TARGETS if name in references}
    targets[EARLY_NAME] = complete(early_em(tasks))
    targets["shrunk"] = complete(shrunk(em, tasks.batch.X))
    learned = tasks.network("learned")
    own, untrained = displacement(learned, em), displacement(tasks.network("untrained"), em)
    controls = {"untrained": Stand(untrained, everywhere(tasks)), **stands(tasks)}
    solved = ~tasks.failed(learned)
    result = {}
    for name, target in targets.items():
        n = len(target.missing)
        v = displacement(target.mixture, em[:n])
        size = v.square().sum(-1)
        within = (size >= LEAST * tasks.floor[:n]) & (size <= BAD * tasks.floor[:n])
        used = solved[:n] & ~target.missing & within
        if int(used.sum()) < 2:
            continue
        found = {SHUFFLED: alignment(own[:n][used], v[used].roll(-1, 0), generator)}
        for key, stand in controls.items():
            if name not in (key, NOISE.get(key)):
                both = used & stand.usable[:n]
                found[key] = alignment(stand.displacement[:n][both], v[both], generator)
        K, d = tasks.regime.n_components, tasks.regime.n_features
        own_alignment = alignment(own[:n][used], v[used], generator)
        result[name] = Direction(int(used.sum()), K * (d + 1) - 1, own_alignment, found)
    return result


def shrunk(mixture: Mixture, X: Tensor) -> Mixture:
    """Every mean by a share SHRINKAGE of its way nearer to the average of the points, weights as they are."""
    centre = X.mean(-2, keepdim=True)
    return Mixture(mixture.weights, mixture.means + SHRINKAGE * (centre - mixture.means))


def alignment(u: Tensor, v: Tensor, generator: torch.Generator) -> Alignment:
    """Average cosine and pooled coefficient of u (n, D) on v (n, D); a task with u = 0 has cosine 0.

    NaN three times for each with n < LEAST_TASKS.
    """
    n = len(u)
    if n < LEAST_TASKS:
        return Alignment(n, UNKNOWN, UNKNOWN)
    product, uu, vv = (u * v).sum(-1), u.square().sum(-1), v.square().sum(-1)
    cosine = torch.where(uu > 0, product / (uu * vv).sqrt(), 0.0)
    drawn = resampled(n, generator)
    pooled = product[drawn].sum(1) / vv[drawn].sum(1)
    return Alignment(n, mean_interval(cosine, generator), around(float(product.sum() / vv.sum()), pooled))


def shown(found: dict[str, Direction]) -> dict[str, Direction]:
    """The directions that rest on LEAST_TASKS tasks or more."""
    return {name: one for name, one in found.items() if one.n >= LEAST_TASKS}


def leaning(found: Direction) -> str:
    """ "towards", "away" or "": on which side of 0 and of all controls the network's interval lies.

    A control without an interval is one that cannot be ruled out: "".
    """
    _, low, high = found.learned.cosine
    limits = [limit for control in found.controls.values() for limit in control.cosine[1:]]
    if any(math.isnan(value) for value in (low, high, *limits)):
        return ""
    if low > max(0.0, *limits):
        return "towards"
    return "away" if high < min(0.0, *limits) else ""


def highest(found: Direction, measure: Literal["cosine", "coefficient"]) -> tuple[str, float] | None:
    """The PRIOR_FREE control with the largest cosine or coefficient, and that; None without any."""
    controls = {name: found.controls[name] for name in PRIOR_FREE if name in found.controls}
    values = {
        name: (one.cosine if measure == "cosine" else one.coefficient).value for name, one in controls.items()
    }
    known = {name: value for name, value in values.items() if not math.isnan(value)}
    return max(known.items(), key=lambda item: item[1]) if known else None
