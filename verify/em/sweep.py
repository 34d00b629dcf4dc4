"""How the one-step error falls with the pieces, and what the best split of the pieces buys."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from constructions.em.pieces import Split, apriori_rho
from constructions.em.weights import em_construction
from verify.em.compare import compare_step
from verify.em.problems import Problem

OVERLAP = 1.0
"""A component takes part in the fitted slope when ``sum_i w_ik (1 - w_ik)`` is at least this: one point's
worth of overlap. With less, its step is exact but for the floor, whatever the pieces."""


FITTED_FROM = 64
"""With fewer pieces, the last piece of log on [1e-8, 1] reaches below 0.75: most points lie in it together,
their errors do not cancel yet, and the error falls faster than it does later."""


@dataclass(frozen=True)
class SweepPoint:
    """One step from the same refreshed state with one number of pieces.

    Attributes:
        problem, pieces, split: what was run. rho: the number on which the a-priori bound depends.
        error, instance, apriori: medians over components with overlap. components: how many those are.
    """

    problem: str
    pieces: int
    split: str
    rho: float
    error: float
    instance: float
    apriori: float
    components: int


def sweep(
    problem: Problem, pieces: list[int], split: Split, floor: float, radius: float, dtype: torch.dtype
) -> list[SweepPoint]:
    """One refreshed step from the problem's start for every number of pieces."""
    points = []
    X, weights, means = (v.to(dtype).to(torch.float64) for v in (problem.X, problem.weights, problem.means))
    dim, components, _ = problem.sizes
    for count in pieces:
        em = em_construction(dim, components, 1, count, floor, radius, split)
        run = em.run(X, weights, means, dtype=dtype, refreshed=True)
        after = run.path_weights[:, 1], run.path_means[:, 1]
        comparison = compare_step(em, X, (run.path_weights[:, 0], means), after, True, dtype)
        resp = run.path_responsibilities[:, 0].to(torch.float64)
        counted = comparison.defined & ((resp * (1 - resp)).sum(-1) >= OVERLAP)
        points.append(
            SweepPoint(
                problem.label,
                count,
                split,
                apriori_rho(em.pieces, floor, radius, dim),
                *(
                    float(v[counted].median())
                    for v in (
                        comparison.mean_error,
                        comparison.bound.mean_instance,
                        comparison.bound.mean_apriori,
                    )
                ),
                components=int(counted.sum()),
            )
        )
    return points


def fitted_slope(points: list[SweepPoint]) -> float:
    """Least-squares slope of log error against log pieces from 64 on; NaN with fewer than two points."""
    usable = [p for p in points if p.error > 0 and p.pieces >= FITTED_FROM]
    if len({p.pieces for p in usable}) < 2:
        return float("nan")
    return float(np.polyfit(np.log([p.pieces for p in usable]), np.log([p.error for p in usable]), 1)[0])


def as_rows(points: list[SweepPoint]) -> list[dict[str, Any]]:
    """For JSON."""
    return [asdict(p) for p in points]
