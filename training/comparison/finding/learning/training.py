"""Train the networks of a cell, all seeds together; a pure function of the cell, the seeds and the steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.language.shown import short_repr
from training.comparison.common.random_paths import OriginPurpose
from training.comparison.finding.learning.batches import batches, paths
from training.comparison.finding.learning.cells import Cell
from training.comparison.finding.learning.optimisers import clip_each, optimisers_of, rate_at
from training.comparison.finding.learning.stacked import StackedNetworks
from training.comparison.finding.learning.starts import first_networks, trained_names
from training.comparison.finding.learning.supervision import Losses
from training.comparison.finding.learning.trace import EMPath, scales, states

SCALE_TASKS = 256
"""Behind the variances of the blocks."""


@dataclass(frozen=True, eq=False)
class Trained:
    """The networks of a cell after training.

    watched  after so many steps, the held-out output loss of every seed.
    """

    networks: StackedNetworks
    watched: list[tuple[int, list[float]]]

    __repr__ = short_repr


def losses_of(cell: Cell) -> Losses:
    """The losses of the cell's problem; the variances are those of fixed tasks of 32 points."""
    problem = cell.problem
    sample = paths(problem, SCALE_TASKS, OriginPurpose.FINDING_SCALES, 0)
    stream = problem.construction.stream
    return Losses(problem, scales(stream, states(stream, sample, problem.floor)))


def train_cell(cell: Cell, seeds: Sequence[int], steps: int, held_out: EMPath, watches: int = 30) -> Trained:
    """Networks of all seeds after `steps` times cell.longer steps; one whose loss is not finite ends as NaN.

    Args:
        held_out: (B,) tasks that the output loss is taken on, about `watches` times.
    """
    steps = steps * cell.longer
    losses, networks = losses_of(cell), first_networks(cell, seeds)
    weights = [networks.weights[name].requires_grad_(True) for name in trained_names(cell, networks)]
    optimisers = optimisers_of(cell, weights)
    watched: list[tuple[int, list[float]]] = []
    every = max(1, steps // watches)
    tasks = batches(cell, seeds)
    for step in range(steps):
        if step % every == 0:
            watched.append((step, output_losses(losses, networks, held_out)))
        for weight in weights:
            weight.grad = None
        kind, loops = cell.supervision_at(step, steps), cell.loops_at(step, steps)
        loss = losses.named(kind, cell.sub_layers, networks, next(tasks), loops).sum()
        (loss + cell.sparsity * _sizes(weights) if cell.sparsity else loss).backward()
        clip_each(weights)
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate_at(cell, step, steps)
            optimiser.step()
    watched.append((steps, output_losses(losses, networks, held_out)))
    return Trained(networks, watched)


def output_losses(losses: Losses, networks: StackedNetworks, tasks: EMPath) -> list[float]:
    """Of every seed, after all loops, on the same tasks (B,)."""
    count = len(next(iter(networks.weights.values())))
    with torch.no_grad():
        repeated = EMPath.stacked([tasks] * count)
        return losses.output(networks, repeated, networks.shape.loops).tolist()


def _sizes(weights: Sequence[Tensor]) -> Tensor:
    """The sum of absolute values of all matrices."""
    return sum((w.abs().sum() for w in weights if w.ndim > 2), start=torch.zeros(()))
