"""The measurements of the ReLU tensor power check, each a row: one step, growth, runs with either norm."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.robust_tensor_power import tensor_power_iteration
from console.errors import BadInputError
from constructions.tensor_power.relu import TensorPowerConstruction, tensor_power_construction
from constructions.tensor_power.relu_bounds import relative_chord_error, required_offset
from verify.intervals.rounded_up import Evaluated
from verify.tensor.data import TensorProblem, orthogonal_problem
from verify.tensor.measure import Runtime, along_path, one_step, steps_in_range
from verify.tensor.rows import PathRow, Recovered, path_rows, recovery_row, with_certificates
from verify.tensor.theorem import RELU, RELU_PLAIN

NORM_MARGIN = 2.0
"""The piecewise norm covers what the reference meets, and this factor more on both sides."""

MOST_GROWTH_STEPS, MOST_GROWTH_SHOWN = 12, 32
"""Growth is computed for as many steps at least, and reported for as many at most: its error doubles too."""


@dataclass(frozen=True)
class OneStep:
    """One plain step: largest error and bound of an entry over its natural scale; entries above theirs.

    ``evaluated``: how the bound was.
    """

    problem: str
    d: int
    form: str
    heads: int
    offset: float | None
    instances: int
    error: float
    bound: float
    broken: int
    evaluated: Evaluated = "float64"


def one_step_rows(problem: TensorProblem, max_dim: int, on: Runtime) -> list[OneStep]:
    """One plain step against exact arithmetic: pairs of heads, the least offset, attention that averages."""
    offset = max(
        required_offset(T, v, 1, False, dtype=on.dtype) for T, v in zip(problem.T, problem.v, strict=True)
    )
    rows = []
    for form, value, mean in (("pairs", None, False), ("offset", offset, False), ("pairs, 1/N", None, True)):
        power = tensor_power_construction(max_dim, 1, offset=value, divide_by_tokens=mean)
        found = one_step(power, problem, on)
        of_step = found.relative_error, found.relative_bound, found.broken, found.evaluated
        heads = power.construction.shape().layers[0].heads
        rows.append(OneStep(problem.name, problem.dim, form, heads, value, len(problem), *of_step))
    return rows


def normalised_construction(
    form: str, max_dim: int, steps: int, pieces: int, norms: Tensor
) -> TensorPowerConstruction:
    """The construction with the norm called ``form``; a piecewise one covers ``norms``, and some more."""
    if form == "rms":
        return tensor_power_construction(max_dim, steps, normalise="rms")
    covered = float(norms.min()) / NORM_MARGIN, float(norms.max()) * NORM_MARGIN
    made = tensor_power_construction(max_dim, steps, normalise="piecewise", pieces=pieces, norm_range=covered)
    longest = 1.0 if made.inverse_sqrt is None else 1 + float(relative_chord_error(made.inverse_sqrt))
    if longest**2 > NORM_MARGIN:
        raise BadInputError(
            f"--pieces {pieces}: |v| would reach {longest:.3g} instead of 1, since |T(I, v, v)| covers "
            f"{covered[0]:.2g} to {covered[1]:.2g}; take more"
        )
    return made


def normalised_rows(
    problem: TensorProblem, max_dim: int, steps: int, pieces: int, on: Runtime
) -> list[PathRow]:
    """Every step of the normalised iteration, by both norms."""
    norms = tensor_power_iteration(problem.T, problem.v, steps).norms
    rows = []
    for form in ("rms", "piecewise"):
        power = normalised_construction(form, max_dim, steps, pieces, norms)
        found = path_rows(problem, form, along_path(power, problem, on, steps))
        rows.extend(with_certificates(found, RELU, power, problem, on))
    return rows


@dataclass(frozen=True)
class Growth:
    """log10 |v| of the plain iteration, median and range over the starts; how many steps were run."""

    problem: str
    d: int
    log10_length: list[float]
    smallest: list[float]
    largest: list[float]
    steps_asked: int
    steps_taken: int
    reason: str | None


def plain_rows(problem: TensorProblem, max_dim: int, steps: int, on: Runtime) -> tuple[list[PathRow], Growth]:
    """Every step of the plain iteration that stays in range, and how it grows."""
    levels, possible = steps_in_range(problem, max(steps, MOST_GROWTH_STEPS), on.dtype)
    taken, levels = min(steps, possible), levels[:, : MOST_GROWTH_SHOWN + 1]
    lengths = (found.values.tolist() for found in (levels.median(0), levels.min(0), levels.max(0)))
    reason = None if taken == steps else f"step {taken + 1} leaves the range of {on.dtype}"
    growth = Growth(problem.name, problem.dim, *lengths, steps_asked=steps, steps_taken=taken, reason=reason)
    if taken == 0:
        return [], growth
    power = tensor_power_construction(max_dim, taken)
    found = along_path(power, problem, on, taken)
    rows = path_rows(problem, "plain", found)
    return with_certificates(rows, RELU_PLAIN, power, problem, on), growth


def recovery_rows(
    dim: int,
    components: int,
    pieces: int,
    on: Runtime,
    generator: torch.Generator,
    forms: tuple[str, ...] = ("rms", "piecewise"),
) -> list[Recovered]:
    """Every component of a random orthogonally decomposable tensor, by each norm."""
    problem = orthogonal_problem(dim, components, generator).rounded(on.dtype)
    # What is left after deflation can be small along a random start: the range is wide on that side.
    norms = torch.tensor([1e-5, 2.0])
    built = {form: normalised_construction(form, dim, 1, pieces, norms) for form in forms}
    return [recovery_row(form, power, problem, on, generator) for form, power in built.items()]
