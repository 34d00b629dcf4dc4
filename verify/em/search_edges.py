"""A search for broken bounds at the edges of floating point: floors, separations and radii far from usual.

Floors from 1e-300 (float32: from its smallest normal number) to 0.9, separations up to 60, radii from 1e-150
to 1e30 (float32: to where its squares stay finite), few points to many. Responsibilities then lie around the
floor, around the smallest normal number, and far below both. It is a search: finding nothing proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from constructions.em.tasks import largest_radius
from constructions.em.weights import LARGEST_RADIUS, em_construction
from verify.em.search import DTYPE, TASKS_A_GROUP, Draw, Group, compare_groups, drawn_integer, uniform_box

LARGEST_SEPARATION = 60.0
MOST_PIECES = 300
SMALLEST_RADIUS = 1e-150
MOST_DIMS, MOST_COMPONENTS, MOST_SAMPLES = 3, 4, 64
GROUPS_A_CONSTRUCTION = 4


class Edges:
    """What one draw of tasks may use: its floor, its radius and the place of the second mean.

    Attributes:
        floor, radius: of the construction.
        tails: separations at which the responsibility of a far component is near 1, near the floor, near the
            smallest normal number of the dtype, and at the largest separation.
    """

    def __init__(self, floor: float, radius: float, dtype: torch.dtype) -> None:
        self.floor, self.radius = floor, radius
        depths = (2.0, -math.log(floor), -math.log(torch.finfo(dtype).tiny))
        self.tails = tuple(min(math.sqrt(2 * depth), LARGEST_SEPARATION) for depth in depths)
        self.tails += (LARGEST_SEPARATION,)


def _at_a_tail(g: torch.Generator, edges: Edges, group: Group, count: int) -> tuple[Tensor, Tensor]:
    """Points around one mean; the others stand where their responsibilities reach one of the tails."""
    direction = torch.randn(count, group.components, group.dim, generator=g, dtype=DTYPE)
    direction = direction / direction.norm(dim=-1, keepdim=True)
    tail = edges.tails[drawn_integer(g, 0, len(edges.tails) - 1)]
    away = tail * (1 + 0.02 * uniform_box(g, (count, group.components, 1), 1.0))
    away[:, 0] = 0
    width = 10.0 ** (-3 * torch.rand(count, 1, 1, generator=g, dtype=DTYPE))
    return width * uniform_box(g, (count, group.samples, group.dim), 1.0), away * direction


def _even_line(g: torch.Generator, edges: Edges, group: Group, count: int) -> tuple[Tensor, Tensor]:
    """Points evenly from -1 to 1, means from 0 to the largest separation, one coordinate."""
    X = torch.zeros(count, group.samples, group.dim, dtype=DTYPE)
    X[..., 0] = torch.linspace(-1, 1, group.samples, dtype=DTYPE)
    means = torch.zeros(count, group.components, group.dim, dtype=DTYPE)
    means[..., 0] = LARGEST_SEPARATION * torch.rand(count, group.components, generator=g, dtype=DTYPE)
    means[:, 0] = 0
    return X, means


def _clusters(g: torch.Generator, edges: Edges, group: Group, count: int) -> tuple[Tensor, Tensor]:
    """Points at every mean, means anywhere within the largest separation."""
    means = uniform_box(g, (count, group.components, group.dim), LARGEST_SEPARATION / 2)
    label = torch.randint(group.components, (count, group.samples), generator=g)
    noise = torch.randn(count, group.samples, group.dim, generator=g, dtype=DTYPE)
    return means.gather(1, label[..., None].expand_as(noise)) + noise, means


def _whole_radius(g: torch.Generator, edges: Edges, group: Group, count: int) -> tuple[Tensor, Tensor]:
    """Points and means over the whole box, whatever its size."""
    X = uniform_box(g, (count, group.samples, group.dim), edges.radius)
    return X, uniform_box(g, (count, group.components, group.dim), edges.radius)


def _corners(g: torch.Generator, edges: Edges, group: Group, count: int) -> tuple[Tensor, Tensor]:
    """Points and means at corners of the box; some points at 0."""
    X = edges.radius * uniform_box(g, (count, group.samples, group.dim), 1.0).sign()
    X[:, ::3] = 0
    return X, edges.radius * uniform_box(g, (count, group.components, group.dim), 1.0).sign()


def _few_places(g: torch.Generator, edges: Edges, group: Group, count: int) -> tuple[Tensor, Tensor]:
    """Points at the corners of a smaller box, many at one place: most of a mass stands where its mean is.

    Then the exact mean is a point up to a distance below rounding, which the mass still multiplies.
    """
    size = edges.radius * 10.0 ** (-torch.rand((), generator=g, dtype=DTYPE))
    X = size * uniform_box(g, (count, group.samples, group.dim), 1.0).sign()
    return X, size * uniform_box(g, (count, group.components, group.dim), 1.0)


FAMILIES: dict[str, Callable[[torch.Generator, Edges, Group, int], tuple[Tensor, Tensor]]] = {
    "means at a tail": _at_a_tail,
    "even line": _even_line,
    "clusters": _clusters,
    "whole radius": _whole_radius,
    "corners": _corners,
    "few places": _few_places,
}


def search_edges(instances: int, seed: int, dtype: torch.dtype = DTYPE) -> Iterator[Draw]:
    """At least ``instances`` one-step instances, two from every task; see :func:`verify.em.search.search`."""
    generator = torch.Generator().manual_seed(seed)
    done = 0
    while done < instances:
        for draw in _one_construction(generator, dtype):
            done += len(draw.comparison.mean_error)
            yield draw


def _one_construction(g: torch.Generator, dtype: torch.dtype) -> Iterator[Draw]:
    d0, K0 = drawn_integer(g, 1, MOST_DIMS), drawn_integer(g, 1, MOST_COMPONENTS)
    pieces = round(MOST_PIECES ** float(torch.rand((), generator=g, dtype=DTYPE)))
    edges = Edges(_floor(g, dtype), _radius(g, d0, dtype), dtype)
    refreshed = drawn_integer(g, 0, 1) == 1
    em = em_construction(d0, K0, 1, pieces, floor=edges.floor, radius=edges.radius)
    groups, tasks = [], []
    for _ in range(GROUPS_A_CONSTRUCTION):
        group = _group(g, d0, K0, edges.floor)
        X, means = FAMILIES[group.family](g, edges, group, TASKS_A_GROUP)
        # The largest number of the dtype that is not beyond the radius.
        inside = float(
            torch.nextafter(torch.tensor(edges.radius, dtype=DTYPE).to(dtype), torch.zeros((), dtype=dtype))
        )
        groups.append(group)
        tasks.append(
            (
                X.clamp(-inside, inside),
                _weights(g, edges.floor, group.components),
                means.clamp(-inside, inside),
            )
        )
    yield from compare_groups(em, groups, tasks, pieces, refreshed, dtype)


def _floor(g: torch.Generator, dtype: torch.dtype) -> float:
    """From the smallest allowed to 0.9; the ends, and every order of magnitude between as likely."""
    low = max(1e-300, 1.001 * torch.finfo(dtype).tiny)
    at = float(torch.rand((), generator=g, dtype=DTYPE)) * 1.2 - 0.1
    return low * (0.9 / low) ** min(max(at, 0.0), 1.0)


def _radius(g: torch.Generator, d0: int, dtype: torch.dtype) -> float:
    """Two thirds of them between 10 and 100, where separations matter; the others of any size."""
    high = min(LARGEST_RADIUS, largest_radius(d0, dtype))
    low, high = (10.0, 100.0) if drawn_integer(g, 0, 2) > 0 else (SMALLEST_RADIUS, high)
    return low * (high / low) ** float(torch.rand((), generator=g, dtype=DTYPE))


def _group(g: torch.Generator, d0: int, K0: int, floor: float) -> Group:
    # K weights above the floor exist only while K floor < 1; they are drawn up to 0.99 / K from it.
    most = max(1, min(K0, math.ceil(0.98 / floor) - 1))
    dim, components = drawn_integer(g, 1, d0), drawn_integer(g, 1, most)
    exponent = float(torch.rand((), generator=g, dtype=DTYPE))
    samples = round(components * (MOST_SAMPLES / components) ** exponent)
    names = ["means at a tail"] * len(FAMILIES) + list(FAMILIES)  # more than half of the groups at a tail
    return Group(dim, components, samples, names[drawn_integer(g, 0, len(names) - 1)])


def _weights(g: torch.Generator, floor: float, components: int) -> Tensor:
    """(TASKS_A_GROUP, K) above the floor: even, or some of them down to just above it."""
    free = 1 - 1.01 * components * floor
    depth = 40 * torch.rand(TASKS_A_GROUP, 1, generator=g, dtype=DTYPE)
    raw = (-depth * torch.rand(TASKS_A_GROUP, components, generator=g, dtype=DTYPE)).exp()
    return 1.01 * floor + free * raw / raw.sum(-1, keepdim=True)
