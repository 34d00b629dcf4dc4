"""``python -m verify.softmax_tensor_power``: cubic tensor power iteration in softmax attention with a sink.

Without a tensor it runs random ones; with ``--tensor`` a person's own, symmetric or not. Exit code 0 when
every bound held, 1 when one is broken, 2 for bad input.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from console.errors import BadInputError, run_command
from console.folder import default_out
from console.options import (
    Certify,
    DeviceName,
    DtypeName,
    EvaluationName,
    Out,
    Seed,
    real,
    usage,
    whole_numbers,
)
from console.starting import loading
from verify.tensor.arguments import Dims, MaxDim, Player, StartFile, Steps, TensorFile, Trials

MAX_SINK = 60.0

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(help=usage(__doc__))
def main(
    context: typer.Context,
    tensor: TensorFile = None,
    start: StartFile = None,
    dims: Dims = None,
    max_dim: MaxDim = None,
    pairs: Annotated[str, typer.Option(help="p, pairs of heads a product, as in 1,2,3")] = "1,2,3",
    epsilon: Annotated[
        float | None,
        typer.Option(
            parser=real, help="of the normalised runs, in (0, 1]", show_default="the predicted best"
        ),
    ] = None,
    sink: Annotated[
        float | None,
        typer.Option(parser=real, help="score c of the sink, 1 to 60", show_default="36, in float32 15.75"),
    ] = None,
    steps: Steps = 8,
    trials: Trials = None,
    dtype: DtypeName = "float64",
    device: DeviceName = "cpu",
    evaluation: EvaluationName = "dense",
    certify: Certify = None,
    player: Player = False,
    seed: Seed = 0,
    out: Out = None,
) -> int:
    """See the module's docstring."""
    counts = whole_numbers("pairs", pairs) or []
    if epsilon is not None and not 0 < epsilon <= 1:
        raise BadInputError(f"--epsilon {epsilon:g}: it lies in (0, 1]")
    if sink is not None and not 1 <= sink <= MAX_SINK:
        raise BadInputError(
            f"--sink {sink:g}: it lies between 1 and {MAX_SINK:g}; lower ones are swept anyway"
        )
    with loading():
        from rich.console import Console

        from constructions.tensor_power.sinh_pairs import MAX_PAIRS
        from verify.tensor.options import TensorOptions
        from verify.tensor.softmax_command import check
    if max(counts) > MAX_PAIRS:
        raise BadInputError(f"--pairs {pairs}: {max(counts)} is too many; at most {MAX_PAIRS} are taken")
    options = TensorOptions.checked(locals())
    out = out or default_out("softmax_tensor_power", context, ("tensor",), ("player",))
    return check(options, out, sorted(counts), epsilon, sink, Console(), player)


if __name__ == "__main__":
    sys.exit(run_command(app))
