"""The search for a broken one-step bound of EM with covariances, kind by kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from baselines.em_paths import reference_step
from constructions.em.bounds import one_step_bound
from constructions.em.covariance_step import CovarianceEM
from constructions.em.run import EMRun
from constructions.em.step_bound import StepBound
from constructions.em.step_rounding import StepData
from constructions.em.tasks import Range
from constructions.em.weights import em_construction
from constructions.language.rounding import length
from verify.em import covariance_families as families
from verify.em.covariance_families import CovarianceTask
from verify.em.covariance_theorem import Kind
from verify.em.families import Size, whole

FLOOR, RADIUS, EIGENVALUES = 1e-8, 8.0, Range(1e-3, 1e3)
TASKS, STEPS = 5, 2
# (d0, K0, pieces); dense layers hold about 5 d0 K0 pieces hidden units.
SHAPES = (
    (1, 1, 64), (1, 3, 256), (2, 2, 64), (2, 4, 1024), (3, 3, 2048), (5, 2, 512), (3, 5, 64), (8, 3, 256),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Compared:
    """One step of tasks whose state is in the range: errors by parameter, and the bound.

    Attributes:
        errors: weights, means, covariances, (n, K), or (n, 1) of tied covariances; NaN where EM is undefined.
        instance, apriori: their bounds.
    """

    family: str
    bound: StepBound
    errors: tuple[Tensor, Tensor, Tensor]
    instance: tuple[Tensor, ...]
    apriori: tuple[Tensor, ...]

    def broken(self) -> int:
        """How many errors exceed a bound; a bound that is no number is exceeded."""
        pairs = [*zip(self.errors, self.instance, strict=True), *zip(self.errors, self.apriori, strict=True)]
        return sum(int((~error.isnan() & ~(error <= limit)).sum()) for error, limit in pairs)

    def ratios(self) -> tuple[Tensor, ...]:
        """Instance bound / error, flat, where there is an error."""
        found = ((bound / error)[error > 0] for error, bound in zip(self.errors, self.instance, strict=True))
        return tuple(found)


def search(
    kind: Kind, instances: int, seed: int, dtype: torch.dtype = torch.float64, evaluation: Any = "dense"
) -> Iterator[Compared]:
    """At least ``instances`` steps of tasks from their own states, two of every task."""
    g = torch.Generator().manual_seed(seed)
    names, space, done = list(families.FAMILIES), families.Space(RADIUS, EIGENVALUES), 0
    while done < instances:
        d0, K0, pieces = SHAPES[whole(g, 0, len(SHAPES) - 1)]
        d, K = whole(g, 1, d0), whole(g, 1, K0)
        size = Size(d, K, whole(g, max(K, d + 1), 120))
        family = names[whole(g, 0, len(names) - 1)]
        drawn = families.drawn(g, space, size, family, TASKS, kind)
        em = construction(kind, d0, K0, pieces)
        args = (part.to(dtype) for part in (drawn.X, drawn.weights, drawn.means, drawn.covariances))
        run = em.run(*args, dtype=dtype, steps=STEPS, evaluation=evaluation)
        for t in range(STEPS):
            found = compare(em, drawn, run, t, dtype)
            if found is not None:
                done += len(found.errors[0])
                yield found


@lru_cache(maxsize=64)
def construction(kind: Kind, max_dim: int, max_components: int, pieces: int) -> CovarianceEM:
    """The weights of a shape."""
    options: dict[str, Any] = {"covariance_type": kind, "eigenvalues": EIGENVALUES}
    return em_construction(max_dim, max_components, STEPS, pieces, FLOOR, RADIUS, **options)


def compare(
    em: CovarianceEM, task: CovarianceTask, run: EMRun, t: int, dtype: torch.dtype
) -> Compared | None:
    """Step t of a run against EM from the same state; None where no state is in the range."""
    S = run.path_covariances
    if run.in_range is None or S is None:
        raise ValueError(f"{em.construction.name}: a run has covariances, got none")
    kept = run.in_range[:, t].nonzero()[:, 0]
    if len(kept) == 0:
        return None
    kind = em.covariance_type
    weights, means, S = (part[kept].double() for part in (run.path_weights, run.path_means, S))
    X = task.X.to(dtype)[kept]
    data = StepData.uniform(X, weights[:, t], means[:, t], t > 0, S[:, t], kind)
    bound = one_step_bound(em, data, dtype)
    now = (S[:, t] + S[:, t].mT) / 2 if kind in ("tied", "full") else S[:, t]
    new = reference_step(data.X, weights[:, t], means[:, t], now, kind)
    if new.covariances is None or bound.covariance_instance is None or bound.covariance_apriori is None:
        raise ValueError(f"{em.construction.name}: a step has covariances, got none")
    lost = (new.empty | new.singular | bound.undefined).any(-1, keepdim=True)
    differences = S[:, t + 1] - new.covariances
    errors = (
        (weights[:, t + 1] - new.weights).abs(),
        length(means[:, t + 1] - new.means),
        size_of(differences, kind),
    )
    return Compared(
        task.family,
        bound,
        tuple(torch.where(lost, torch.nan, error) for error in errors),  # pyright: ignore[reportArgumentType]
        (bound.weight_instance, bound.mean_instance, bound.covariance_instance),
        (bound.weight_apriori, bound.mean_apriori, bound.covariance_apriori),
    )


def size_of(differences: Tensor, kind: str) -> Tensor:
    """(n, K), or (n, 1) of tied kinds: the norm in which covariances are bounded."""
    if kind == "full":
        return length(differences.flatten(-2))
    if kind == "tied":
        return length(differences.flatten(-2))[:, None]
    if kind == "diagonal":
        return length(differences)
    return differences.abs() if kind == "spherical" else differences.abs()[:, None]
