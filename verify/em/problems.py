"""The data that an EM check runs on, and where EM starts on it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.points import prepare
from baselines.starts import start_means
from baselines.tasks import paper_tasks

DTYPE = torch.float64


@dataclass(frozen=True, eq=False)
class Problem:
    """B tasks of one size with a start each.

    Attributes:
        name: for tables. X: (B, N, d). weights: (B, K). means: (B, K, d). start: how the start was chosen.
    """

    name: str
    X: Tensor
    weights: Tensor
    means: Tensor
    start: str

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
    dim: int, components: int, samples: int, start: str, trials: int, generator: torch.Generator
) -> Problem:
    """Tasks of the paper's distribution; on a line, where few cosines exist, the means are not restricted."""
    unrestricted = 2.0
    cosine = unrestricted if dim == 1 else 0.8
    tasks = paper_tasks(trials, dim, components, samples, generator, max_cosine=cosine)
    return started(f"d={dim} K={components} N={samples}", tasks.X, components, start, generator)


def started(name: str, X: Tensor, components: int, start: str, generator: torch.Generator) -> Problem:
    """``X`` (B, N, d) with equal weights and means by one of ``baselines.starts.STARTS``."""
    points = prepare(X, None, None)
    means = start_means(points, components, start, generator) + points.centre
    weights = X.new_full((len(X), components), 1 / components)
    return Problem(name, X, weights, means, start)
