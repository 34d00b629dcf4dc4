"""What an evaluation measures: grids of cells, a cell being one distribution of tasks with one K and one N.

main          the paper's tasks, each K, N = 128
samples       N from 16 to 4,096
perturbation  means + sigma_p N(0, I), sigma_p from 0 to 10, after the paper's rejection
separation    every two means exactly so far apart (regular simplex), 1 to 8 standard deviations
diagonal      covariances diag(s^2), s uniform in [0.5, 1.5]
components    K beyond what a method or a model can do: each K, and d + 1 and d + 2
embedding     the tasks of main, for a second network trained without task embedding
dxk           the tasks of main, for a network of each d
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.evaluation.asked import AXES, COMPONENTS
from training.tasks import TaskDistribution, check_samples

N_SAMPLES = 128
SAMPLES = (16, 32, 64, 128, 256, 512, 1024, 4096)
QUICK_SAMPLES = (32, 128, 512)
PERTURBATIONS = (0.0, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0)
QUICK_PERTURBATIONS = (0.0, 2.0, 10.0)
SEPARATIONS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
QUICK_SEPARATIONS = (1.0, 3.0, 6.0)
LONG = 256
"""Longer tasks are fewer: a cell has no more points than if its tasks had so many; two tasks at least."""
FIXED_K = 3
"""Grids over something else than K keep it at the one nearest to this and at the largest."""


@dataclass(frozen=True)
class Cell:
    """T tasks of one kind: K components, N points each.

    distribution  the tasks; None where there are none of the kind, and then `impossible` says why.
    value         of what the grid varies.
    """

    n_features: int
    n_components: int
    n_samples: int
    value: float
    distribution: TaskDistribution | None
    impossible: str = ""

    @property
    def group(self) -> tuple[int, int]:
        """(d, K)."""
        return self.n_features, self.n_components

    @property
    def title(self) -> str:
        """As in "d = 8, K = 5, N = 128, sigma_p = 2"."""
        parts = [f"d = {self.n_features}", f"K = {self.n_components}", f"N = {self.n_samples}"]
        if self.distribution is not None and self.distribution.perturbation:
            parts.append(f"sigma_p = {self.distribution.perturbation:g}")
        if self.distribution is not None and self.distribution.separation is not None:
            parts.append(f"separation = {self.distribution.separation:g}")
        if self.distribution is not None and self.distribution.covariance != "unit":
            parts.append(f"{self.distribution.covariance} covariances")
        return ", ".join(parts)

    def count(self, n_tasks: int) -> int:
        """Tasks of this cell where others have n_tasks."""
        return max(2, min(n_tasks, n_tasks * LONG // self.n_samples))

    def seed(self, seed: int, *path: int) -> int:
        """63 bits for this cell and a path (which slice, whose draws): the same whatever else is measured."""
        D = self.distribution
        kind = (
            (0, 0, 0)
            if D is None
            else (
                int(D.covariance != "unit"),
                round(1000 * D.perturbation),
                round(1000 * (D.separation or 0.0)),
            )
        )
        key = (*self.group, self.n_samples, *kind, *path)
        return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1, np.uint64)[0]) >> 1


def cells_of(
    grid: str,
    dims: Sequence[int],
    components: Sequence[int],
    samples: Sequence[int] | None = None,
    quick: bool = False,
) -> list[Cell]:
    """The cells of a grid, by d, then K, then the value that the grid varies.

    Args:
        grid: a name in AXES.
        dims: d.
        components: K; a grid that varies something else takes the largest and that nearest to 3.
        samples: N in place of the grid's.
        quick: fewer values and K.

    Raises:
        ValueError: an unknown grid, a task of fewer points than components or more than MOST_SAMPLES, several
            N where the grid varies something else, no cell that has tasks.
    """
    if grid not in AXES:
        raise ValueError(f"no grid {grid!r}; there are {', '.join(AXES)}")
    counts = _components_of(grid, sorted(set(components)), quick)
    sizes = _samples_of(grid, samples, quick)
    check_samples("N", max(sizes))
    found = []
    for d in sorted(set(dims)):
        beyond = (d + 1, d + 2) if grid == "components" else ()
        for K in sorted({*counts, *beyond}):
            if min(sizes) < K:
                raise ValueError(f"N is {min(sizes)}, needs at least K = {K} points a task")
            found += _cells(grid, d, K, sizes, quick)
    if all(cell.impossible for cell in found):
        raise ValueError(f"grid {grid}: {found[0].impossible}")
    return found


def _components_of(grid: str, counts: list[int], quick: bool) -> list[int]:
    small = min(counts, key=lambda K: abs(K - FIXED_K))
    few = sorted({small, counts[-1]})
    if AXES[grid] == COMPONENTS:
        return few if quick else counts
    if not quick:
        return few
    return few[:1] if grid == "separation" else few[-1:]  # K <= d + 1 there


def _samples_of(grid: str, samples: Sequence[int] | None, quick: bool) -> list[int]:
    if samples is None:
        if grid != "samples":
            return [N_SAMPLES]
        return list(QUICK_SAMPLES if quick else SAMPLES)
    if grid != "samples" and len(samples) > 1:
        raise ValueError(f"N is {', '.join(map(str, samples))}, needs one value on the grid {grid!r}")
    return sorted(set(samples))


def _cells(grid: str, d: int, K: int, sizes: list[int], quick: bool) -> list[Cell]:
    def cell(value: float, n_samples: int = sizes[0], **changes: float | str) -> Cell:
        try:
            return Cell(d, K, n_samples, value, TaskDistribution(d, (K,), **changes))  # pyright: ignore[reportArgumentType]
        except ValueError as problem:
            return Cell(d, K, n_samples, value, None, str(problem))

    if grid == "samples":
        return [cell(N, N) for N in sizes]
    if grid == "perturbation":
        values = QUICK_PERTURBATIONS if quick else PERTURBATIONS
        return [cell(value, perturbation=value) for value in values]
    if grid == "separation":
        values = QUICK_SEPARATIONS if quick else SEPARATIONS
        return [cell(value, separation=value) for value in values]
    return [cell(K, covariance="diagonal" if grid == "diagonal" else "unit")]
