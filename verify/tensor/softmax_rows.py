"""The measurements of the softmax tensor power check: error against eps, sink, pairs and dtype."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from constructions.language.hypotheses import LostDirectionError
from constructions.tensor_power.relu_bounds import (
    contract,
    euclidean,
    natural_scale,
    reference_bound,
)
from constructions.tensor_power.softmax import (
    UNIT_BOUND,
    SoftmaxTensorPower,
    softmax_tensor_power_construction,
)
from constructions.tensor_power.softmax_bounds import (
    Heads,
    epsilon_for,
    expected_rounding,
    largest_product,
    predicted_error,
    step_bound,
)
from verify.intervals.rounded_up import Evaluated, rounded_up, worse
from verify.tensor.data import TensorProblem, orthogonal_problem
from verify.tensor.measure import Runtime, along_path
from verify.tensor.rows import PathRow, Recovered, path_rows, recovery_row, with_certificates
from verify.tensor.theorem import SOFTMAX

EPSILONS = tuple(float(e) for e in np.logspace(-5.5, 0, 23))
SINKS = (0.0, 2.0, 5.0, 8.0, 12.0, 16.0, 20.0, 24.0, 28.0, 31.75, 36.0, 48.0, 63.75)
ROUNDING_SHARE, LARGEST_REACH = 0.05, 0.5
"""A slope is fitted where rounding is predicted below this share of the error, which changes it by 0.1 %, and
``p eps |a|`` below this size, where the next order of the error adds a few percent at most."""


@dataclass(frozen=True)
class Point:
    """One plain step of every instance with one set of weights.

    Attributes:
        error, predicted, bound: |.|_2 over that of the natural scale, median over the instances; predicted is
            the approximation and leakage of each instance with the rounding expected (a model, no bound).
        largest: largest error. margin: least bound over error, entry by entry. ratio: its median.
        rounding: share of the predicted error that is rounding, median. reach: median of ``p eps max |a|``.
        broken: entries above their bound. evaluated: how the bounds were.
    """

    problem: str
    dtype: str
    pairs: int
    epsilon: float
    sink: float
    instances: int
    error: float
    predicted: float
    bound: float
    largest: float
    margin: float
    ratio: float
    rounding: float
    reach: float
    broken: int
    evaluated: Evaluated = "float64"


@dataclass(frozen=True)
class WithoutSink:
    """Median part of ``T(I, v, v)`` that is lost without the sink."""

    problem: str
    lost: float


def one_step_construction(
    problem: TensorProblem, max_dim: int, heads: Heads, dtype: torch.dtype
) -> SoftmaxTensorPower:
    """One plain step; its bound on |v_k| covers the start and the result of ``problem``, error and all."""
    error = step_bound(problem.T, problem.v, heads, max_dim, dtype).total
    reach = torch.maximum(problem.v.abs(), natural_scale(problem.T, problem.v) + error)
    bound = 2.0 * max(1.0, float(reach.max()))
    return softmax_tensor_power_construction(
        max_dim, 1, heads.epsilon, heads.pairs, heads.sink, "none", bound
    )


def step_errors(
    power: SoftmaxTensorPower, problem: TensorProblem, on: Runtime, printed: bool = True
) -> tuple[Tensor, Tensor, Evaluated]:
    """(B, d) error of one plain step against float64, and the bound on it, both sides' rounding included.

    The bound is rounded up where it is ``printed``, as it says last; searches take float64's value.

    The layers are called without the checks of a run: a result that is rounded to 0 is an error like others.
    """
    layers = power.evaluator(on.evaluation, on.dtype, on.device)
    with torch.no_grad():
        start = layers.start(power.tokens(power.gather(problem.T, problem.v, on.dtype, on.device)))
        after = power.vector(layers.block(start)[-1])
    found = after[:, : problem.dim].to("cpu", torch.float64)
    path = torch.stack([problem.v, contract(problem.T, problem.v)], 1)

    def both() -> Tensor:
        own = reference_bound(problem.T, path, False)
        return power.step_error(problem.T, problem.v, on.dtype, first=True).heads + own.entries[:, 1]

    bound, evaluated = rounded_up(both) if printed else (both(), "float64")
    return (found - path[:, 1]).abs(), bound, evaluated


def measure_point(
    problem: TensorProblem, max_dim: int, heads: Heads, on: Runtime, printed: bool = False
) -> Point:
    """One plain step; ``problem`` holds numbers of the dtype. Sweeps take float64's bounds, but for one."""
    power = one_step_construction(problem, max_dim, heads, on.dtype)
    error, bound, evaluated = step_errors(power, problem, on, printed)
    scale = natural_scale(problem.T, problem.v).norm(dim=-1)
    expected = expected_rounding(problem.T, heads, on.dtype).norm(dim=-1)
    predicted = torch.hypot(predicted_error(problem.T, problem.v, heads).norm(dim=-1), expected)
    ratio = torch.where(error > 0, bound / error, math.inf)
    sizes = error.norm(dim=-1) / scale
    reach = heads.pairs * heads.epsilon * problem.v.abs().amax(-1).square().median()
    length, how = (
        rounded_up(lambda: bound.norm(dim=-1) / scale) if printed else (bound.norm(dim=-1) / scale, evaluated)
    )
    medians = sizes, predicted / scale, length
    return Point(
        *(problem.name, str(on.dtype).removeprefix("torch.")),
        *(heads.pairs, heads.epsilon, heads.sink, len(error)),
        *(float(values.median()) for values in medians),
        largest=float(sizes.max()),
        margin=float(ratio.min()),
        ratio=float(ratio.median()),
        rounding=float((expected / predicted).median()),
        reach=float(reach),
        broken=int((~(error <= bound)).sum()),
        evaluated=worse(evaluated, how),
    )


@dataclass(frozen=True)
class Best:
    """The best step size for one number of pairs: measured on the grid, and predicted.

    Attributes:
        epsilon, error: best of the grid. predicted_epsilon, predicted_error, error_there: the prediction,
            what it predicts, and what is measured at it. slope: of log error over log eps where rounding is
            small (NaN with fewer than three points there).
    """

    problem: str
    dtype: str
    pairs: int
    sink: float
    heads: int
    epsilon: float
    error: float
    predicted_epsilon: float
    predicted_error: float
    error_there: float
    slope: float


def sweep_epsilon(
    problem: TensorProblem, max_dim: int, pairs: int, sink: float, on: Runtime
) -> tuple[list[Point], Best]:
    """Error against eps for one number of pairs; the last point is at the predicted best eps."""
    epsilons = [e / largest_product(problem.v) for e in EPSILONS]
    grid = [measure_point(problem, max_dim, Heads(e, pairs, sink), on) for e in epsilons]
    chosen = epsilon_for(problem.v, pairs, sink, on.dtype)
    there = measure_point(problem, max_dim, Heads(chosen, pairs, sink), on, printed=True)
    lowest = min(grid, key=lambda point: point.error)
    measured, predicted = (lowest.epsilon, lowest.error), (chosen, there.predicted, there.error)
    where = problem.name, lowest.dtype, pairs, sink, 2 * pairs * max_dim
    return [*grid, there], Best(*where, *measured, *predicted, fitted_slope(grid))


def fitted_slope(points: list[Point]) -> float:
    """Least-squares slope of log error over log eps, between rounding and the next order of the error."""
    used = [p for p in points if p.error > 0 and p.rounding < ROUNDING_SHARE and p.reach <= LARGEST_REACH]
    if len(used) < 3:
        return math.nan
    x, y = (np.log([getattr(p, name) for p in used]) for name in ("epsilon", "error"))
    return float(np.polyfit(x, y, 1)[0])


def sweep_sink(problem: TensorProblem, max_dim: int, pairs: int, on: Runtime) -> list[Point]:
    """Error against the sink's height, each at its predicted best eps; at 0 it is a token like the others."""
    points = []
    for sink in SINKS:
        epsilon = epsilon_for(problem.v, pairs, max(sink, 1.0), on.dtype)
        points.append(measure_point(problem, max_dim, Heads(epsilon, pairs, sink), on))
    return points


def without_sink(problem: TensorProblem, max_dim: int, heads: Heads, dtype: torch.dtype) -> float:
    """Median part of ``T(I, v, v)`` that is lost when the sink token is dropped, the weights left alone.

    The result is first rescaled as well as can be, so that what is measured is the direction lost, not a
    scale; 1 where nothing is left.
    """
    power = one_step_construction(problem, max_dim, heads, dtype)
    h, mask = power.embed(power.gather(problem.T, problem.v, dtype))
    mask[:, 0] = False
    with torch.no_grad():
        after = power.to_transformer(dtype)(h, mask)
    found = after[:, 1, power.construction.stream.v.slice].to(torch.float64)[:, : problem.dim]
    exact = contract(problem.T, problem.v)
    size = found.square().sum(-1, keepdim=True)
    fit = torch.where(size > 0, (found * exact).sum(-1, keepdim=True) / size, 0.0)
    return float((euclidean(fit * found - exact) / euclidean(exact)).nanmedian())


def form_of(pairs: int) -> str:
    """What rows call the construction with so many pairs."""
    return f"softmax, p={pairs}"


def normalised_power(
    problem: TensorProblem,
    max_dim: int,
    steps: int,
    pairs: int,
    epsilon: float | None,
    sink: float,
    dtype: torch.dtype,
) -> SoftmaxTensorPower:
    """The normalised iteration for the starts of a problem; ``epsilon`` None: the predicted best."""
    step = epsilon_for(problem.v, pairs, sink, dtype) if epsilon is None else epsilon
    start = max(UNIT_BOUND, float(problem.v.abs().max()))
    return softmax_tensor_power_construction(max_dim, steps, step, pairs, sink, bound=start)


def normalised_rows(
    problem: TensorProblem,
    max_dim: int,
    steps: int,
    pairs: list[int],
    epsilon: float | None,
    sink: float,
    on: Runtime,
) -> tuple[list[PathRow], list[str]]:
    """Every step of the normalised iteration for each p; ``epsilon`` None: the predicted best.

    And a line for each p whose products drown beside the sink before the last step: see :func:`drowns`.
    """
    rows, ended = [], []
    for p in pairs:
        power = normalised_power(problem, max_dim, steps, p, epsilon, sink, on.dtype)
        taken = steps
        try:
            found = along_path(power, problem, on, taken)
        except LostDirectionError as lost:
            if not drowns(power, problem, on, lost):
                raise
            taken = lost.step - 1
            ended.append(
                f"{problem.name}, p={p}: from step {lost.step} on T(I, v, v) is within rounding of 0 in "
                f"{on.dtype}, for starts as long as these; scale the start to 1, or use float64"
            )
            found = along_path(power, problem, on, taken) if taken else None
        made = path_rows(problem, form_of(p), found) if found else []
        rows += with_certificates(made, SOFTMAX, power, problem, on)
    return rows, ended


def drowns(power: SoftmaxTensorPower, problem: TensorProblem, on: Runtime, lost: LostDirectionError) -> bool:
    """Whether the proved error of that step reaches every entry of ``T(I, v, v)``: the layers may write 0.

    Which kernel computes the attention then decides between 0 and noise. A wrong construction that writes 0
    where the bound allows none is not excused, nor a T whose squares leave the range: T must be scaled.
    """
    v, before = problem.v, lost.step - 1
    T = problem.T.expand(len(v), -1, -1, -1)
    if before:
        run = power.run(T, v, steps=before, **on.arguments)
        v = run.v.to("cpu", torch.float64)
    allowed = power.step_error(T, v, on.dtype, first=before == 0).heads[lost.task]
    exact = contract(T, v)[lost.task].abs()
    range_of = torch.finfo(on.dtype)
    in_range = math.sqrt(range_of.tiny) < float(exact.max()) < math.sqrt(range_of.max)
    return in_range and bool((allowed.isfinite() & (exact <= allowed)).all())


def recovery_rows(
    dim: int,
    components: int,
    pairs: list[int],
    epsilon: float | None,
    sink: float,
    on: Runtime,
    generator: torch.Generator,
) -> list[Recovered]:
    """Every component of a random orthogonally decomposable tensor, for each number of pairs."""
    problem = orthogonal_problem(dim, components, generator).rounded(on.dtype)
    rows = []
    for p in pairs:
        # The last steps run at the components themselves, whose products v_j v_m set the amplitude.
        step = epsilon_for(problem.components, p, sink, on.dtype) if epsilon is None else epsilon
        power = softmax_tensor_power_construction(dim, 1, step, p, sink)
        rows.append(recovery_row(form_of(p), power, problem, on, generator))
    return rows
