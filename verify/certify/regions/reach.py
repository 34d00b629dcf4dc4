"""How far the certificates reach: boxes of growing radius around random tasks, and the bound on each."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch

from constructions.em.path_bounds import path_bound
from constructions.em.unit import EMConstruction
from constructions.em.weights import em_construction
from verify.certify.regions.box import Box
from verify.certify.regions.intervals import Array
from verify.certify.regions.region import certify_region

SPREAD, LARGEST = 2.0, 11.0
"""Of the centres of random tasks, in standard deviations; coordinates of points: boxes stay within 12."""


@dataclass(frozen=True, eq=False)
class Task:
    """Points (N, d), weights (K,) and means (K, d) to start from."""

    points: Array
    weights: Array
    means: Array

    @classmethod
    def drawn(cls, rng: np.random.Generator, samples: int, dim: int, components: int) -> Task:
        """Clusters of standard deviation 1 about random centres; a start at points, weights from 0.05 up."""
        centres = SPREAD * rng.standard_normal((components, dim))
        points = centres[np.arange(samples) % components] + rng.standard_normal((samples, dim))
        points = points.clip(-LARGEST, LARGEST)
        weights = 0.05 + rng.random(components)
        return cls(points, weights / weights.sum(), points[rng.permutation(samples)[:components]])

    def box(self, radius: float) -> Box:
        """All points within ``radius``, coordinate by coordinate; the start as it is."""
        return Box.around(self.points, self.weights, self.means, radius)


@dataclass(frozen=True)
class Reached:
    """The certificates of one radius for all tasks of one size.

    Attributes:
        dim, components, radius: d, K and the radius of the box.
        tasks, certified: how many tasks; of how many B was certified to be at most ``factor`` point bounds.
        median, largest: of the bounds B on all tasks, those over the target too; None where one is not known.
        over_point: the largest B over the point bound, that of Theorem 1 at the centre in exact arithmetic
            (constructions.em.path_bounds); None where B is not known.
        over_error: the same over the certificate of radius 0, which is the error itself but for rounding.
        seconds: of a task, on average.
    """

    dim: int
    components: int
    radius: float
    tasks: int
    certified: int
    median: float | None
    largest: float | None
    over_point: float | None
    over_error: float | None
    seconds: float

    @property
    def verdict(self) -> str:
        """certified, unknown, or of how many tasks which."""
        if self.certified in (0, self.tasks):
            return "certified" if self.certified else "unknown"
        return f"{self.certified} certified, {self.tasks - self.certified} unknown"


@dataclass(frozen=True)
class Asked:
    """What :func:`reach` measures.

    Attributes:
        dims, components, radii: every combination. samples, steps, pieces: N, L and pieces a function.
        tasks: of each size; the same for every radius. factor: the target, in point bounds.
        budget: boxes to evaluate for a task. seed: of the tasks.
    """

    dims: Sequence[int]
    components: Sequence[int]
    radii: Sequence[float]
    samples: int
    steps: int
    pieces: int
    tasks: int
    factor: float
    budget: int
    seed: int


def point_bound(em: EMConstruction, task: Task, steps: int) -> float:
    """The largest bound of Theorem 1 on a mean or weight after L steps at the task, without rounding."""
    X, weights, means = (torch.as_tensor(v) for v in (task.points, task.weights, task.means))
    run = em.run(X, weights, means, evaluation="structured")
    N, d = X.shape
    masks = torch.ones(1, N, dtype=torch.bool), torch.ones(1, len(weights), dtype=torch.bool)
    path = run.path_weights[None, : steps + 1], run.path_means[None, : steps + 1]
    found = path_bound(em, X[None], masks[0], *path, masks[1], torch.tensor([d]))
    return float(torch.maximum(found.mean_approximation, found.weight_approximation)[0, -1].max())


def reach(asked: Asked, started: Callable[[str], None] = lambda _: None) -> list[Reached]:
    """A row for every d, K and radius; ``started`` is told which size begins."""
    rows = []
    for dim, count in product(asked.dims, asked.components):
        started(f"d = {dim}, K = {count}")
        rng = np.random.default_rng([asked.seed, dim, count])
        em = em_construction(dim, count, asked.steps, asked.pieces)
        tasks = [Task.drawn(rng, asked.samples, dim, count) for _ in range(asked.tasks)]
        points = [point_bound(em, task, asked.steps) for task in tasks]
        errors = [certify_region(em, task.box(0.0), asked.steps).bound for task in tasks]
        rows += [_row(em, tasks, points, errors, radius, asked) for radius in asked.radii]
    return rows


def _row(
    em: EMConstruction,
    tasks: Sequence[Task],
    points: Sequence[float],
    errors: Sequence[float],
    radius: float,
    asked: Asked,
) -> Reached:
    began = time.perf_counter()
    found = [
        certify_region(em, task.box(radius), asked.steps, asked.factor * point, asked.budget)
        for task, point in zip(tasks, points, strict=True)
    ]
    seconds = (time.perf_counter() - began) / len(tasks)
    bounds = [one.bound for one in found]
    known = max(bounds) < math.inf
    return Reached(
        len(tasks[0].points[0]),
        len(tasks[0].weights),
        radius,
        len(tasks),
        sum(one.verdict == "certified" for one in found),
        statistics.median(bounds) if known else None,
        max(bounds) if known else None,
        max(a / b for a, b in zip(bounds, points, strict=True)) if known else None,
        max(a / b for a, b in zip(bounds, errors, strict=True)) if known else None,
        seconds,
    )
