"""What both tensor power checks measure, each a row: the steps of a run, and the components found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated

import torch

from console.typed_json import Absent
from constructions.tensor_power.iteration import PowerIteration
from verify.engine.certificates import Certificate, tasks_certified
from verify.engine.record import Check, Record, quotient
from verify.engine.tables import grouped
from verify.intervals.rounded_up import Evaluated
from verify.tensor.data import OrthogonalProblem, TensorProblem
from verify.tensor.measure import PathErrors, Runtime, above_quotient
from verify.tensor.recover import recover
from verify.tensor.theorem import TensorPower

RECOVERY_STARTS, RECOVERY_STEPS = 2, 12


@dataclass(frozen=True)
class PathRow:
    """A step of a run; errors and bounds relative to the length of v.

    Attributes:
        form: of the construction. error, bound: medians. margin: least bound / error.
        claimed, broken: instances with a finite bound, and above it. certified: of the first of them.
        evaluated: how the bounds were.
    """

    problem: str
    d: int
    form: str
    step: int
    instances: int
    error: float
    largest_error: float
    bound: float
    margin: float
    claimed: int
    broken: int
    evaluated: Evaluated = "float64"
    certified: Annotated[Certificate | None, Absent()] = None

    @property
    def claimed_of(self) -> str:
        """As in 3/5."""
        return f"{self.claimed}/{self.instances}"


def path_rows(problem: TensorProblem, form: str, found: PathErrors) -> list[PathRow]:
    """A row for each step of a run."""
    rows = []
    for step in range(1, found.error.shape[1]):
        length, error, bound = found.length[:, step], found.error[:, step], found.bound[:, step]
        claimed = bound.isfinite()
        margin = torch.where(claimed & (error > 0), bound / error, torch.inf)
        relative, shown = error / length, above_quotient(bound, length)
        middle, largest, bounded, least = (
            float(x) for x in (relative.median(), relative.max(), shown.median(), margin.min())
        )
        where = problem.name, problem.dim, form, step, len(error)
        at, over = int(claimed.sum()), int((~(error <= bound)).sum())
        rows.append(PathRow(*where, middle, largest, bounded, least, at, over, found.evaluated))
    return rows


def with_certificates(
    rows: list[PathRow], theorem: TensorPower, power: PowerIteration, problem: TensorProblem, on: Runtime
) -> list[PathRow]:
    """The rows of a run with their certificates, of v as it is."""
    tasks = tasks_certified(on.certify, len(problem), problem.dim**3, len(rows)) if rows else 0
    if not tasks:
        return rows
    from verify.certify.rows import certificates  # python-flint, which not everybody has

    run = theorem, power, problem, on.dtype, len(rows), tasks, on.evaluation
    places = certificates(*run, approximation=bool(on.certify))
    return [replace(row, certified=places.get((row.step, "v"))) for row in rows]


def last_steps(paths: Iterable[PathRow]) -> list[PathRow]:
    """The last row of each run, with the broken vectors of all its steps."""
    runs = grouped(paths, lambda row: (row.problem, row.form)).values()
    return [replace(rows[-1], broken=sum(row.broken for row in rows)) for rows in runs]


@dataclass(frozen=True)
class Recovered:
    """How well a form of the construction finds all components, the largest over them.

    Attributes:
        distinct: every component was found once. distance: from the true component.
        error, bound: against the exact iteration from the same start. claimed: the bounds are finite.
        broken: errors above their bounds, and one more where a claimed component is missed.
        evaluated: how the bounds were.
    """

    d: int
    components: int
    form: str
    distinct: bool
    distance: float
    error: float
    bound: float
    eigenvalue_error: float
    claimed: bool
    broken: int
    evaluated: Evaluated = "float64"

    @property
    def tensor(self) -> str:
        """As in d=8, K=5."""
        return f"d={self.d}, K={self.components}"


def recovery_row(
    form: str, power: PowerIteration, problem: OrthogonalProblem, on: Runtime, generator: torch.Generator
) -> Recovered:
    """How well ``power`` finds the components of ``problem`` with restarts and deflation."""
    found = recover(power, problem, RECOVERY_STARTS, RECOVERY_STEPS, on, generator)
    claimed = bool(found.bound.isfinite().all())
    broken = int((~(found.error <= found.bound)).sum()) + int(claimed and not found.distinct)
    largest = (float(x.max()) for x in (found.distance, found.error, found.bound, found.eigenvalue_error))
    where = problem.dim, len(problem.components), form, found.distinct
    return Recovered(*where, *largest, claimed=claimed, broken=broken, evaluated=found.evaluated)


def components_found(
    check: Check, claim: str, rows: list[Recovered], also: str = "", limit: float | None = None
) -> Record:
    """Every component is within its bound and, where there is a ``limit``, no further from the truth."""
    distance, worst = (
        max(row.distance for row in rows),
        max(rows, key=lambda row: quotient(row.error, row.bound)),
    )
    bound, observed = (worst.bound, worst.error) if limit is None else (limit, distance)
    within = all(row.claimed and not row.broken for row in rows) and (limit is None or distance <= limit)
    sizes = ", ".join(str((row.d, row.components)) for row in rows)
    note = f"(d, K) = {sizes}{also}; furthest from a true component: {distance:.2g}"
    return check.record(claim, bound, observed, sum(row.components for row in rows), within, note)
