"""The tasks that the networks of a cell see, one batch a step: each seed has its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache

import torch

from training.comparison.common.random_paths import OriginPurpose, generator_of
from training.comparison.finding.learning.cells import Cell
from training.comparison.finding.learning.trace import EMPath, em_path
from training.comparison.origins.em_problem import EMProblem

TASKS_PER_STEP = 16
STEPS_AT_ONCE = 16
"""Steps whose tasks are made together, all of one number of points."""


def batches(cell: Cell, seeds: Sequence[int]) -> Iterator[EMPath]:
    """Paths of (S, 16) tasks without end; the tasks of a seed are a function of the cell and that seed."""
    return _fixed(cell, seeds) if cell.fixed_tasks else _fresh(cell, seeds)


def paths(problem: EMProblem, n_tasks: int, purpose: OriginPurpose, *path: int) -> EMPath:
    """So many tasks with their EM paths, a function of the path."""
    return em_path(problem, problem.examples(n_tasks, purpose, *path))


@cache
def sized(problem: EMProblem, n_samples: int) -> EMProblem:
    """The problem with tasks of another number of points; kept, and so are its construction and read-out."""
    return replace(problem, n_samples=n_samples)


def fixed_set(cell: Cell, seed: int, most: int | None = None) -> EMPath:
    """The tasks that a cell of a fixed set trains on, or the first; a smaller set begins a larger one."""
    count = cell.fixed_tasks if most is None else min(most, cell.fixed_tasks)
    found = [
        paths(cell.problem, _CHUNK, OriginPurpose.TRAINING, seed, chunk)
        for chunk in range(-(-count // _CHUNK))
    ]
    return EMPath.joined(found)[:count]


def _fresh(cell: Cell, seeds: Sequence[int]) -> Iterator[EMPath]:
    chunk = 0
    while True:
        places = generator_of(OriginPurpose.FINDING_SIZES, chunk)  # the same for all seeds: one tensor
        size = cell.sizes[int(torch.randint(len(cell.sizes), (), generator=places))]
        problem = sized(cell.problem, size)
        together = EMPath.stacked([paths(problem, _CHUNK, OriginPurpose.TRAINING, s, chunk) for s in seeds])
        for first in range(0, _CHUNK, TASKS_PER_STEP):
            yield together.tasks(slice(first, first + TASKS_PER_STEP))
        chunk += 1


def _fixed(cell: Cell, seeds: Sequence[int]) -> Iterator[EMPath]:
    sets = [fixed_set(cell, seed) for seed in seeds]
    draws = [generator_of(OriginPurpose.FINDING_DRAWS, seed) for seed in seeds]
    while True:
        yield EMPath.stacked(
            [
                whole[torch.randint(cell.fixed_tasks, (TASKS_PER_STEP,), generator=draw)]
                for whole, draw in zip(sets, draws, strict=True)
            ]
        )


_CHUNK = TASKS_PER_STEP * STEPS_AT_ONCE
