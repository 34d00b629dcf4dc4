"""Measure the EM construction on a problem: errors step by step, beside every bound."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import torch
from torch import Tensor

from baselines.em_paths import reference_path
from console.typed_json import Beside
from constructions.em.bounds import one_step_bound
from constructions.em.path_bounds import PathBound, path_bound
from constructions.em.pieces import Pieces
from constructions.em.run import EMRun
from constructions.em.shared import SOURCE
from constructions.em.step_rounding import StepData
from constructions.em.unit import EMConstruction
from constructions.language.rounding import length
from constructions.language.structured.evaluation import Evaluation
from verify.em.compare import StepComparison, compare_step
from verify.em.problems import Problem
from verify.engine.record import Check, Record
from verify.engine.theorem import rounded


@dataclass(frozen=True)
class Spread:
    """Least, median, 90th percentile, largest; None for each where there is nothing to report."""

    min: float | None = None
    median: float | None = None
    p90: float | None = None
    max: float | None = None

    @classmethod
    def of(cls, values: Tensor) -> Spread:
        """Of all values that are numbers."""
        ordered = values.to(torch.float64).flatten().sort().values
        ordered = ordered[~ordered.isnan()]
        if len(ordered) == 0:
            return cls()
        return cls(*(float(ordered[round(q * (len(ordered) - 1))]) for q in (0.0, 0.5, 0.9, 1.0)))


@dataclass(frozen=True)
class Setting:
    """What was run; ``pieces_mean`` is a third of all pieces."""

    name: str
    dim: int
    components: int
    samples: int
    start: str
    tasks: int
    steps: int
    radius: float
    floor: float
    pieces_mean: int
    pieces: Pieces


@dataclass(frozen=True)
class Rounding:
    """Median rounding part of the one-step bound of a mean, in both precisions."""

    float32: float
    float64: float

    @classmethod
    def of(cls, em: EMConstruction, data: StepData) -> Rounding:
        """Of the step from the state in ``data``."""
        bounds = (one_step_bound(em, data, dtype) for dtype in (torch.float32, torch.float64))
        return cls(*(float(bound.mean_rounding.median()) for bound in bounds))


@dataclass(frozen=True)
class OneStep:
    """One step alone, over all defined components."""

    mean_error: Spread
    weight_error: Spread
    instance_bound: Spread
    apriori_bound: Spread
    instance_ratio: Spread
    apriori_ratio: Spread
    rounding_part: Rounding


@dataclass(frozen=True)
class AllSteps:
    """All steps so far, over the tasks; ``lipschitz`` is None after the first, which carries nothing on."""

    largest_mean_error: Spread
    largest_weight_error: Spread
    bound_claimed_for_tasks: int
    bound_below_data_diameter: int
    bound: Spread
    ratio: Spread
    lipschitz: Spread | None


@dataclass(frozen=True)
class Broken:
    """How many bounds: components after one step, and along the path."""

    one_step: int
    path: int

    @property
    def total(self) -> int:
        """Both."""
        return self.one_step + self.path


@dataclass(frozen=True)
class StepRecord:
    """A step in all tasks: the line of a ledger with everything that was measured."""

    line: Annotated[Record, Beside()]
    setting: Setting
    step: int
    broken: Broken
    one_step: OneStep
    path: AllSteps
    undefined_components: int
    dying_components: int

    @property
    def said(self) -> str:
        """In how many tasks the bound along the path says something."""
        return f"{self.path.bound_below_data_diameter}/{self.setting.tasks}"

    @property
    def lipschitz(self) -> float | None:
        """Median factor of the bound along the path."""
        return self.path.lipschitz.median if self.path.lipschitz else None


@dataclass(frozen=True, eq=False)
class Measurement:
    """One problem run through one construction.

    Attributes:
        run: what the layers computed.
        steps: step t of the layers against one EM step from the same state.
        bounds: the bounds along the path.
        em_weights, em_means: (B, L + 1, K), (B, L + 1, K, d) the EM path from the same start.
        path_error: (B, L, K) ``|mu_hat_k - mu_k|_2`` between the two paths after each step.
        path_weight_error: (B, L, K). comparable: (B, L) neither path has lost a component by then.
        records: one a step.
    """

    problem: Problem
    em: EMConstruction
    run: EMRun
    steps: list[StepComparison]
    bounds: PathBound
    em_weights: Tensor
    em_means: Tensor
    path_error: Tensor
    path_weight_error: Tensor
    comparable: Tensor
    records: list[StepRecord]

    @property
    def passed(self) -> bool:
        """Whether no bound was broken at any step."""
        return all(record.line.passed for record in self.records)


def measure(
    em: EMConstruction,
    problem: Problem,
    dtype: torch.dtype,
    device: torch.device | str,
    seed: int,
    evaluation: Evaluation = "dense",
) -> Measurement:
    """Run ``em`` on ``problem`` and compare every step.

    The data are first rounded to ``dtype``; both sides see the same numbers, and the reference works on them
    in float64.
    """
    check = Check(SOURCE, seed, dtype)
    seen = rounded(problem, dtype)
    X, weights, means = seen.X, seen.weights, seen.means
    run = em.run(X, weights, means, dtype=dtype, device=device, evaluation=evaluation)
    path_weights, path_means = run.path_weights.cpu(), run.path_means.cpu()
    data = StepData.uniform(X, weights, means, refreshed=False)
    masks = data.component_mask, data.n_features
    bounds = path_bound(em, X, data.token_mask, path_weights, path_means, *masks, dtype, run.refreshed)
    states = list(zip(path_weights.unbind(1), path_means.unbind(1), strict=True))
    steps = [
        compare_step(em, X, states[t], states[t + 1], refreshed=t > 0, dtype=dtype, bound=bounds.steps[t])
        for t in range(run.steps)
    ]
    reference = reference_path(X, path_weights[:, 0].double(), means, run.steps)
    result = Measurement(
        problem=problem,
        em=em,
        run=run,
        steps=steps,
        bounds=bounds,
        em_weights=reference.weights,
        em_means=reference.means,
        path_error=length(path_means.to(torch.float64) - reference.means)[:, 1:],
        path_weight_error=(path_weights.to(torch.float64) - reference.weights).abs()[:, 1:],
        comparable=reference.defined,
        records=[],
    )
    shares = [Rounding.of(em, StepData.uniform(X, *states[t], refreshed=t > 0)) for t in range(run.steps)]
    return replace(result, records=[_record(result, t, shares[t], check) for t in range(run.steps)])


def _record(m: Measurement, t: int, rounding: Rounding, check: Check) -> StepRecord:
    step, bound = m.steps[t], m.steps[t].bound
    holds = m.bounds.holds[:, t] & m.comparable[:, t]
    broken_steps = int(step.broken().sum())
    informative = holds & (m.bounds.mean[:, t].amax(-1) < _diameter(m.problem.X))
    held = holds[:, None].expand_as(m.path_error[:, t])
    path_kept = (m.path_error[:, t] <= m.bounds.mean[:, t]) & (
        m.path_weight_error[:, t] <= m.bounds.weight[:, t]
    )
    broken_path = int((held & ~path_kept).sum())
    at_means = (bound.mean_instance / step.mean_error).masked_fill(~step.defined, torch.inf)
    at_weights = (bound.weight_instance / step.weight_error).masked_fill(~step.defined, torch.inf)
    pairs = (
        (at_means, bound.mean_instance, step.mean_error),
        (at_weights, bound.weight_instance, step.weight_error),
    )
    ratio, limit, error = min(pairs, key=lambda pair: float(pair[0].min()))
    tightest = int(ratio.argmin())
    passed = broken_steps == 0 and broken_path == 0
    errors = m.path_error[:, t].amax(-1)[m.comparable[:, t]]
    claim = f"EM in attention, step {t + 1}, is within its bounds: {m.problem.label}"
    at = float(limit.flatten()[tightest]), float(error.flatten()[tightest])
    line = check.record(claim, *at, len(m.problem.X), passed, _note(bound.undefined, bound.dying))
    largest = m.bounds.mean[:, t].amax(-1)
    return StepRecord(
        line,
        Setting(
            *(m.problem.name, *m.problem.sizes, m.problem.start, len(m.problem.X), m.run.steps),
            *(m.em.radius, m.em.floor, m.em.pieces.total // 3, m.em.pieces),
        ),
        t + 1,
        Broken(broken_steps, broken_path),
        OneStep(
            mean_error=Spread.of(step.mean_error[step.defined]),
            weight_error=Spread.of(step.weight_error[step.defined]),
            instance_bound=Spread.of(bound.mean_instance[step.defined]),
            apriori_bound=Spread.of(bound.mean_apriori[step.defined]),
            instance_ratio=Spread.of(step.ratio()),
            apriori_ratio=Spread.of((bound.mean_apriori / step.mean_error)[step.defined]),
            rounding_part=rounding,
        ),
        AllSteps(
            largest_mean_error=Spread.of(errors),
            largest_weight_error=Spread.of(m.path_weight_error[:, t].amax(-1)[m.comparable[:, t]]),
            bound_claimed_for_tasks=int(holds.sum()),
            bound_below_data_diameter=int(informative.sum()),
            bound=Spread.of(largest[informative]),
            ratio=Spread.of((largest / m.path_error[:, t].amax(-1))[informative]),
            lipschitz=Spread.of(m.bounds.lipschitz[:, t][holds]) if t else None,
        ),
        undefined_components=int(bound.undefined.sum()),
        dying_components=int(bound.dying.sum()),
    )


def _note(undefined: Tensor, dying: Tensor) -> str:
    parts = []
    if bool(undefined.any()):
        parts.append(f"EM is 0/0 for {int(undefined.sum())} component(s): {_places(undefined)}; not compared")
    if bool(dying.any()):
        parts.append(
            f"{int(dying.sum())} dying component(s), W_k near N x floor: {_places(dying)}; "
            "the floor holds over 1 % of its mass and can decide the error"
        )
    return "; ".join(parts)


def _places(mask: Tensor) -> str:
    places = [f"task {task} k={k}" for task, k in mask.nonzero().tolist()]
    return ", ".join(places[:3]) + (f", and {len(places) - 3} more" if len(places) > 3 else "")


def _diameter(X: Tensor) -> Tensor:
    return length(X.amax(1) - X.amin(1))
