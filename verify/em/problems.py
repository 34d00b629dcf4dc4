"""The data that an EM check runs on, and where EM starts on it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines import task_families
from baselines.em_parameters import choose
from baselines.mixture import Mixture
from baselines.points import Points, prepare
from baselines.starts import start_covariances, start_means
from baselines.tasks import paper_tasks
from constructions.em.tasks import CovarianceType

DTYPE = torch.float64

CONDITION = 20.0
"""Largest ratio of two variances of a random task that is not of unit kind, within and between components."""


@dataclass(frozen=True, eq=False)
class Problem:
    """B tasks of one size with a start each.

    Attributes:
        name: for tables. X: (B, N, d). weights: (B, K). means: (B, K, d). start: how the start was chosen.
        covariance_type: the kind of covariances. covariances: (B, ...) of the start; None of unit ones.
    """

    name: str
    X: Tensor
    weights: Tensor
    means: Tensor
    start: str
    covariance_type: CovarianceType = "unit"
    covariances: Tensor | None = None

    def __len__(self) -> int:
        return len(self.X)

    @property
    def label(self) -> str:
        """Name and start, which together tell problems of one run apart."""
        return f"{self.name}, {self.start}"

    @property
    def sizes(self) -> tuple[int, int, int]:
        """d, K, N."""
        return self.X.shape[-1], self.weights.shape[-1], self.X.shape[-2]

    def smallest_radius(self) -> float:
        """Largest absolute coordinate of points and starting means, rounded up to two digits."""
        largest = max(float(self.X.abs().max()), float(self.means.abs().max()))
        scale = 10.0 ** (torch.tensor(max(largest, 1e-300), dtype=DTYPE).log10().floor().item() - 1)
        rounded = float(torch.tensor(largest / scale, dtype=DTYPE).ceil().clamp_min(1)) * scale
        return max(rounded, largest)


def random_problem(
    dim: int,
    components: int,
    samples: int,
    start: str,
    trials: int,
    generator: torch.Generator,
    kind: CovarianceType = "unit",
) -> Problem:
    """Tasks of the paper's distribution; on a line, where few cosines exist, the means are not restricted.

    Covariances of other kinds than unit: see :func:`random_covariances`.
    """
    unrestricted = 2.0
    cosine = unrestricted if dim == 1 else 0.8
    name = f"d={dim} K={components} N={samples}"
    if kind == "unit":
        tasks = paper_tasks(trials, dim, components, samples, generator, max_cosine=cosine)
        return started(name, tasks.X, components, start, generator)
    on = DTYPE, "cpu"
    weights = task_families.paper_weights(trials, components, generator, *on)
    means = task_families.means_in_box(
        trials, components, dim, generator, box=5.0, max_cosine=cosine, dtype=DTYPE, device="cpu"
    )
    truth = Mixture(weights, means, random_covariances(means, kind, generator), kind)
    X, _ = task_families.points(truth, samples, generator)
    return started(name, X, components, start, generator, kind)


def random_covariances(means: Tensor, kind: CovarianceType, generator: torch.Generator) -> Tensor:
    """Covariances for means (B, K, d): variances log-uniform in CONDITION^(-1/2) to CONDITION^(1/2).

    Of matrices those are the eigenvalues, in directions all of which are as likely.
    """
    B, K, d = means.shape
    shapes: dict[str, tuple[int, ...]] = {"tied_spherical": (B,), "spherical": (B, K), "tied": (B, 1, d)}
    uniform = torch.rand(shapes.get(kind, (B, K, d)), generator=generator, dtype=DTYPE)
    variances = CONDITION ** (uniform - 0.5)
    if kind not in ("tied", "full"):
        return variances
    S = task_families.rotated_covariances(variances.sqrt(), generator)
    return S[:, 0] if kind == "tied" else S


def started(
    name: str,
    X: Tensor,
    components: int,
    start: str,
    generator: torch.Generator,
    kind: CovarianceType = "unit",
) -> Problem:
    """``X`` (B, N, d) with equal weights, means by one of ``baselines.starts.STARTS``, pooled covariances."""
    points = prepare(X, None, None)
    means = start_means(points, components, start, generator)
    weights = X.new_full((len(X), components), 1 / components)
    covariances = pooled_covariances(points, means, kind)
    return Problem(name, X, weights, means + points.centre, start, kind, covariances)


def pooled_covariances(points: Points, means: Tensor, kind: CovarianceType) -> Tensor | None:
    """Of all points about the nearest of their means, one for all components; None of unit kind.

    Where that is singular, as with as many means as points, of all points about their average.
    """
    pooled = start_covariances(points, means, kind)
    if pooled is None:
        return None
    around_all = start_covariances(points, torch.zeros_like(means), kind)
    if around_all is None:
        return pooled
    given_up = (pooled == _identity(pooled, kind)).reshape(len(pooled), -1).all(-1)
    return choose(given_up, around_all, pooled)


def _identity(like: Tensor, kind: CovarianceType) -> Tensor:
    """What ``baselines.starts`` gives in place of a singular covariance."""
    return torch.eye(like.shape[-1]).to(like) if kind in ("tied", "full") else torch.ones_like(like)
