"""Measure the EM construction on a problem: errors step by step, beside every bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from baselines.em_paths import reference_path
from constructions.em.bounds import one_step_bound
from constructions.em.path_bounds import PathBound, path_bound
from constructions.em.run import EMRun
from constructions.em.step_rounding import StepData
from constructions.em.weights import SOURCE, EMConstruction
from constructions.language.rounding import length
from verify.em.compare import StepComparison, compare_step
from verify.em.problems import Problem
from verify.engine.record import Check


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
        records: one a step, for JSON.
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
    records: list[dict[str, Any]]

    @property
    def passed(self) -> bool:
        """Whether no bound was broken at any step."""
        return all(record["passed"] for record in self.records)


def measure(
    em: EMConstruction, problem: Problem, dtype: torch.dtype, device: torch.device | str, seed: int
) -> Measurement:
    """Run ``em`` on ``problem`` and compare every step.

    The data are first rounded to ``dtype``; both sides see the same numbers, and the reference works on them
    in float64.
    """
    check = Check(SOURCE, seed, dtype)
    X, weights, means = (v.to(dtype).to(torch.float64) for v in (problem.X, problem.weights, problem.means))
    run = em.run(X, weights, means, dtype=dtype, device=device)
    path_weights, path_means = run.path_weights.cpu(), run.path_means.cpu()
    data = StepData.uniform(X, weights, means, refreshed=False)
    masks = data.component_mask, data.n_features
    bounds = path_bound(em, X, data.token_mask, path_weights, path_means, *masks, dtype, run.refreshed)
    states = list(zip(path_weights.unbind(1), path_means.unbind(1), strict=True))
    steps = [
        compare_step(em, X, states[t], states[t + 1], refreshed=t > 0, dtype=dtype, bound=bounds.steps[t])
        for t in range(run.steps)
    ]
    em_weights, em_means, comparable = reference_path(X, path_weights[:, 0].double(), means, run.steps)
    result = Measurement(
        problem=problem,
        em=em,
        run=run,
        steps=steps,
        bounds=bounds,
        em_weights=em_weights,
        em_means=em_means,
        path_error=length(path_means.to(torch.float64) - em_means)[:, 1:],
        path_weight_error=(path_weights.to(torch.float64) - em_weights).abs()[:, 1:],
        comparable=comparable,
        records=[],
    )
    shares = _rounding_shares(em, X, path_weights, path_means)
    result.records.extend(_record(result, t, shares[t], check) for t in range(run.steps))
    return result


def _rounding_shares(em: EMConstruction, X: Tensor, weights: Tensor, means: Tensor) -> list[dict[str, float]]:
    """Median rounding part of the one-step bound of a mean, in both precisions, at every step."""
    shares = []
    for t in range(weights.shape[1] - 1):
        data = StepData.uniform(X, weights[:, t], means[:, t], refreshed=t > 0)
        parts = {
            dtype: one_step_bound(em, data, dtype).mean_rounding for dtype in (torch.float32, torch.float64)
        }
        shares.append({str(dtype).removeprefix("torch."): float(v.median()) for dtype, v in parts.items()})
    return shares


def _record(m: Measurement, t: int, rounding: dict[str, float], check: Check) -> dict[str, Any]:
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
    dim, components, samples = m.problem.sizes
    passed = broken_steps == 0 and broken_path == 0
    errors = m.path_error[:, t].amax(-1)[m.comparable[:, t]]
    claim = f"EM in attention, step {t + 1}, is within its bounds: {m.problem.label}"
    at = float(limit.flatten()[tightest]), float(error.flatten()[tightest])
    record = check.record(claim, *at, len(m.problem.X), passed, _note(bound.undefined, bound.dying))
    settings = {
        "name": m.problem.name,
        "dim": dim,
        "components": components,
        "samples": samples,
        "start": m.problem.start,
        "tasks": len(m.problem.X),
        "steps": m.run.steps,
        "radius": m.em.radius,
        "floor": m.em.floor,
        "pieces_mean": m.em.pieces.total // 3,
        "pieces": {
            "log_resp": m.em.pieces.log_resp,
            "log_pi": m.em.pieces.log_pi,
            "square": m.em.pieces.square,
        },
    }
    return record.as_dict() | {
        "setting": settings,
        "step": t + 1,
        "broken": {"one_step": broken_steps, "path": broken_path},
        "one_step": {
            "mean_error": _spread(step.mean_error[step.defined]),
            "weight_error": _spread(step.weight_error[step.defined]),
            "instance_bound": _spread(bound.mean_instance[step.defined]),
            "apriori_bound": _spread(bound.mean_apriori[step.defined]),
            "instance_ratio": _spread(step.ratio()),
            "apriori_ratio": _spread((bound.mean_apriori / step.mean_error)[step.defined]),
            "rounding_part": rounding,
        },
        "path": {
            "largest_mean_error": _spread(errors),
            "largest_weight_error": _spread(m.path_weight_error[:, t].amax(-1)[m.comparable[:, t]]),
            "bound_claimed_for_tasks": int(holds.sum()),
            "bound_below_data_diameter": int(informative.sum()),
            "bound": _spread(m.bounds.mean[:, t].amax(-1)[informative]),
            "ratio": _spread((m.bounds.mean[:, t].amax(-1) / m.path_error[:, t].amax(-1))[informative]),
            "lipschitz": _spread(m.bounds.lipschitz[:, t][holds]) if t else None,
        },
        "undefined_components": int(bound.undefined.sum()),
        "dying_components": int(bound.dying.sum()),
    }


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


def _spread(values: Tensor) -> dict[str, float | None]:
    """Least, median, 90th percentile, largest; None for each where there is nothing to report."""
    ordered = values.to(torch.float64).flatten().sort().values
    ordered = ordered[~ordered.isnan()]
    if len(ordered) == 0:
        return dict.fromkeys(("min", "median", "p90", "max"))
    at = {"min": 0.0, "median": 0.5, "p90": 0.9, "max": 1.0}
    return {name: float(ordered[round(q * (len(ordered) - 1))]) for name, q in at.items()}
