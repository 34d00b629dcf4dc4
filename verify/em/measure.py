"""Measure the EM construction on a problem: errors step by step, beside every bound."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from baselines.em_paths import EMPath, reference_path, reference_step
from constructions.em.path_bounds import PathBound, path_bound
from constructions.em.run import EMRun, StepState
from constructions.em.shared import SOURCE
from constructions.em.step_rounding import StepData
from constructions.language.rounding import length
from constructions.language.structured.evaluation import Evaluation
from verify.em.compare import Lost, StepComparison, compare_step, out_of_range
from verify.em.covariances import distance, symmetric
from verify.em.notes import PathLoss, note
from verify.em.problems import Problem
from verify.em.records import (
    AllSteps,
    AnyEM,
    Broken,
    OneStep,
    Rounding,
    Setting,
    Spread,
    StepRecord,
    pieces_mean,
)
from verify.engine.certificates import broken_in
from verify.engine.record import Check
from verify.engine.theorem import rounded
from verify.intervals.rounded_up import Evaluated, rounded_up


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
        em_covariances: (B, L + 1, ...) of EM. path_covariance_error: (B, L, K), of tied kinds (B, L, 1).
        losses: what ends the paths, a step each. All three None of unit covariances.
        evaluated: how the bounds were.
    """

    problem: Problem
    em: AnyEM
    run: EMRun
    steps: list[StepComparison]
    bounds: PathBound
    em_weights: Tensor
    em_means: Tensor
    path_error: Tensor
    path_weight_error: Tensor
    comparable: Tensor
    records: list[StepRecord]
    em_covariances: Tensor | None = None
    path_covariance_error: Tensor | None = None
    losses: list[PathLoss] | None = None
    evaluated: Evaluated = "float64"

    @property
    def passed(self) -> bool:
        """Whether no bound was broken at any step, in floats or for certain."""
        return all(record.line.passed and not broken_in(record.certified) for record in self.records)


def measure(
    em: AnyEM,
    problem: Problem,
    dtype: torch.dtype,
    device: torch.device | str,
    seed: int,
    evaluation: Evaluation = "dense",
    printed: bool = True,
) -> Measurement:
    """Run ``em`` on ``problem`` and compare every step; bounds are rounded up where they are ``printed``.

    The data are first rounded to ``dtype``; both sides see the same numbers, and the reference works on them
    in float64.
    """
    kind = em.covariance_type
    check = Check(SOURCE if kind == "unit" else em.construction.source, seed, dtype)
    seen = rounded(problem, dtype)
    start = seen.weights, seen.means, seen.covariances
    run = em.run(seen.X, *start, dtype=dtype, device=device, evaluation=evaluation)
    path = _on_cpu(run)
    data = StepData.uniform(seen.X, seen.weights, seen.means, False, seen.covariances, kind)
    masks = data.component_mask, data.n_features

    def along() -> PathBound:
        run_of = path.weights, path.means
        kept = {"refreshed": run.refreshed, "path_covariances": path.covariances}
        return path_bound(em, seen.X, data.token_mask, *run_of, *masks, dtype, **kept)

    bounds, evaluated = rounded_up(along) if printed else (along(), "float64")
    states = [path.at(t) for t in range(run.steps + 1)]
    steps = [
        compare_step(em, seen.X, *states[t : t + 2], refreshed=t > 0, dtype=dtype, bound=bounds.steps[t])
        for t in range(run.steps)
    ]
    first = path.weights[:, 0].double(), seen.means
    reference = reference_path(seen.X, *first, run.steps, seen.covariances, kind)
    comparable, losses, covariance_error = _covariance_paths(em, seen.X, path, reference)
    result = Measurement(
        problem=problem,
        em=em,
        run=run,
        steps=steps,
        bounds=bounds,
        em_weights=reference.weights,
        em_means=reference.means,
        path_error=length(path.means.to(torch.float64) - reference.means)[:, 1:],
        path_weight_error=(path.weights.to(torch.float64) - reference.weights).abs()[:, 1:],
        comparable=comparable,
        records=[],
        em_covariances=reference.covariances,
        path_covariance_error=covariance_error,
        losses=losses,
        evaluated=evaluated,
    )
    shares = [
        Rounding.of(
            em,
            StepData.uniform(seen.X, s.weights, s.means, run.refreshed or t > 0, s.covariances, kind),
            *(dtype, bounds.steps[t]),
        )
        for t, s in enumerate(states[:-1])
    ]
    return replace(result, records=[_record(result, t, shares[t], check) for t in range(run.steps)])


@dataclass(frozen=True, eq=False)
class _Path:
    """The states of a run: (B, L + 1, K), (B, L + 1, K, d), (B, L + 1, ...) or None."""

    weights: Tensor
    means: Tensor
    covariances: Tensor | None

    def at(self, t: int) -> StepState:
        """The state after t steps."""
        return StepState(
            self.weights[:, t],
            self.means[:, t],
            None if self.covariances is None else self.covariances[:, t],
        )


def _on_cpu(run: EMRun) -> _Path:
    S = run.path_covariances
    found = None if S is None else symmetric(S.cpu(), run.covariance_type)
    return _Path(run.path_weights.cpu(), run.path_means.cpu(), found)


def _covariance_paths(
    em: AnyEM, X: Tensor, path: _Path, reference: EMPath
) -> tuple[Tensor, list[PathLoss] | None, Tensor | None]:
    """Where both paths can be compared (B, L), what ends them, the distance of covariances (B, L, ...)."""
    kind, span = em.covariance_type, em.eigenvalues
    if path.covariances is None or reference.covariances is None or span is None:
        return reference.defined, None, None
    layers_out = out_of_range(path.covariances, kind, span)
    layers_have = ~layers_out.any(-1)
    em_has, losses, comparable = torch.ones(len(X), dtype=torch.bool), [], []
    for t in range(path.weights.shape[1] - 1):
        state = reference.weights[:, t], reference.means[:, t], reference.covariances[:, t]
        lost = Lost.of(reference_step(X, *state, kind), kind, span)
        losses.append(PathLoss(lost.at(em_has), layers_out[:, t + 1] & layers_have[:, t, None]))
        em_has = em_has & ~lost.tasks
        layers_have[:, t + 1] &= layers_have[:, t]
        comparable.append(em_has & layers_have[:, t])
    return (
        torch.stack(comparable, 1),
        losses,
        distance(path.covariances, reference.covariances, kind)[:, 1:],
    )


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
    if m.path_covariance_error is not None and m.bounds.covariance is not None:
        kept = m.path_covariance_error[:, t] <= m.bounds.covariance[:, t]
        broken_path += int((holds[:, None] & ~kept).sum())
    ratios = [
        ((limit / error).masked_fill(~at, torch.inf), limit, error) for limit, error, at in step.limits()[::2]
    ]
    ratio, limit, error = min(ratios, key=lambda found: float(found[0].min()))
    tightest = int(ratio.argmin())
    passed = broken_steps == 0 and broken_path == 0
    errors = m.path_error[:, t].amax(-1)[m.comparable[:, t]]
    claim = f"EM in attention, step {t + 1}, is within its bounds: {m.problem.label}"
    at = float(limit.flatten()[tightest]), float(error.flatten()[tightest])
    said = note(step, m.losses[t] if m.losses else None, m.em.eigenvalues)
    line = check.record(claim, *at, len(m.problem.X), passed, said)
    largest = m.bounds.mean[:, t].amax(-1)
    return StepRecord(
        line,
        Setting(
            *(m.problem.name, *m.problem.sizes, m.problem.start, len(m.problem.X), m.run.steps),
            *(m.em.radius, m.em.floor, pieces_mean(m.em), m.em.pieces),
            covariance_type=None if m.em.eigenvalues is None else m.em.covariance_type,
            eigenvalues=m.em.eigenvalues,
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
            **_covariances_of(step),
        ),
        AllSteps(
            largest_mean_error=Spread.of(errors),
            largest_weight_error=Spread.of(m.path_weight_error[:, t].amax(-1)[m.comparable[:, t]]),
            bound_claimed_for_tasks=int(holds.sum()),
            bound_below_data_diameter=int(informative.sum()),
            bound=Spread.of(largest[informative]),
            ratio=Spread.of((largest / m.path_error[:, t].amax(-1))[informative]),
            lipschitz=Spread.of(m.bounds.lipschitz[:, t][holds]) if t else None,
            largest_covariance_error=None
            if m.path_covariance_error is None
            else Spread.of(m.path_covariance_error[:, t].amax(-1)[m.comparable[:, t]]),
        ),
        undefined_components=int((bound.undefined | step.lost.empty).sum()),
        dying_components=int(step.dying.sum()),
        singular_components=int(step.lost.singular.sum()),
        outside_components=int(step.lost.outside.sum()),
        evaluated=m.evaluated,
    )


def _covariances_of(step: StepComparison) -> dict[str, Spread]:
    """What a step says of covariances; nothing of unit ones."""
    error, bound, at = step.covariance_error, step.bound, step.covariances_defined
    if error is None or bound.covariance_instance is None or bound.covariance_apriori is None:
        return {}
    return {
        "covariance_error": Spread.of(error[at]),
        "covariance_bound": Spread.of(bound.covariance_instance[at]),
        "covariance_apriori_bound": Spread.of(bound.covariance_apriori[at]),
        "covariance_ratio": Spread.of((bound.covariance_instance / error)[at]),
    }


def _diameter(X: Tensor) -> Tensor:
    return length(X.amax(1) - X.amin(1))
