"""The measurements of the tensor power check, each a row of plain values for JSON, tables and pictures."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from baselines.robust_tensor_power import tensor_power_iteration
from console.errors import BadInputError
from constructions.tensor_power.iteration import PowerIteration
from constructions.tensor_power.relu import TensorPowerConstruction, tensor_power_construction
from constructions.tensor_power.relu_bounds import relative_chord_error, required_offset
from verify.tensor.data import OrthogonalProblem, TensorProblem, orthogonal_problem
from verify.tensor.measure import PathErrors, Runtime, along_path, one_step, steps_in_range
from verify.tensor.recover import recover

Row = dict[str, Any]

NORM_MARGIN = 2.0
"""The piecewise norm covers what the reference meets, and this factor more on both sides."""

MOST_GROWTH_STEPS, MOST_GROWTH_SHOWN = 12, 32
"""Growth is computed for as many steps at least, and reported for as many at most: its error doubles too."""

RECOVERY_STARTS, RECOVERY_STEPS = 2, 12


def one_step_rows(problem: TensorProblem, max_dim: int, on: Runtime) -> list[Row]:
    """One plain step against exact arithmetic: pairs of heads, the least offset, attention that averages."""
    offset = max(
        required_offset(T, v, 1, False, dtype=on.dtype) for T, v in zip(problem.T, problem.v, strict=True)
    )
    rows = []
    for form, value, mean in (("pairs", None, False), ("offset", offset, False), ("pairs, 1/N", None, True)):
        power = tensor_power_construction(max_dim, 1, offset=value, divide_by_tokens=mean)
        found = one_step(power, problem, on)
        rows.append(
            {
                "problem": problem.name,
                "d": problem.dim,
                "form": form,
                "heads": power.construction.shape().layers[0].heads,
                "offset": value,
                "instances": len(problem.v),
                "error": found.relative_error,
                "bound": found.relative_bound,
                "broken": found.broken,
            }
        )
    return rows


def normalised_construction(
    form: str, max_dim: int, steps: int, pieces: int, norms: Tensor
) -> TensorPowerConstruction:
    """The construction with the norm called ``form``; a piecewise one covers ``norms``, and some more."""
    if form == "rms":
        return tensor_power_construction(max_dim, steps, normalise="rms")
    covered = float(norms.min()) / NORM_MARGIN, float(norms.max()) * NORM_MARGIN
    made = tensor_power_construction(max_dim, steps, normalise="piecewise", pieces=pieces, norm_range=covered)
    longest = 1.0 if made.inverse_sqrt is None else 1 + relative_chord_error(made.inverse_sqrt)
    if longest**2 > NORM_MARGIN:
        raise BadInputError(
            f"--pieces {pieces}: |v| would reach {longest:.3g} instead of 1, since |T(I, v, v)| covers "
            f"{covered[0]:.2g} to {covered[1]:.2g}; take more"
        )
    return made


def normalised_rows(problem: TensorProblem, max_dim: int, steps: int, pieces: int, on: Runtime) -> list[Row]:
    """Every step of the normalised iteration, by both norms."""
    norms = tensor_power_iteration(problem.T, problem.v, steps).norms
    rows = []
    for form in ("rms", "piecewise"):
        power = normalised_construction(form, max_dim, steps, pieces, norms)
        rows.extend(path_rows(problem, form, along_path(power, problem, on, steps)))
    return rows


def plain_rows(problem: TensorProblem, max_dim: int, steps: int, on: Runtime) -> tuple[list[Row], Row]:
    """Every step of the plain iteration that stays in range, and how it grows."""
    levels, possible = steps_in_range(problem, max(steps, MOST_GROWTH_STEPS), on.dtype)
    taken, levels = min(steps, possible), levels[:, : MOST_GROWTH_SHOWN + 1]
    growth = {
        "problem": problem.name,
        "d": problem.dim,
        "log10_length": levels.median(0).values.tolist(),
        "smallest": levels.min(0).values.tolist(),
        "largest": levels.max(0).values.tolist(),
        "steps_asked": steps,
        "steps_taken": taken,
        "reason": None if taken == steps else f"step {taken + 1} leaves the range of {on.dtype}",
    }
    if taken == 0:
        return [], growth
    power = tensor_power_construction(max_dim, taken)
    found = along_path(power, problem, on, taken)
    return path_rows(problem, "plain", found), growth


def path_rows(problem: TensorProblem, form: str, found: PathErrors) -> list[Row]:
    """A row for each step of a run, errors and bounds relative to the length of v."""
    rows = []
    for step in range(1, found.error.shape[1]):
        length = found.length[:, step]
        error, bound = found.error[:, step] / length, found.bound[:, step] / length
        claimed = bound.isfinite()
        margin = torch.where(claimed & (error > 0), bound / error, torch.inf)
        rows.append(
            {
                "problem": problem.name,
                "d": problem.dim,
                "form": form,
                "step": step,
                "instances": len(error),
                "error": float(error.median()),
                "largest_error": float(error.max()),
                "bound": float(bound.median()),
                "margin": float(margin.min()),
                "claimed": int(claimed.sum()),
                "broken": int((~(error <= bound)).sum()),
            }
        )
    return rows


def last_steps(paths: list[Row]) -> list[Row]:
    """The last row of each run, with the broken vectors of all its steps."""
    runs: dict[tuple[str, str], list[Row]] = {}
    for row in paths:
        runs.setdefault((row["problem"], row["form"]), []).append(row)
    return [rows[-1] | {"broken": sum(row["broken"] for row in rows)} for rows in runs.values()]


def recovery_rows(
    dim: int,
    components: int,
    pieces: int,
    on: Runtime,
    generator: torch.Generator,
    forms: tuple[str, ...] = ("rms", "piecewise"),
) -> list[Row]:
    """Every component of a random orthogonally decomposable tensor, by each norm."""
    problem = orthogonal_problem(dim, components, generator).rounded(on.dtype)
    # What is left after deflation can be small along a random start: the range is wide on that side.
    norms = torch.tensor([1e-5, 2.0])
    built = {form: normalised_construction(form, dim, 1, pieces, norms) for form in forms}
    return [recovery_row(form, power, problem, on, generator) for form, power in built.items()]


def recovery_row(
    form: str, power: PowerIteration, problem: OrthogonalProblem, on: Runtime, generator: torch.Generator
) -> Row:
    """How well ``power`` finds the components of ``problem`` with restarts and deflation."""
    found = recover(power, problem, RECOVERY_STARTS, RECOVERY_STEPS, on, generator)
    claimed = bool(found.bound.isfinite().all())
    return {
        "d": problem.dim,
        "components": len(problem.components),
        "form": form,
        "distinct": found.distinct,
        "distance": float(found.distance.max()),
        "error": float(found.error.max()),
        "bound": float(found.bound.max()),
        "eigenvalue_error": float(found.eigenvalue_error.max()),
        "claimed": claimed,
        "broken": int((~(found.error <= found.bound)).sum()) + int(claimed and not found.distinct),
    }
