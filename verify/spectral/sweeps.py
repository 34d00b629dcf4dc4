"""How the error falls: with the rounds of subspace iteration, with the pieces, and against N."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from constructions.spectral.exact import Problem
from verify.spectral.measure import measure, median, slope
from verify.spectral.options import Options
from verify.spectral.problems import built, mixture

ROUNDS = (2, 4, 6, 8, 12, 16, 24, 32)
PIECES = (128, 512, 2048, 8192)
SAMPLES = (64, 256, 1024, 4096)
SIZE = (8, 4, 2000)
"""(d, K, N) of the sweeps over rounds and pieces; d and K of that over N."""


@dataclass(frozen=True)
class Point:
    """Medians over the tasks, of the largest error of a mean over the length of the largest mean.

    Attributes:
        sweep: "rounds", "pieces" or "N". at: the number. error, bound, approximation: as said.
        tasks: how many are behind it. claimed: those with a bound of every mean. broken: means and weights
            above their bounds.
    """

    sweep: str
    at: int
    error: float | None
    bound: float | None
    approximation: float | None
    tasks: int
    claimed: int
    broken: int


def _point(sweep: str, at: int, problem: Problem, options: Options, **changes: object) -> Point:
    weights = built(problem, options, **changes)
    m = measure(f"{sweep} {at}", weights, problem, options)
    size, on = m.size[m.covered][:, None], m.covered
    error, bound, left = (median((x[on] / size).amax(-1)) for x in (m.error, m.bound, m.exact_bound))
    claimed = int(m.bound.isfinite().all(-1)[on].sum())
    return Point(sweep, at, error, bound, left, int(on.sum()), claimed, m.broken)


def swept(options: Options, tasks: int, generator: torch.Generator) -> list[Point]:
    """All three sweeps, on random mixtures."""
    d, K, N = SIZE
    problem = mixture(d, K, N, tasks, options, generator)
    points = [_point("rounds", n, problem, options, rounds=n) for n in ROUNDS]
    if options.read_in == "squares":
        points += [_point("pieces", n, problem, options, pieces=n) for n in PIECES]
    for n in SAMPLES:
        points.append(_point("N", n, mixture(d, K, n, tasks, options, generator), options))
    return points


def fitted(points: list[Point], sweep: str) -> float | None:
    """Slope of log error against log of the number."""
    chosen = [p for p in points if p.sweep == sweep]
    return slope([float(p.at) for p in chosen], [p.error or 0.0 for p in chosen])
