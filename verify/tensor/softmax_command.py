"""What ``python -m verify.softmax_tensor_power`` does once its options are read."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console

from console.errors import BadInputError, checking_input
from console.options import DTYPES, plain_value
from console.terminal import progress
from constructions.tensor_power.softmax import SOURCE, highest_sink, softmax_tensor_power_construction
from constructions.tensor_power.softmax_bounds import Heads, largest_product
from verify.engine.report import Report
from verify.resource_rows import SINK, softmax_resources
from verify.tensor.data import TensorProblem
from verify.tensor.measure import Runtime
from verify.tensor.options import (
    TensorOptions,
    page_of,
    problems,
    source,
)
from verify.tensor.relu_rows import Row
from verify.tensor.softmax_figures import NAMES, pictures
from verify.tensor.softmax_rows import (
    Best,
    Point,
    normalised_rows,
    recovery_rows,
    sweep_epsilon,
    sweep_sink,
    without_sink,
)
from verify.tensor.tables import print_softmax

COMMAND = "verify.softmax_tensor_power"
DEFAULT_DIMS, DEFAULT_TRIALS = [6, 16], 100
MOST_REACH = 20.0
"""Of ``p eps |v_j v_m|``, whose exponential is taken."""
RECOVERED = ((2, 2), (8, 8))
SHOWN_DIM = 2


def check(
    options: TensorOptions,
    out: Path,
    pairs: list[int],
    epsilon: float | None,
    sink: float | None,
    console: Console,
) -> int:
    """Run the check that the options describe and return the exit code.

    Raises:
        BadInputError: bad input, before anything is written.
    """
    generator = torch.Generator().manual_seed(options.seed)
    given = problems(options, DEFAULT_DIMS, DEFAULT_TRIALS, generator, max(pairs))
    score = SINK[options.dtype] if sink is None else sink
    if epsilon is not None:
        _check_epsilon(epsilon, max(pairs), score, options.dtype, given)
    chosen = {"pairs": pairs, "epsilon": epsilon, "sink": score}
    template = Path(__file__).with_name("softmax_report.html")
    report = Report(out, COMMAND, NAMES, options.run(**chosen), template)
    dtype, on = options.dtype, options.runtime
    points: list[Point] = []
    best: list[Best] = []
    sinks: list[Point] = []
    paths: list[Row] = []
    ended: list[str] = []
    recovered: list[Row] = []
    dropped: list[Row] = []
    kinds = [getattr(torch, name) for name in DTYPES]
    others = [kind for kind in kinds if kind != dtype and given[0].fits(kind)]
    deflated = () if options.tensor is not None else RECOVERED

    def sweep(problem: TensorProblem, d0: int, score: float, on: Runtime) -> None:
        for p in pairs:
            found, lowest = sweep_epsilon(problem, d0, p, score, on)
            points.extend(found)
            best.append(lowest)

    with checking_input(source(options)), progress(len(given) + len(others) + len(deflated)) as start:
        for problem in given:
            start(problem.name)
            d0 = options.max_dim or problem.dim
            sweep(problem, d0, score, on)
            sinks += sweep_sink(problem, d0, pairs[-1], on)
            heads = Heads(best[-1].predicted_epsilon, pairs[-1], score)
            lost = without_sink(problem, d0, heads, dtype)
            dropped.append({"problem": problem.name, "lost": lost})
            rows, lines = normalised_rows(problem, d0, options.steps, pairs, epsilon, score, on)
            paths += rows
            ended += lines
        for other in others:
            start(f"{given[0].name} in {plain_value(other)}")
            sweep(
                given[0].rounded(other),
                options.max_dim or given[0].dim,
                SINK[other],
                Runtime(other, on.device),
            )
        for dim, components in deflated:
            start(f"deflation, d={dim}, K={components}")
            recovered += recovery_rows(dim, components, pairs, epsilon, score, on, generator)
    broken = sum(p.broken for p in (*points, *sinks)) + sum(row["broken"] for row in (*paths, *recovered))
    shown = softmax_tensor_power_construction(SHOWN_DIM, options.steps, best[0].predicted_epsilon, 1, score)
    dims = sorted({problem.dim for problem in given})
    results = options.results(
        SOURCE,
        broken,
        chosen,
        instances=sum(p.instances for p in (*points, *sinks)),
        best=list(map(asdict, best)),
        epsilon=list(map(asdict, points)),
        sink=list(map(asdict, sinks)),
        without_sink=dropped,
        paths=paths,
        ended=ended,
        recovery=recovered,
        resources=softmax_resources(dims, options.steps, pairs, dtype),
    )
    print_softmax(console, results)
    return report.write(console, results, pictures(points, best, sinks, paths), page_of(shown, paths))


def _check_epsilon(
    epsilon: float, pairs: int, sink: float, dtype: torch.dtype, given: list[TensorProblem]
) -> None:
    """Refuse an epsilon whose weights, or the exponentials of whose scores, leave the range."""
    highest = highest_sink(dtype, epsilon, pairs)
    if sink > highest:
        raise BadInputError(
            f"--epsilon {epsilon:g}: e^c / eps leaves the range of {dtype} for the sink c = {sink:g}; "
            + (f"c up to {highest:.4g} does not" if highest >= 1 else "take a larger one")
        )
    reached = pairs * epsilon * max(largest_product(problem.v) for problem in given)
    if reached > MOST_REACH:
        raise BadInputError(
            f"--epsilon {epsilon:g}: p eps |v_j v_m| reaches {reached:.3g} with these starts; "
            f"at most {MOST_REACH:g} is taken"
        )
