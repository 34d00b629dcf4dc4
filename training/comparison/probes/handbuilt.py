"""Positive control: the stream of the hand-built EM, whose layers are known to hold EM's iterates.

    after the E layer of step s (layer 2s - 1)   at the points    log-responsibilities of iterate s - 1
    after the M layer of step s (layer 2s)       at token k < K   the mean mu_k of iterate s

Its point tokens carry one mean each, that of slot i mod K; the first K of them are probed as component
tokens. Its own control: iterates of EM from another start on the same points, which never were in that
stream (the later ones agree where both starts end in the same optimum).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.em.tasks import gather_tasks
from constructions.em.weights import em_construction
from constructions.language.shown import short_repr
from training.comparison.common.regimes import named_start
from training.comparison.probes.targets import FLOOR, Path, component_means, em_path, log_responsibilities
from training.tasks import TaskDistribution, sample_tasks

DIM, COMPONENTS, STEPS, PIECES, RADIUS = 2, 3, 4, 64, 16.0


@dataclass(frozen=True, eq=False)
class HandBuilt:
    """The stream (2 L + 1, B, N, D) of L = STEPS hand-built EM steps and its path of T >= L iterates.

    other  EM from another start, in the order of `path`.
    """

    states: Tensor
    X: Tensor
    path: Path
    other: Path

    __repr__ = short_repr

    def point_targets(self, points: Tensor, path: Path) -> Tensor:
        """(B, P, T + 1, K) log-responsibilities of the points at these places."""
        return log_responsibilities(self.X[:, points], path.iterates)

    @staticmethod
    def token_targets(path: Path) -> Tensor:
        """(B, K, T + 1, d) means."""
        return component_means(path.iterates)


@torch.no_grad()
def hand_built(n_tasks: int, n_samples: int, iterations: int, generator: torch.Generator) -> HandBuilt:
    """Run it on tasks of d = DIM, K = COMPONENTS from random points as starts.

    Raises HypothesisError (a ValueError) where a point lies beyond RADIUS.
    """
    batch = sample_tasks(
        TaskDistribution(DIM), n_tasks, COMPONENTS, n_samples, generator, dtype=torch.float64
    )
    start, another = (named_start(batch.X, COMPONENTS, "random-points", generator) for _ in range(2))
    construction = em_construction(DIM, COMPONENTS, STEPS, PIECES, floor=math.exp(-FLOOR), radius=RADIUS)
    construction.check(batch.X, start.weights, start.means)
    tasks = gather_tasks(batch.X, start.weights, start.means, DIM, COMPONENTS, torch.float64, "cpu")
    transformer = construction.to_transformer()
    states = [construction.embed(tasks)]
    for _ in range(STEPS):
        states += transformer.block(states[-1])
    path = em_path(batch.X, start, iterations)
    other = em_path(batch.X, another, iterations).aligned(path.converged)
    return HandBuilt(torch.stack(states), batch.X, path, other)
