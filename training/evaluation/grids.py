"""What an evaluation measures: grids of cells, a cell being one distribution of tasks with one K and one N.

main          the paper's tasks, each K, N = 128
samples       N from 16 to 100,000
perturbation  means + sigma_p N(0, I), sigma_p from 0 to 10, after the paper's rejection
separation    every two means exactly so far apart (regular simplex), 1 to 8 standard deviations
diagonal      covariances diag(s^2), s uniform in [0.5, 1.5]
components    K beyond what a method or a model can do: each K, and d + 1 and d + 2
embedding     the tasks of main, for a second network trained without task embedding
dxk           the tasks of main, for a network of each d
full          covariances Q diag(s^2) Q^T, s uniform in [0.5, 1.5], Q a random rotation
anisotropic   covariances Q diag(s^2) Q^T, the ratio r of the largest s to the smallest from 1 to 16. The s of
              every component go in equal ratios from r^(-1/2) to r^(1/2): their geometric mean is 1, so that
              a component keeps its volume, and r = 1 has the law of main
correlation   unit variances, every two coordinates of a component correlated by rho or -rho, rho from 0 to
              0.99; the signs are drawn component by component
large         the tasks of main at d = 8, 32, 128 and K = 2, 4, 8, 16
initialisation  the tasks of main. EM starts from the true weights and the true means + sigma N(0, I), sigma
              from 0 to 8, beside all others, which sigma does not touch
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from training.evaluation.asked import AXES
from training.tasks import TaskDistribution, check_samples

N_SAMPLES = 128
SAMPLES = (16, 32, 64, 128, 256, 512, 1024, 4096, 16384, 100_000)
QUICK_SAMPLES = (32, 128, 512)
VALUES = {
    "perturbation": ((0.0, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0), (0.0, 2.0, 10.0)),
    "separation": ((1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0), (1.0, 3.0, 6.0)),
    "anisotropic": ((1.0, 2.0, 4.0, 8.0, 16.0), (1.0, 4.0, 16.0)),
    "correlation": ((0.0, 0.5, 0.8, 0.9, 0.95, 0.99), (0.0, 0.9, 0.99)),
    "initialisation": ((0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0), (0.0, 2.0, 8.0)),
}
"""What a grid over neither K nor N varies: its values, and those of --quick."""
COVARIANCES = {"unit": 0, "diagonal": 1, "full": 2, "correlated": 3, "spherical": 4, "inverse-wishart": 5}
"""The laws as seeds have them."""
LONG = 256
"""Longer tasks are fewer: a cell has no more points than if its tasks had so many; two tasks at least."""
FIXED_K = 3
"""Grids over something else than K keep it at the one nearest to this and at the largest."""


@dataclass(frozen=True)
class Cell:
    """T tasks of one kind: K components, N points each.

    distribution  the tasks; None where there are none of the kind, and then `impossible` says why.
    value         of what the grid varies.
    start         sigma of EM's start on the grid initialisation, no property of the tasks; None elsewhere.
    """

    n_features: int
    n_components: int
    n_samples: int
    value: float
    distribution: TaskDistribution | None
    impossible: str = ""
    start: float | None = None

    @property
    def tasks(self) -> Cell:
        """The cell whatever its start: two that agree here have the same tasks."""
        return self if self.start is None else replace(self, value=0.0, start=None)

    @property
    def elongation(self) -> float | None:
        """Largest over smallest deviation, where all components have the same."""
        D = self.distribution
        return D.deviation_range[1] / D.deviation_range[0] if D and D.deviation_law == "spaced" else None

    @property
    def group(self) -> tuple[int, int]:
        """(d, K)."""
        return self.n_features, self.n_components

    @property
    def title(self) -> str:
        """As in "d = 8, K = 5, N = 128, sigma_p = 2"."""
        parts = [f"d = {self.n_features}", f"K = {self.n_components}", f"N = {self.n_samples}"]
        parts += [] if self.distribution is None else self._law(self.distribution)
        if self.start is not None:
            parts.append(f"noise on the start = {self.start:g}")
        return ", ".join(parts)

    def _law(self, D: TaskDistribution) -> list[str]:
        """What the tasks have that those of main have not."""
        found = [f"sigma_p = {D.perturbation:g}"] if D.perturbation else []
        if D.separation is not None:
            found.append(f"separation = {D.separation:g}")
        if self.elongation is not None:
            found.append(f"elongation = {self.elongation:g}")
        elif D.covariance == "correlated":
            found.append(f"correlation = {D.correlation:g}")
        elif D.covariance != "unit":
            found.append(f"{D.covariance} covariances")
        return found

    def count(self, n_tasks: int) -> int:
        """Tasks of this cell where others have n_tasks."""
        return max(2, min(n_tasks, n_tasks * LONG // self.n_samples))

    def seed(self, seed: int, *path: int) -> int:
        """63 bits for this cell and a path (which slice, whose draws): the same whatever else is measured."""
        D = self.distribution
        kind: tuple[int, ...] = (0, 0, 0)
        if D is not None:
            law = COVARIANCES[D.covariance]
            kind = law, round(1000 * D.perturbation), round(1000 * (D.separation or 0.0))
            if law > COVARIANCES["diagonal"]:  # another length than others, whose first number differs
                kind += round(1000 * (self.elongation or 0.0)), round(10_000 * D.correlation)
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
    if AXES[grid].over_components:
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
    if grid == "samples":
        return [_cell(d, K, N, N) for N in sizes]
    if grid not in VALUES:
        kind = grid if grid in ("diagonal", "full") else "unit"
        return [_cell(d, K, sizes[0], K, covariance=kind)]
    every, few = VALUES[grid]
    values = few if quick else every
    if grid == "initialisation":
        return [replace(_cell(d, K, sizes[0], value), start=value) for value in values]
    return [_cell(d, K, sizes[0], value, **_changes(grid, value)) for value in values]


def _changes(grid: str, value: float) -> dict[str, Any]:
    """What tells the law of the tasks from that of main."""
    if grid == "anisotropic":
        ends = value**-0.5, value**0.5
        return {"covariance": "full", "deviation_law": "spaced", "deviation_range": ends}
    if grid == "correlation":
        return {"covariance": "correlated", "correlation": value}
    return {grid: value}


def _cell(d: int, K: int, n_samples: int, value: float, **changes: Any) -> Cell:
    try:
        return Cell(d, K, n_samples, value, TaskDistribution(d, (K,), **changes))
    except ValueError as problem:
        return Cell(d, K, n_samples, value, None, str(problem))
