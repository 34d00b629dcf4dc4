"""In which direction a network's answers deviate from converged EM, where distances cannot decide."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from baselines.align import align
from baselines.mixture import Mixture
from training.comparison.regimes import BAD, SHUFFLED, Found, RegimeTasks
from training.comparison.task_statistics import Interval, around, mean_interval, resampled

STEPS = 12
"""EM iterates that are looked at."""
EARLY = 3
"""EM steps after which "EM stopped early" stands in the directions: as many as six layers hold."""
SHRINKAGE = 0.02
"""The least that a prior about 0 does; the coefficient of this direction counts in its size."""
LEAST = 0.01
"""A direction counts where the reference is at least so many floors away from EM."""
TARGETS = ("truth", "k-means", "map-em", "posterior-mean")


def directions(
    tasks: RegimeTasks, references: dict[str, Found], generator: torch.Generator
) -> dict[str, Any]:
    """Does the network deviate from converged EM towards a reference?

    u = estimate - EM and v = reference - EM, both aligned to EM, scaled so that |u|^2 is the metric. Of the
    tasks that the network does not fail, with a reference apart from EM and not in another basin (|v|^2 from
    LEAST to BAD floors): the average cosine of u and v, and the coefficient sum <u, v> / sum |v|^2, which is
    1 if u = v + noise. Controls: the untrained network's u, and v of the next task.
    """
    em = tasks.best_em
    early = tasks.iterates("k-means++", STEPS)[EARLY]
    targets = {name: references[name] for name in TARGETS if name in references}
    none = torch.zeros(tasks.n_tasks, dtype=torch.bool)
    targets[f"early {EARLY}"] = Found(early, none)
    targets["shrunk"] = Found(shrunk(em, tasks.batch.X), none)
    solved = ~tasks.failed(tasks.network("learned"))
    result = {}
    for name, target in targets.items():
        n = len(target.missing)
        v = displacement(target.mixture, em[:n])
        size = v.square().sum(-1)
        within = (size >= LEAST * tasks.floor[:n]) & (size <= BAD * tasks.floor[:n])
        used = solved[:n] & ~target.missing & within
        if int(used.sum()) < 2:
            continue
        v = v[used]
        own = displacement(tasks.network("learned")[:n], em[:n])[used]
        other = displacement(tasks.network("untrained")[:n], em[:n])[used]
        result[name] = {
            "n": int(used.sum()),
            "dimensions": tasks.regime.n_components * (tasks.regime.n_features + 1) - 1,
            "learned": alignment(own, v, generator),
            "untrained": alignment(other, v, generator),
            SHUFFLED: alignment(own, v.roll(-1, 0), generator),
        }
    return result


def shrunk(mixture: Mixture, X: Tensor) -> Mixture:
    """Every mean by a share SHRINKAGE of its way nearer to the average of the points, weights as they are."""
    centre = X.mean(-2, keepdim=True)
    return Mixture(mixture.weights, mixture.means + SHRINKAGE * (centre - mixture.means))


def displacement(mixture: Mixture, origin: Mixture) -> Tensor:
    """(n, K d + K): mixture - origin after alignment, |.|^2 the paper's metric."""
    aligned, _ = align(mixture, origin)
    K, d = origin.means.shape[-2:]
    means = (aligned.means - origin.means).flatten(-2) / math.sqrt(K * d)
    return torch.cat([means, (aligned.weights - origin.weights) / math.sqrt(K)], dim=-1)


def alignment(u: Tensor, v: Tensor, generator: torch.Generator) -> dict[str, Interval]:
    """Average cosine and pooled coefficient of u (n, D) on v (n, D); a task with u = 0 has cosine 0."""
    product, uu, vv = (u * v).sum(-1), u.square().sum(-1), v.square().sum(-1)
    cosine = torch.where(uu > 0, product / (uu * vv).sqrt(), 0.0)
    drawn = resampled(len(u), generator)
    pooled = product[drawn].sum(1) / vv[drawn].sum(1)
    return {
        "cosine": mean_interval(cosine, generator),
        "coefficient": around(float(product.sum() / vv.sum()), pooled),
    }
