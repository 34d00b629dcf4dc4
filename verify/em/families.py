"""Points and means that are awkward for EM, by family: what the searches and the theorem draw from.

Every family draws ``count`` tasks of one size within the box of a place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from verify.em.problems import Problem

DTYPE = torch.float64
LARGEST_SEPARATION = 60.0


@dataclass(frozen=True)
class Size:
    """Of a task: d, K, N."""

    dim: int
    components: int
    samples: int


class Place:
    """The box that tasks lie in, and how far apart their means are worth placing.

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

    def inside(self, values: Tensor, dtype: torch.dtype) -> Tensor:
        """The values held within the largest number of ``dtype`` that is not beyond the radius."""
        edge = torch.tensor(self.radius, dtype=DTYPE).to(dtype)
        most = float(torch.nextafter(edge, torch.zeros_like(edge)))
        return values.clamp(-most, most)


Drawn = tuple[Tensor, Tensor]
"""X (count, N, d) and means (count, K, d)."""


def box(g: Generator, shape: tuple[int, ...] | torch.Size, size: float) -> Tensor:
    """Numbers of ``shape``, uniform on [-size, size]."""
    return (2 * torch.rand(shape, generator=g, dtype=DTYPE) - 1) * size


def normal(g: Generator, *shape: int) -> Tensor:
    """Standard normal numbers of ``shape``."""
    return torch.randn(*shape, generator=g, dtype=DTYPE)


def whole(g: Generator, low: int, high: int) -> int:
    """A whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=g))


def _around(g: Generator, means: Tensor, samples: int) -> Tensor:
    """Points with standard normal noise at means of any number of components."""
    count, components, dim = means.shape
    labels = torch.randint(components, (count, samples), generator=g)
    noise = normal(g, count, samples, dim)
    return means.gather(1, labels[..., None].expand_as(noise)) + noise


def _separated(g: Generator, place: Place, size: Size, count: int) -> Drawn:
    means = box(g, (count, size.components, size.dim), place.radius - 3)
    return _around(g, means, size.samples).clamp(-place.radius, place.radius), means


def _at_points(g: Generator, place: Place, size: Size, count: int) -> Drawn:
    X, _ = _separated(g, place, size, count)
    return X, X[:, : size.components].clone()


def _near_equal(g: Generator, place: Place, size: Size, count: int) -> Drawn:
    X, means = _separated(g, place, size, count)
    apart = 10.0 ** (-6 * torch.rand(count, 1, 1, generator=g, dtype=DTYPE))
    return X, means[:, :1] + apart * box(g, means.shape, 1.0)


def _duplicated(g: Generator, place: Place, size: Size, count: int) -> Drawn:
    X, means = _separated(g, place, size, count)
    distinct = max(1, size.samples // 8)
    return X[:, torch.arange(size.samples) % distinct], means


def _on_the_edge(g: Generator, place: Place, size: Size, count: int) -> Drawn:
    signs = torch.randint(2, (count, size.samples, size.dim), generator=g).to(DTYPE) * 2 - 1
    return place.radius * signs, place.radius * box(g, (count, size.components, size.dim), 1.0).sign()


def _one_blob(g: Generator, place: Place, size: Size, count: int) -> Drawn:
    X = normal(g, count, size.samples, size.dim).clamp(-place.radius, place.radius)
    return X, normal(g, count, size.components, size.dim).clamp(-place.radius, place.radius)


def _at_a_tail(g: Generator, place: Place, size: Size, count: int) -> Drawn:
    """Points around one mean; the others stand where their responsibilities reach one of the tails."""
    direction = normal(g, count, size.components, size.dim)
    direction = direction / direction.norm(dim=-1, keepdim=True)
    tail = place.tails[whole(g, 0, len(place.tails) - 1)]
    away = tail * (1 + 0.02 * box(g, (count, size.components, 1), 1.0))
    away[:, 0] = 0
    width = 10.0 ** (-3 * torch.rand(count, 1, 1, generator=g, dtype=DTYPE))
    return width * box(g, (count, size.samples, size.dim), 1.0), away * direction


def _even_line(g: Generator, place: Place, size: Size, count: int) -> Drawn:
    """Points evenly from -1 to 1, means from 0 to the largest separation, one coordinate."""
    X = torch.zeros(count, size.samples, size.dim, dtype=DTYPE)
    X[..., 0] = torch.linspace(-1, 1, size.samples, dtype=DTYPE)
    means = torch.zeros(count, size.components, size.dim, dtype=DTYPE)
    means[..., 0] = LARGEST_SEPARATION * torch.rand(count, size.components, generator=g, dtype=DTYPE)
    means[:, 0] = 0
    return X, means


def _clusters(g: Generator, place: Place, size: Size, count: int) -> Drawn:
    """Points at every mean, means anywhere within the largest separation."""
    means = box(g, (count, size.components, size.dim), LARGEST_SEPARATION / 2)
    return _around(g, means, size.samples), means


def _whole_radius(g: Generator, place: Place, size: Size, count: int) -> Drawn:
    """Points and means over the whole box, whatever its size."""
    X = box(g, (count, size.samples, size.dim), place.radius)
    return X, box(g, (count, size.components, size.dim), place.radius)


def _corners(g: Generator, place: Place, size: Size, count: int) -> Drawn:
    """Points and means at corners of the box; some points at 0."""
    X = place.radius * box(g, (count, size.samples, size.dim), 1.0).sign()
    X[:, ::3] = 0
    return X, place.radius * box(g, (count, size.components, size.dim), 1.0).sign()


def _few_places(g: Generator, place: Place, size: Size, count: int) -> Drawn:
    """Points at the corners of a smaller box, many at one place: most of a mass stands where its mean is.

    Then the exact mean is a point up to a distance below rounding, which the mass still multiplies.
    """
    reach = place.radius * 10.0 ** (-torch.rand((), generator=g, dtype=DTYPE))
    X = reach * box(g, (count, size.samples, size.dim), 1.0).sign()
    return X, reach * box(g, (count, size.components, size.dim), 1.0)


Family = Callable[[Generator, Place, Size, int], Drawn]

WITHIN: dict[str, Family] = {
    "separated": _separated,
    "means at points": _at_points,
    "near-equal means": _near_equal,
    "duplicated points": _duplicated,
    "points on the edge": _on_the_edge,
    "one blob": _one_blob,
}
"""Of a radius of usual size."""

EDGES: dict[str, Family] = {
    "means at a tail": _at_a_tail,
    "even line": _even_line,
    "clusters": _clusters,
    "whole radius": _whole_radius,
    "corners": _corners,
    "few places": _few_places,
}
"""Of floors, separations and radii at the edges of floating point."""


def drawn(g: Generator, place: Place, size: Size, family: str, count: int, within: bool = False) -> Problem:
    """Tasks of a family, their weights down to one in a thousand; ``within``: the box as float32 has it."""
    X, means = (WITHIN | EDGES)[family](g, place, size, count)
    if within:
        X, means = place.inside(X, torch.float32), place.inside(means, torch.float32)
    raw = 10.0 ** (-3 * torch.rand(count, size.components, generator=g, dtype=DTYPE))
    return Problem(family, X, raw / raw.sum(-1, keepdim=True), means, "drawn")
