"""How the one-step error falls with the pieces, and what the best split of the pieces buys."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from constructions.em.pieces import Pieces, Split, apriori_rho
from constructions.em.run import StepState
from constructions.em.tasks import Range
from constructions.em.weights import em_construction
from constructions.language.structured.evaluation import Evaluation
from verify.em.compare import compare_step
from verify.em.problems import Problem
from verify.engine.theorem import rounded

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
        problem, pieces, split: what was run. rho: the number on which the a-priori bound depends; NaN for
            kinds other than unit, of which there is none.
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
    problem: Problem,
    pieces: list[int],
    split: Split,
    floor: float,
    radius: float,
    dtype: torch.dtype,
    evaluation: Evaluation = "dense",
    eigenvalues: Range | None = None,
) -> list[SweepPoint]:
    """One refreshed step from the problem's start for every number of pieces.

    ``eigenvalues`` of kinds other than unit, whose functions share pieces equally.
    """
    seen, points = rounded(problem, dtype), []
    dim, components, _ = problem.sizes
    for count in pieces:
        parts = dim, components, 1, count, floor, radius
        em = (
            em_construction(*parts, split)
            if eigenvalues is None
            else em_construction(*parts, covariance_type=problem.covariance_type, eigenvalues=eigenvalues)  # pyright: ignore[reportArgumentType, reportCallIssue]
        )
        start = seen.weights, seen.means, seen.covariances
        run = em.run(seen.X, *start, dtype=dtype, refreshed=True, evaluation=evaluation)
        S = run.path_covariances
        after = StepState(run.path_weights[:, 1], run.path_means[:, 1], None if S is None else S[:, 1])
        before = StepState(run.path_weights[:, 0], *start[1:])
        comparison = compare_step(em, seen.X, before, after, True, dtype)
        resp, bound = run.path_responsibilities[:, 0].to(torch.float64), comparison.bound
        counted = comparison.defined & ((resp * (1 - resp)).sum(-1) >= OVERLAP)
        errors = comparison.mean_error, bound.mean_instance, bound.mean_apriori
        medians = (float(v[counted].median()) for v in errors)
        rho = apriori_rho(em.pieces, floor, radius, dim) if isinstance(em.pieces, Pieces) else math.nan
        points.append(SweepPoint(problem.label, count, split, rho, *medians, components=int(counted.sum())))
    return points


@dataclass(frozen=True)
class Slope:
    """Of log error over log pieces, and the components that it was fitted to."""

    slope: float
    components: int


def slopes(sweeps: Mapping[str, list[SweepPoint]]) -> dict[str, Slope]:
    """Of each sweep that has enough points."""
    found = {name: Slope(fitted_slope(points), points[0].components) for name, points in sweeps.items()}
    return {name: slope for name, slope in found.items() if math.isfinite(slope.slope)}


def fitted_slope(points: list[SweepPoint]) -> float:
    """Least-squares slope of log error against log pieces from 64 on; NaN with fewer than two points."""
    usable = [p for p in points if p.error > 0 and p.pieces >= FITTED_FROM]
    if len({p.pieces for p in usable}) < 2:
        return float("nan")
    return float(np.polyfit(np.log([p.pieces for p in usable]), np.log([p.error for p in usable]), 1)[0])
