"""``python -m verify.softmax_tensor_power``: cubic tensor power iteration in softmax attention with a sink.

Without a tensor it runs random ones; with ``--tensor`` a person's own, symmetric or not. Exit code 0 when
every bound held, 1 when one is broken, 2 for bad input.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from console.errors import BadInputError, checking_input
from console.folder import default_out
from console.options import DTYPES, DeviceName, DtypeName, Out, Seed, plain_value, real, whole_numbers
from console.terminal import progress
from constructions.tensor_power.sinh_pairs import MAX_PAIRS
from constructions.tensor_power.softmax import SOURCE, highest_sink, softmax_tensor_power_construction
from constructions.tensor_power.softmax_bounds import Heads, largest_product
from verify.engine.report import Report
from verify.resource_rows import SINK, softmax_resources
from verify.tensor.data import TensorProblem
from verify.tensor.measure import Runtime
from verify.tensor.options import (
    Dims,
    MaxDim,
    StartFile,
    Steps,
    TensorFile,
    TensorOptions,
    Trials,
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
DEFAULT_DIMS, DEFAULT_TRIALS, MAX_SINK = [6, 16], 100, 60.0
MOST_REACH = 20.0
"""Of ``p eps |v_j v_m|``, whose exponential is taken."""
RECOVERED = ((2, 2), (8, 8))
SHOWN_DIM = 2

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(help=__doc__)
def main(
    context: typer.Context,
    tensor: TensorFile = None,
    start: StartFile = None,
    dims: Dims = None,
    max_dim: MaxDim = None,
    pairs: Annotated[str, typer.Option(help="p, pairs of heads a product, as in 1,2,3")] = "1,2,3",
    epsilon: Annotated[
        float | None, typer.Option(parser=real, help="of the normalised runs; default: the predicted best")
    ] = None,
    sink: Annotated[
        float | None, typer.Option(parser=real, help="score c of the sink; default 36, in float32 15.75")
    ] = None,
    steps: Steps = 8,
    trials: Trials = None,
    dtype: DtypeName = "float64",
    device: DeviceName = "cpu",
    seed: Seed = 0,
    out: Out = None,
) -> int:
    """See the module's docstring."""
    options = TensorOptions.checked(tensor, start, dims, max_dim, steps, trials, dtype, device, seed)
    counts = whole_numbers("pairs", pairs) or []
    if max(counts) > MAX_PAIRS:
        raise BadInputError(f"--pairs {pairs}: {max(counts)} is too many; at most {MAX_PAIRS} are taken")
    if epsilon is not None and not 0 < epsilon <= 1:
        raise BadInputError(f"--epsilon {epsilon:g}: it lies in (0, 1]")
    if sink is not None and not 1 <= sink <= MAX_SINK:
        raise BadInputError(
            f"--sink {sink:g}: it lies between 1 and {MAX_SINK:g}; lower ones are swept anyway"
        )
    out = out or default_out("softmax_tensor_power", context, ("tensor",))
    return check(options, out, sorted(counts), epsilon, sink, Console())


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
