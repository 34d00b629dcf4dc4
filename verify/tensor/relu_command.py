"""``python -m verify.tensor_power``: cubic tensor power iteration as ReLU attention, exactly and in floats.

Without a tensor it runs random ones over a grid; with ``--tensor`` a person's own, symmetric or not. Exit
code 0 when every claim held, 1 when one is broken, 2 for bad input.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from console.errors import BROKEN, BadInputError, checking_input
from console.folder import default_out
from console.options import at_least_one, whole
from console.output import check_out, write_results
from console.terminal import progress
from constructions.tensor_power.relu import SOURCE, tensor_power_construction
from verify.resource_rows import HEADER, tensor_power_resources
from verify.tensor.data import TensorProblem
from verify.tensor.exact_checks import check_rational, check_symbolic
from verify.tensor.options import (
    DeviceName,
    Dims,
    DtypeName,
    MaxDim,
    Out,
    Seed,
    StartFile,
    Steps,
    TensorFile,
    TensorOptions,
    Trials,
    plain_value,
    problems,
    source,
)
from verify.tensor.relu_figures import NAMES, pictures
from verify.tensor.relu_rows import (
    Row,
    last_steps,
    normalised_rows,
    one_step_rows,
    plain_rows,
    recovery_rows,
)
from verify.tensor.relu_table import print_results

COMMAND = "verify.tensor_power"
DEFAULT_DIMS, DEFAULT_TRIALS, MOST_STEPWISE_DIM = [2, 8, 32, 64], 5, 32
"""Beyond d = 32 the default grid takes one step only: a step there costs seconds."""
MOST_PIECES = 10**6
RECOVERED = ((2, 2), (8, 8), (16, 5))
SHOWN_DIM = 2

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(help=__doc__)
def main(
    context: typer.Context,
    tensor: TensorFile = None,
    start: StartFile = None,
    dims: Dims = None,
    max_dim: MaxDim = None,
    steps: Steps = 8,
    pieces: Annotated[int, typer.Option(parser=whole, help="linear pieces of the piecewise norm")] = 1024,
    trials: Trials = None,
    instances: Annotated[
        int, typer.Option(parser=whole, help="rational instances that must agree exactly, at least 1,000")
    ] = 1000,
    dtype: DtypeName = "float64",
    device: DeviceName = "cpu",
    seed: Seed = 0,
    out: Out = None,
) -> int:
    """See the module's docstring."""
    options = TensorOptions.checked(tensor, start, dims, max_dim, steps, trials, dtype, device, seed)
    at_least_one("pieces", pieces)
    if pieces > MOST_PIECES:
        raise BadInputError(f"--pieces {pieces}: at most {MOST_PIECES} are taken")
    if instances < 1000:
        raise BadInputError(f"--instances {instances}: at least 1000 rational instances are checked")
    out = out or default_out("tensor_power", context, ("tensor",))
    return check(options, out, pieces, instances, Console())


def check(options: TensorOptions, out: Path, pieces: int, instances: int, console: Console) -> int:
    """Run the check that ``options`` describe and return the exit code.

    Raises:
        BadInputError: bad input, before anything is written.
    """
    generator = torch.Generator().manual_seed(options.seed)
    given = problems(options, DEFAULT_DIMS, DEFAULT_TRIALS, generator)
    own = options.tensor is not None
    run = options.run(pieces=pieces, instances=instances)
    check_out(out, COMMAND, NAMES, run)
    one_step: list[Row] = []
    paths: list[Row] = []
    growth: list[Row] = []
    recovered: list[Row] = []
    with (
        checking_input(source(options)),
        progress(len(given) + (0 if own else len(RECOVERED)) + 2) as start,
    ):
        for problem in given:
            start(problem.name)
            _measure(problem, options, pieces, one_step, paths, growth)
        for dim, components in () if own else RECOVERED:
            start(f"deflation, d={dim}, K={components}")
            recovered += recovery_rows(dim, components, pieces, options.dtype, options.device, generator)
        start("identities for all real T and v")
        exact = check_symbolic(options.seed, instances)
        start("rational instances")
        exact += check_rational(options.seed, instances)
    broken = sum(row["broken"] for row in (*one_step, *paths, *recovered))
    broken += sum(not record.passed for record in exact)
    shown = tensor_power_construction(SHOWN_DIM, options.steps)
    resources = tensor_power_resources(sorted({problem.dim for problem in given}), options.steps, pieces)
    results: dict[str, Any] = {
        "source": SOURCE,
        "passed": broken == 0,
        "broken": broken,
        "seed": options.seed,
        "dtype": plain_value(options.dtype),
        "settings": options.plain() | {"pieces": pieces, "instances": instances},
        "exact": [record.as_dict() for record in exact],
        "one_step": one_step,
        "paths": paths,
        "growth": growth,
        "recovery": recovered,
        "resources": resources,
    }
    print_results(console, results)
    figures = pictures(one_step, paths, growth, shown)
    context = {
        "explanation": shown.explain(),
        "shown_dim": SHOWN_DIM,
        "header": HEADER,
        "last": last_steps(paths),
        "settings": "\n".join(f"{k}: {v}" for k, v in results["settings"].items()),
    }
    write_results(
        out,
        COMMAND,
        run,
        results,
        figures,
        NAMES,
        Path(__file__).with_name("relu_report.html"),
        context,
    )
    console.print(f"wrote {out / 'index.html'}, results.json, {len(figures)} figures", markup=False)
    return 0 if results["passed"] else BROKEN


def _measure(
    problem: TensorProblem,
    options: TensorOptions,
    pieces: int,
    one_step: list[Row],
    paths: list[Row],
    growth: list[Row],
) -> None:
    d0, dtype, device = options.max_dim or problem.dim, options.dtype, options.device
    one_step += one_step_rows(problem, d0, dtype, device)
    if problem.dim > MOST_STEPWISE_DIM and options.tensor is None and options.dims is None:
        return
    rows, grown = plain_rows(problem, d0, options.steps, dtype, device)
    growth.append(grown)
    paths += rows
    paths += normalised_rows(problem, d0, options.steps, pieces, dtype, device)
