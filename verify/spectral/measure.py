"""The spectral construction on drawn or given tasks, beside the baseline from the same starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from baselines.spectral import SpectralResult, Status
from console.typed_json import Absent
from constructions.spectral.bounds import split_bounds
from constructions.spectral.exact import Exact, Problem, exact
from constructions.spectral.hypotheses import least_eigenvalue
from constructions.spectral.run import SpectralRun
from constructions.spectral.weights import SpectralConstruction
from verify.engine.certificates import Certificate
from verify.engine.record import quotient
from verify.spectral.options import Options
from verify.spectral.reference import reference

WEIGHTS_ONLY = ("OUT_OF_RANGE", "NO_GAP")
"""What the weights refuse and the baseline does not."""


@dataclass(frozen=True, eq=False)
class Measurement:
    """B tasks of one size.

    Attributes:
        name: of the problem. problem: the tasks in float64, as both sides see them.
        run, found: of the layers and of the baseline. covered: (B,) both have an estimate.
        error, bound, exact_bound: (B, K) of means; the last in exact arithmetic. weight_error, weight_bound:
            (B, K). NaN where not covered.
    """

    name: str
    weights: SpectralConstruction
    problem: Problem
    run: SpectralRun
    found: SpectralResult
    covered: Tensor
    error: Tensor
    bound: Tensor
    exact_bound: Tensor
    weight_error: Tensor
    weight_bound: Tensor

    @property
    def size(self) -> Tensor:
        """(B,) length of the largest mean."""
        return self.found.means.norm(dim=-1).amax(-1)

    @property
    def spectrum(self) -> Exact:
        """Eigenvalues of M2 and all that follows from them."""
        return exact(self.problem)

    @property
    def broken(self) -> int:
        """Means and weights above their bounds."""
        pairs = ((self.error, self.bound), (self.weight_error, self.weight_bound))
        return sum(int((~(e <= b) & self.covered[:, None]).sum()) for e, b in pairs)


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        tasks: that both sides solve. median, worst: error of a mean over the length of the largest one.
        bound, approximation: medians, likewise. margin: least bound / error. claimed: tasks with a bound.
        weights: largest error of a weight. failed: statuses of other tasks. disagreeing: those to which the
            baseline gives another status, or none. certified: the first of the tasks, all that is bounded.
    """

    name: str
    tasks: int
    median: float | None
    worst: float | None
    bound: float | None
    approximation: float | None
    margin: float | None
    claimed: int
    weights: float | None
    failed: str
    disagreeing: int
    broken: int
    certified: Annotated[Certificate | None, Absent()] = None


def measure(name: str, weights: SpectralConstruction, problem: Problem, options: Options) -> Measurement:
    """Run both on tasks in numbers that the dtype holds."""
    dtype = options.dtype
    X, directions, basis = (
        part.to(dtype).double() for part in (problem.X, problem.directions, problem.basis)
    )
    given = options.variance
    variance = None if given is None else torch.tensor(given, dtype=dtype).item()
    s = least_eigenvalue(X) if variance is None else X.new_full((len(X),), variance)
    problem = Problem(X, s, directions, basis)
    run = weights.run(
        X,
        problem.n_components,
        directions,
        basis,
        variance=variance,
        dtype=dtype,
        device=options.device,
        evaluation=options.evaluation,
        keep_path=True,
        on_failure="mark",
    )
    found = reference(problem, variance, weights.plan.steps)
    failed = torch.zeros(len(X), dtype=torch.bool)
    failed[list(run.failures)] = True
    covered = ~failed & ~found.failed
    whole, left = split_bounds(problem, weights.plan, dtype, weights.square)
    means, pi = run.means.cpu().double(), run.weights.cpu().double()
    return Measurement(
        name,
        weights,
        problem,
        run,
        found,
        covered,
        (means - found.means).norm(dim=-1),
        whole.means,
        left.means,
        (pi - found.weights).abs(),
        whole.weights,
    )


def row(m: Measurement) -> Row:
    """The line of a measurement."""
    at = m.covered
    size = m.size[at][:, None]
    error, bound, left = (x[at] / size for x in (m.error, m.bound, m.exact_bound))
    ratios = (m.bound / m.error)[at & True][m.error[at] > 0]
    statuses: dict[str, int] = {}
    disagreeing = 0
    for task in range(len(at)):
        theirs = Status(int(m.found.status[task])).name
        failure = m.run.failures.get(task)
        if failure is None and theirs == "OK":
            continue
        ours = "OK" if failure is None else str(getattr(failure, "status", "OK"))
        statuses[ours if failure is not None else f"baseline {theirs}"] = 1 + statuses.get(ours, 0)
        disagreeing += ours not in WEIGHTS_ONLY and ours != theirs
    return Row(
        m.name,
        int(at.sum()),
        median(error.amax(-1)),
        _largest(error.amax(-1)),
        median(bound.amax(-1)),
        median(left.amax(-1)),
        float(ratios.min()) if len(ratios) else None,
        int(m.bound.isfinite().all(-1)[at].sum()),
        _largest(m.weight_error[at].amax(-1)),
        ", ".join(f"{count} {status}" for status, count in statuses.items()),
        disagreeing,
        m.broken,
    )


def median(values: Tensor) -> float | None:
    """The mean of the two middle values where their number is even; None of nothing."""
    return float(np.median(values.numpy())) if len(values) else None


def _largest(values: Tensor) -> float | None:
    return float(values.max()) if len(values) else None


def slope(x: list[float], y: list[float]) -> float | None:
    """Of log y against log x, by least squares; None for fewer than two values above 0."""
    pairs = [(a, b) for a, b in zip(x, y, strict=True) if a > 0 and b > 0]
    if len(pairs) < 2:
        return None
    logs = torch.tensor(pairs, dtype=torch.float64).log()
    a, b = (logs - logs.mean(0)).unbind(1)
    return quotient(float((a * b).sum()), float(a.square().sum()))
