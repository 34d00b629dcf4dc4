"""Estimators that know no prior, put in a network's place: what a direction away from EM is compared with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.align import align
from baselines.mixture import Mixture
from constructions.language.shown import short_repr
from training.comparison.common.random_paths import RegimePurpose
from training.comparison.common.regimes import Found, RegimeTasks, complete

STEPS = 12
"""EM iterates that are looked at."""
EARLY = 3
"""EM steps after which "EM stopped early" stands in the directions: as many as six layers hold."""
EARLY_NAME = f"early {EARLY}"
NOISE = {"em noise": "em", "truth noise": "truth"}
"""Controls that are a reference plus noise, and the reference."""
PRIOR_FREE = ("k-means", EARLY_NAME, *NOISE)
"""Controls in the network's place; none has seen the prior (the last has seen the truth)."""


@dataclass(frozen=True, eq=False)
class Stand:
    """Displacements (T, K d + K) from EM of a control in the network's place, and the tasks (T,) it has."""

    displacement: Tensor
    usable: Tensor

    __repr__ = short_repr


def displacement(mixture: Mixture, origin: Mixture) -> Tensor:
    """(n, K d + K): mixture - origin after alignment, |.|^2 the paper's metric."""
    aligned, _ = align(mixture, origin)
    K, d = origin.means.shape[-2:]
    means = (aligned.means - origin.means).flatten(-2) / math.sqrt(K * d)
    return torch.cat([means, (aligned.weights - origin.weights) / math.sqrt(K)], dim=-1)


def early_em(tasks: RegimeTasks) -> Mixture:
    """EM stopped after EARLY steps from k-means++."""
    return tasks.iterates("k-means++", STEPS)[EARLY]


def everywhere(tasks: RegimeTasks) -> Tensor:
    """(T,) True: a control that every task has."""
    return torch.ones(tasks.n_tasks, dtype=torch.bool)


def stands(tasks: RegimeTasks) -> dict[str, Stand]:
    """Each of PRIOR_FREE, on the tasks of a regime; an estimator has no task that it fails itself.

    Noise has in each task the network's own root mean square distance from EM, for means and weights apart.
    """
    own = displacement(tasks.network("learned"), tasks.best_em)
    generator = tasks.generator(RegimePurpose.BEHAVIOUR_NOISE)
    found = {
        "k-means": _estimator(tasks, tasks.method("k-means")),
        EARLY_NAME: _estimator(tasks, complete(early_em(tasks))),
    }
    for name, base in NOISE.items():
        start = tasks.best_em if base == "em" else tasks.truth
        found[name] = Stand(noisy(start, tasks.best_em, own, generator), everywhere(tasks))
    return found


def _estimator(tasks: RegimeTasks, found: Found) -> Stand:
    usable = ~found.missing & ~tasks.failed(found.mixture)
    return Stand(displacement(found.mixture, tasks.best_em), usable)


def noisy(base: Mixture, origin: Mixture, own: Tensor, generator: torch.Generator) -> Tensor:
    """Displacement (T, K d + K) from `origin` of `base` plus iid normal noise.

    The noise of the means has variance |u_means|^2 a coordinate, u = own (T, K d + K) the network's
    displacement; that of the weights |u_weights|^2 each, less its average, so that they still sum to 1.
    The components are matched after the noise of the means.
    """
    K, d = origin.means.shape[-2:]
    means, weights = own.split([K * d, K], dim=-1)
    draws = torch.randn(base.means.shape, generator=generator, dtype=base.means.dtype)
    moved = base.means + means.norm(dim=-1)[:, None, None] * draws
    shift = torch.randn(base.weights.shape, generator=generator, dtype=base.means.dtype)
    shift = (shift - shift.mean(-1, keepdim=True)) * math.sqrt(K / (K - 1))
    result = displacement(Mixture(base.weights, moved), origin)
    result[:, K * d :] += weights.norm(dim=-1)[:, None] * shift / math.sqrt(K)
    return result
