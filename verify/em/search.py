"""Two searches for one-step instances that break a bound of the EM construction, means or weights.

Every draw mixes sizes in one padded batch, so that the same weights serve all of them, and takes its tasks
from families chosen to be awkward. :func:`search` has one floor and radius and constructions of many shapes.
:func:`search_edges` goes to the edges of floating point: floors from 1e-300 (float32: from its smallest
normal number) to 0.9, separations up to 60, radii from 1e-150 to 1e30 (float32: to where its squares stay
finite), few points to many; responsibilities then lie around the floor, around the smallest normal number,
and far below both. Finding nothing proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Generator, Tensor

from constructions.em.shared import LARGEST_RADIUS
from constructions.em.tasks import largest_radius
from constructions.em.unit import EMConstruction
from constructions.em.weights import em_construction
from constructions.language.structured.evaluation import Evaluation
from verify.em.compare import StepComparison, compare_step
from verify.em.families import DTYPE, EDGES, WITHIN, Place, Size, drawn, whole
from verify.em.problems import Problem
from verify.engine.theorem import rounded

TASKS, GROUPS, STEPS = 5, 4, 2
"""Tasks of one size and family, such groups in a batch, and steps of each task."""

RADIUS, FLOOR, MOST_SAMPLES = 8.0, 1e-8, 512
# (d0, K0, pieces): the largest are few, since a dense layer holds (d0 + K0) * pieces * 3 hidden units.
SHAPES = (
    (1, 1, 8), (1, 3, 64), (1, 17, 16), (2, 5, 128), (2, 2, 4096), (3, 4, 512), (3, 8, 32), (4, 17, 128),
    (5, 3, 1024), (8, 5, 256), (8, 17, 64), (16, 8, 128), (16, 2, 512), (32, 5, 128), (64, 3, 64),
    (64, 17, 16),
)  # fmt: skip

LARGE_SHAPES = ((64, 3, 4096), (64, 17, 4096), (16, 8, 4096), (128, 5, 1024), (32, 40, 2048))
"""Of which no dense weights are made."""

MOST_PIECES, SMALLEST_RADIUS = 300, 1e-150
MOST_DIMS, MOST_COMPONENTS, MOST_SAMPLES_AT_EDGES = 3, 4, 64


@dataclass(frozen=True, eq=False)
class Draw:
    """One group of a draw after one step, compared; ``refreshed``: it began as an M layer leaves a state."""

    problem: Problem
    pieces: int
    refreshed: bool
    comparison: StepComparison


def search(
    instances: int,
    seed: int,
    dtype: torch.dtype = DTYPE,
    shapes: tuple[tuple[int, int, int], ...] = SHAPES,
    evaluation: Evaluation = "dense",
) -> Iterator[Draw]:
    """At least ``instances`` one-step instances, group by group, two from every task.

    The first step starts from the drawn state, in three quarters of the draws read in as an M layer would
    have left it, so that all three piecewise functions matter; the second from what the layers made of it.
    """
    generator = torch.Generator().manual_seed(seed)
    done = 0
    while done < instances:
        for d0, K0, pieces in shapes:
            em = _construction(d0, K0, pieces)
            refreshed = bool(torch.rand((), generator=generator) < 0.75)
            sizes = [_random_size(generator, d0, K0) for _ in range(GROUPS)]
            place = Place(FLOOR, RADIUS, DTYPE)
            groups = [drawn(generator, place, size, family, TASKS) for size, family in sizes]
            yield from compare_groups(em, groups, pieces, refreshed, dtype, evaluation)
            done += GROUPS * TASKS * STEPS
            if done >= instances:
                return


@lru_cache(maxsize=len(SHAPES) + len(LARGE_SHAPES))
def _construction(d0: int, K0: int, pieces: int) -> EMConstruction:
    return em_construction(d0, K0, 1, pieces, FLOOR, RADIUS)


def _random_size(g: Generator, d0: int, K0: int) -> tuple[Size, str]:
    dim, components = whole(g, 1, d0), whole(g, 1, K0)
    # A quarter have as many points as components; the others more, small sizes as likely as large.
    exponent = float(torch.rand((), generator=g, dtype=DTYPE))
    few = whole(g, 0, 3) == 0
    samples = components if few else _between(components, MOST_SAMPLES, exponent)
    return Size(dim, components, samples), list(WITHIN)[whole(g, 0, len(WITHIN) - 1)]


def _between(low: int, high: int, exponent: float) -> int:
    return round(low * (high / low) ** exponent)


def compare_groups(
    em: EMConstruction,
    groups: list[Problem],
    pieces: int,
    refreshed: bool,
    dtype: torch.dtype,
    evaluation: Evaluation = "dense",
) -> Iterator[Draw]:
    """Run all tasks in one padded batch and compare each group, both steps.

    Args:
        em: the construction. groups: the tasks, which are rounded to ``dtype`` first.
        pieces: as told to the construction, kept in the draws.
        refreshed: whether the start is read in as an M layer would have left it.
        dtype: in which the layers run. evaluation: which way.
    """
    groups = [rounded(group, dtype) for group in groups]
    X, starts, means = (
        [task for g in groups for task in getattr(g, name)] for name in ("X", "weights", "means")
    )
    run = em.run(X, starts, means, dtype=dtype, refreshed=refreshed, steps=STEPS, evaluation=evaluation)
    begin = 0
    for group in groups:
        rows = slice(begin, begin := begin + len(group))
        d, K, _ = group.sizes
        weights, means = run.path_weights[rows, :, :K], run.path_means[rows, :, :K, :d]
        for t in range(STEPS):
            before, after = ((weights[:, s], means[:, s]) for s in (t, t + 1))
            approximate = refreshed or t > 0
            compared = compare_step(em, group.X, before, after, approximate, dtype)
            yield Draw(group, pieces, approximate, compared)


def search_edges(
    instances: int, seed: int, dtype: torch.dtype = DTYPE, evaluation: Evaluation = "dense"
) -> Iterator[Draw]:
    """The same at the edges of floating point, with a construction of its own for every draw."""
    generator = torch.Generator().manual_seed(seed)
    done = 0
    while done < instances:
        for draw in _one_construction(generator, dtype, evaluation):
            done += len(draw.comparison.mean_error)
            yield draw


def _one_construction(g: Generator, dtype: torch.dtype, evaluation: Evaluation) -> Iterator[Draw]:
    d0, K0 = whole(g, 1, MOST_DIMS), whole(g, 1, MOST_COMPONENTS)
    pieces = round(MOST_PIECES ** float(torch.rand((), generator=g, dtype=DTYPE)))
    place = Place(_floor(g, dtype), _radius(g, d0, dtype), dtype)
    refreshed = whole(g, 0, 1) == 1
    em = em_construction(d0, K0, 1, pieces, floor=place.floor, radius=place.radius)
    groups = []
    for _ in range(GROUPS):
        size, family = _size_at_edges(g, d0, K0, place.floor)
        X, means = (place.inside(v, dtype) for v in EDGES[family](g, place, size, TASKS))
        groups.append(Problem(family, X, _weights(g, place.floor, size.components), means, "drawn"))
    yield from compare_groups(em, groups, pieces, refreshed, dtype, evaluation)


def _floor(g: Generator, dtype: torch.dtype) -> float:
    """From the smallest allowed to 0.9; the ends, and every order of magnitude between as likely."""
    low = max(1e-300, 1.001 * torch.finfo(dtype).tiny)
    at = float(torch.rand((), generator=g, dtype=DTYPE)) * 1.2 - 0.1
    return low * (0.9 / low) ** min(max(at, 0.0), 1.0)


def _radius(g: Generator, d0: int, dtype: torch.dtype) -> float:
    """Two thirds of them between 10 and 100, where separations matter; the others of any size."""
    high = min(LARGEST_RADIUS, largest_radius(d0, dtype))
    low, high = (10.0, 100.0) if whole(g, 0, 2) > 0 else (SMALLEST_RADIUS, high)
    return low * (high / low) ** float(torch.rand((), generator=g, dtype=DTYPE))


def _size_at_edges(g: Generator, d0: int, K0: int, floor: float) -> tuple[Size, str]:
    # K weights above the floor exist only while K floor < 1; they are drawn up to 0.99 / K from it.
    most = max(1, min(K0, math.ceil(0.98 / floor) - 1))
    dim, components = whole(g, 1, d0), whole(g, 1, most)
    exponent = float(torch.rand((), generator=g, dtype=DTYPE))
    samples = _between(components, MOST_SAMPLES_AT_EDGES, exponent)
    names = ["means at a tail"] * len(EDGES) + list(EDGES)  # more than half of the groups at a tail
    return Size(dim, components, samples), names[whole(g, 0, len(names) - 1)]


def _weights(g: Generator, floor: float, components: int) -> Tensor:
    """(TASKS, K) above the floor: even, or some of them down to just above it."""
    free = 1 - 1.01 * components * floor
    depth = 40 * torch.rand(TASKS, 1, generator=g, dtype=DTYPE)
    raw = (-depth * torch.rand(TASKS, components, generator=g, dtype=DTYPE)).exp()
    return 1.01 * floor + free * raw / raw.sum(-1, keepdim=True)
