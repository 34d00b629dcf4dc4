"""How many EM steps is a layer worth? Estimates of successive layers (tuned lens), EM between them.

    D(l, t) = average over tasks of  (1/K) sum_k |mu_k - mu'_k|^2 / d + (pi_k - pi'_k)^2
              between the estimate after layer l + 1 and t EM steps from the estimate after layer l

The layer is worth the t of least D. Control: the same EM steps on the points of another task; what is
left of their effect has nothing to do with the task at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from baselines.em import em
from baselines.metrics import errors, mean_error, weight_error
from baselines.mixture import Mixture
from constructions.language.shown import short_repr
from training.comparison.probes.maps import rounded
from training.comparison.probes.trend import interval


def distances_to(estimates: Sequence[Mixture], others: Sequence[Mixture]) -> Tensor:
    """(len(estimates), len(others)) average errors, each after the best alignment."""
    return torch.stack([torch.stack([errors(e, o).total.mean() for o in others]) for e in estimates])


def step_distances(X: Tensor, estimates: Sequence[Mixture], steps: int) -> Tensor:
    """(B, layers, steps + 1): the terms of D for every task of X (B, N, d), components as they stand."""
    found = []
    for now, after in pairwise(estimates):
        row = []
        for t in range(steps + 1):
            if t:
                now = em(X, init=now, max_iter=1, tol=0.0).mixture
            row.append(mean_error(now, after) + weight_error(now, after))
        found.append(torch.stack(row, -1))
    return torch.stack(found, 1)


@dataclass(frozen=True)
class StepTest:
    """D, and the number of steps of least D with its 95 % interval, a row a layer; those of the control."""

    distance: list[list[float]]
    control: list[list[float]]
    nearest: list[int]
    nearest_low: list[float]
    nearest_high: list[float]
    control_nearest: list[int]

    __repr__ = short_repr


def step_test(
    X: Tensor, estimates: Sequence[Mixture], steps: int, draws: int, generator: torch.Generator
) -> StepTest:
    """Of X (B, N, d) and the estimates layer by layer, up to so many steps."""
    own = step_distances(X, estimates, steps)
    foreign = step_distances(X.roll(1, 0), estimates, steps)
    drawn = torch.randint(len(X), (draws, len(X)), generator=generator)
    nearest = torch.stack([own[tasks].mean(0).argmin(-1) for tasks in drawn]).double()
    low, high = interval(nearest)
    average = own.mean(0)
    return StepTest(
        distance=rounded(average),
        control=rounded(foreign.mean(0)),
        nearest=average.argmin(-1).tolist(),
        nearest_low=low.tolist(),
        nearest_high=high.tolist(),
        control_nearest=foreign.mean(0).argmin(-1).tolist(),
    )
