"""A search for one-step instances that break a bound of the EM construction.

Every draw mixes sizes in one padded batch, so that the same weights serve all of them, and takes its tasks
from families chosen to be awkward. It is a search: finding nothing proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from constructions.em.weights import EMConstruction, em_construction
from verify.em.compare import StepComparison, compare_step

RADIUS = 8.0
DTYPE = torch.float64
Task = tuple[Tensor, Tensor, Tensor]
"""X (B, N, d), weights (B, K), means (B, K, d) of the tasks of one group."""

# (d0, K0, pieces): the largest are few, since a dense layer holds (d0 + K0) * pieces * 3 hidden units.
SHAPES = (
    (1, 1, 8), (1, 3, 64), (1, 17, 16), (2, 5, 128), (2, 2, 4096), (3, 4, 512), (3, 8, 32), (4, 17, 128),
    (5, 3, 1024), (8, 5, 256), (8, 17, 64), (16, 8, 128), (16, 2, 512), (32, 5, 128), (64, 3, 64),
    (64, 17, 16),
)  # fmt: skip


@dataclass(frozen=True)
class Group:
    """Tasks of one size and family within a draw."""

    dim: int
    components: int
    samples: int
    family: str


def _separated(g: torch.Generator, group: Group, count: int) -> tuple[Tensor, Tensor]:
    means = uniform_box(g, (count, group.components, group.dim), RADIUS - 3)
    labels = torch.randint(group.components, (count, group.samples), generator=g)
    noise = torch.randn(count, group.samples, group.dim, generator=g, dtype=DTYPE)
    X = means.gather(1, labels[..., None].expand_as(noise)) + noise
    return X.clamp(-RADIUS, RADIUS), means


def _at_points(g: torch.Generator, group: Group, count: int) -> tuple[Tensor, Tensor]:
    X, _ = _separated(g, group, count)
    return X, X[:, : group.components].clone()


def _near_equal(g: torch.Generator, group: Group, count: int) -> tuple[Tensor, Tensor]:
    X, means = _separated(g, group, count)
    size = 10.0 ** (-6 * torch.rand(count, 1, 1, generator=g, dtype=DTYPE))
    return X, means[:, :1] + size * uniform_box(g, means.shape, 1.0)


def _duplicated(g: torch.Generator, group: Group, count: int) -> tuple[Tensor, Tensor]:
    X, means = _separated(g, group, count)
    distinct = max(1, group.samples // 8)
    return X[:, torch.arange(group.samples) % distinct], means


def _on_the_edge(g: torch.Generator, group: Group, count: int) -> tuple[Tensor, Tensor]:
    signs = torch.randint(2, (count, group.samples, group.dim), generator=g).to(DTYPE) * 2 - 1
    return RADIUS * signs, RADIUS * uniform_box(g, (count, group.components, group.dim), 1.0).sign()


def _one_blob(g: torch.Generator, group: Group, count: int) -> tuple[Tensor, Tensor]:
    X = torch.randn(count, group.samples, group.dim, generator=g, dtype=DTYPE).clamp(-RADIUS, RADIUS)
    return X, torch.randn(count, group.components, group.dim, generator=g, dtype=DTYPE).clamp(-RADIUS, RADIUS)


FAMILIES: dict[str, Callable[[torch.Generator, Group, int], tuple[Tensor, Tensor]]] = {
    "separated": _separated,
    "means at points": _at_points,
    "near-equal means": _near_equal,
    "duplicated points": _duplicated,
    "points on the edge": _on_the_edge,
    "one blob": _one_blob,
}


@dataclass(frozen=True, eq=False)
class Draw:
    """One group of a draw, compared."""

    group: Group
    pieces: int
    refreshed: bool
    comparison: StepComparison


def search(instances: int, seed: int, dtype: torch.dtype = DTYPE) -> Iterator[Draw]:
    """At least ``instances`` one-step instances, group by group, two from every task.

    The first step starts from the drawn state, in three quarters of the draws read in as an M layer would
    have left it, so that all three piecewise functions matter; the second from what the layers made of it.
    """
    generator = torch.Generator().manual_seed(seed)
    done = 0
    while done < instances:
        for d0, K0, pieces in SHAPES:
            em = _construction(d0, K0, pieces)
            refreshed = bool(torch.rand((), generator=generator) < 0.75)
            groups = [_random_group(generator, d0, K0) for _ in range(4)]
            yield from compare_groups(em, groups, _draw_tasks(generator, groups), pieces, refreshed, dtype)
            done += 4 * TASKS_A_GROUP * STEPS
            if done >= instances:
                return


TASKS_A_GROUP, STEPS, MOST_SAMPLES = 5, 2, 512


@lru_cache(maxsize=len(SHAPES))
def _construction(d0: int, K0: int, pieces: int) -> EMConstruction:
    return em_construction(d0, K0, 1, pieces, radius=RADIUS)


def _random_group(g: torch.Generator, d0: int, K0: int) -> Group:
    dim, components = drawn_integer(g, 1, d0), drawn_integer(g, 1, K0)
    # A quarter have as many points as components; the others more, small sizes as likely as large.
    exponent = torch.rand((), generator=g, dtype=DTYPE)
    samples = (
        components
        if drawn_integer(g, 0, 3) == 0
        else round(components * (MOST_SAMPLES / components) ** float(exponent))
    )
    return Group(dim, components, samples, list(FAMILIES)[drawn_integer(g, 0, len(FAMILIES) - 1)])


def _draw_tasks(g: torch.Generator, groups: list[Group]) -> list[Task]:
    tasks = []
    for group in groups:
        X, means = FAMILIES[group.family](g, group, TASKS_A_GROUP)
        # Weights from even to one in a thousand.
        raw = 10.0 ** (-3 * torch.rand(TASKS_A_GROUP, group.components, generator=g, dtype=DTYPE))
        tasks.append((X, raw / raw.sum(-1, keepdim=True), means))
    return tasks


def compare_groups(
    em: EMConstruction,
    groups: list[Group],
    tasks: list[Task],
    pieces: int,
    refreshed: bool,
    dtype: torch.dtype,
) -> Iterator[Draw]:
    """Run all tasks in one padded batch and compare each group, both steps.

    Args:
        em: the construction.
        groups, tasks: one entry a group: its sizes, and X (B, N, d), weights (B, K), means (B, K, d).
        pieces: as told to the construction, kept in the draws.
        refreshed: whether the start is read in as an M layer would have left it.
        dtype: in which the layers run; the tasks are rounded to it first.
    """
    rounded = [tuple(v.to(dtype).to(DTYPE) for v in task) for task in tasks]
    lists = [[task for group in part for task in group] for part in zip(*rounded, strict=True)]
    run = em.run(lists[0], lists[1], lists[2], dtype=dtype, refreshed=refreshed, steps=STEPS)
    begin = 0
    for group, (X, _, _) in zip(groups, rounded, strict=True):
        rows = slice(begin, begin := begin + len(X))
        weights = run.path_weights[rows, :, : group.components]
        means = run.path_means[rows, :, : group.components, : group.dim]
        for t in range(STEPS):
            before, after = ((weights[:, s], means[:, s]) for s in (t, t + 1))
            approximate = refreshed or t > 0
            yield Draw(group, pieces, approximate, compare_step(em, X, before, after, approximate, dtype))


def uniform_box(g: torch.Generator, shape: tuple[int, ...] | torch.Size, size: float) -> Tensor:
    """Numbers of ``shape``, uniform on [-size, size]."""
    return (2 * torch.rand(shape, generator=g, dtype=DTYPE) - 1) * size


def drawn_integer(g: torch.Generator, low: int, high: int) -> int:
    """A whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=g))
