"""Tasks with covariances that are awkward for EM, by family: what the search and the theorems draw from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from baselines.task_families import rotated_covariances
from constructions.em.tasks import CovarianceType, Range
from verify.em.families import DTYPE, Size, box, normal

MOST_CONDITION = 20.0


@dataclass(frozen=True, eq=False)
class CovarianceTask:
    """B tasks of one size: X (B, N, d), weights (B, K), means (B, K, d), covariances as the kind has them."""

    family: str
    X: Tensor
    weights: Tensor
    means: Tensor
    covariances: Tensor

    def __len__(self) -> int:
        """B."""
        return len(self.X)


@dataclass(frozen=True)
class Space:
    """Where tasks lie: the radius of points and means, and the range of eigenvalues."""

    radius: float
    eigenvalues: Range


Drawn = tuple[Tensor, Tensor, Tensor, Tensor]
"""X, log of raw weights, means, and matrices (B, K, d, d)."""


def _matrices(g: Generator, count: int, size: Size, low: float, high: float) -> Tensor:
    """Symmetric, eigenvalues log-uniform on [low, high]."""
    shape = count, size.components, size.dim
    return rotated_covariances((low * (high / low) ** torch.rand(*shape, generator=g, dtype=DTYPE)).sqrt(), g)


def _points(g: Generator, means: Tensor, S: Tensor, samples: int) -> Tensor:
    """Points of the components in turn."""
    count, K, d = means.shape
    labels = torch.randint(K, (count, samples), generator=g)
    roots = torch.linalg.cholesky(S)
    at = torch.arange(count)[:, None]
    return means[at, labels] + (roots[at, labels] @ normal(g, count, samples, d)[..., None])[..., 0]


def _ordinary(g: Generator, space: Space, size: Size, count: int) -> Drawn:
    """Components that overlap, of condition up to 20."""
    root = math.sqrt(MOST_CONDITION)
    S = _matrices(g, count, size, 1 / root, root)
    means = 2 * normal(g, count, size.components, size.dim)
    X = _points(g, means, S, size.samples)
    return X, torch.zeros(count, size.components), means + 0.3 * normal(g, *means.shape), S


def _nearly_singular(g: Generator, space: Space, size: Size, count: int) -> Drawn:
    """One eigenvalue at the least of the range, the others up to a thousand times it."""
    low, high = space.eigenvalues
    shape = count, size.components, size.dim
    values = low * min(1000.0, high / low) ** torch.rand(*shape, generator=g, dtype=DTYPE)
    values[..., 0] = 1.0001 * low  # a conjugation may round an eigenvalue down
    S = rotated_covariances(values.clamp_min(1.0001 * low).sqrt(), g)
    means = normal(g, *shape)
    return _points(g, means, S, size.samples), torch.zeros(shape[:2]), means, S


def _one_point(g: Generator, space: Space, size: Size, count: int) -> Drawn:
    """The last component stands at one far point, which decides it, with responsibilities near the floor."""
    X, raw, means, S = _ordinary(g, space, size, count)
    X[:, 0] = space.radius * (1 - 0.3 * torch.rand(count, size.dim, generator=g, dtype=DTYPE))
    means[:, -1] = X[:, 0] - 3 * torch.rand(count, 1, generator=g, dtype=DTYPE)
    return X, raw, means, S


def _equal(g: Generator, space: Space, size: Size, count: int) -> Drawn:
    """All components alike, up to 1e-6 or nothing at all."""
    X, raw, means, S = _ordinary(g, space, size, count)
    apart = 10.0 ** (-6 * torch.rand(count, 1, 1, generator=g, dtype=DTYPE)) * (
        torch.rand(count, 1, 1, generator=g) < 0.7
    )
    return X, raw, means[:, :1] + apart * normal(g, *means.shape), S[:, :1].expand_as(S)


def _few_points(g: Generator, space: Space, size: Size, count: int) -> Drawn:
    """As many points as a full covariance needs, K d + 1."""
    fewest = Size(size.dim, size.components, size.components * size.dim + 1)
    return _ordinary(g, space, fewest, count)


def _duplicated(g: Generator, space: Space, size: Size, count: int) -> Drawn:
    X, raw, means, S = _ordinary(g, space, size, count)
    distinct = max(size.dim + 1, size.samples // 8)
    return X[:, torch.arange(size.samples) % distinct], raw, means, S


def _small_weights(g: Generator, space: Space, size: Size, count: int) -> Drawn:
    X, _, means, S = _ordinary(g, space, size, count)
    return X, -math.log(1000.0) * torch.rand(count, size.components, generator=g), means, S


def _far_apart(g: Generator, space: Space, size: Size, count: int) -> Drawn:
    """Each point belongs to one component; scales from a tenth to ten."""
    S = _matrices(g, count, size, 0.1, 10.0)
    means = box(g, (count, size.components, size.dim), space.radius - 1)
    return _points(g, means, S, size.samples), torch.zeros(count, size.components), means, S


def _on_the_edge(g: Generator, space: Space, size: Size, count: int) -> Drawn:
    """Points at the corners of the box, means anywhere in it."""
    X = space.radius * box(g, (count, size.samples, size.dim), 1.0).sign()
    means = box(g, (count, size.components, size.dim), space.radius)
    S = _matrices(g, count, size, 1.0, min(100.0, space.eigenvalues.high))
    return X, torch.zeros(count, size.components), means, S


Family = Callable[[Generator, Space, Size, int], Drawn]

FAMILIES: dict[str, Family] = {
    "ordinary": _ordinary,
    "nearly singular": _nearly_singular,
    "one point": _one_point,
    "equal components": _equal,
    "few points": _few_points,
    "duplicated points": _duplicated,
    "small weights": _small_weights,
    "far apart": _far_apart,
    "on the edge": _on_the_edge,
}


def drawn(
    g: Generator, space: Space, size: Size, family: str, count: int, kind: CovarianceType
) -> CovarianceTask:
    """Tasks of a family: weights above 0, covariances restricted to the kind."""
    X, raw, means, S = FAMILIES[family](g, space, size, count)
    weights = raw.double().softmax(-1)
    most = float(torch.nextafter(torch.tensor(space.radius).float(), torch.tensor(0.0)))
    X, means = X.clamp(-most, most), means.clamp(-most, most)
    return CovarianceTask(family, X, weights, means, restricted(S, kind))


def restricted(S: Tensor, kind: CovarianceType) -> Tensor:
    """(B, K, d, d) to the layout of the kind: averages over what it does not tell apart."""
    S = S.mean(1) if kind.startswith("tied") else S
    if kind in ("tied", "full"):
        return S
    diagonal = S.diagonal(dim1=-2, dim2=-1)
    return diagonal if kind == "diagonal" else diagonal.mean(-1)
