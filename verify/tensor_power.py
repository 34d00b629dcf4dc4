"""``python -m verify.tensor_power``: cubic tensor power iteration as ReLU attention, exactly and in floats.

Without a tensor it runs random ones over a grid; with ``--tensor`` a person's own, symmetric or not. With
``--data points.csv --components 3`` it is the whitened third moment of a person's points: the directions that
the layers find are brought back to weights and means of the mixture, which are printed. Exit code 0 when
every claim held, 1 when one is broken, 2 for bad input.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from console.data_options import Columns, Dataset, Drop, Header, Label, Pca, Standardise
from console.errors import BadInputError, run_command
from console.folder import default_out
from console.options import (
    Certify,
    DeviceName,
    DtypeName,
    EvaluationName,
    Out,
    Seed,
    at_least_one,
    usage,
    whole,
)
from console.starting import loading
from verify.tensor.arguments import Dims, MaxDim, Player, PointsFile, StartFile, Steps, TensorFile, Trials

MOST_PIECES = 10**6

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(help=usage(__doc__))
def main(
    context: typer.Context,
    tensor: TensorFile = None,
    start: StartFile = None,
    data: PointsFile = None,
    dataset: Dataset = None,
    header: Header = None,
    columns: Columns = None,
    drop: Drop = None,
    label: Label = None,
    standardise: Standardise = None,
    pca: Pca = None,
    components: Annotated[
        str | None,
        typer.Option(
            help="K, the number of components of your points",
            show_default="as many as there are different labels",
        ),
    ] = None,
    variance: Annotated[
        str,
        typer.Option(help="of the noise of your points, in squared units of the data, or estimated"),
    ] = "estimated",
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
    evaluation: EvaluationName = "dense",
    certify: Certify = None,
    player: Player = False,
    seed: Seed = 0,
    out: Out = None,
) -> int:
    """See the module's docstring."""
    at_least_one("pieces", pieces)
    if pieces > MOST_PIECES:
        raise BadInputError(f"--pieces {pieces}: at most {MOST_PIECES} are taken")
    if instances < 1000:
        raise BadInputError(f"--instances {instances}: at least 1000 rational instances are checked")
    with loading():
        from rich.console import Console

        from verify.spectral.options import variance_named
        from verify.tensor.points_options import PointsOptions
        from verify.tensor.relu_command import check
    options = PointsOptions.checked(locals(), variance=variance_named(variance))
    out = out or default_out("tensor_power", context, ("tensor", "data", "dataset"), ("player",))
    return check(options, out, pieces, instances, Console(), player)


if __name__ == "__main__":
    sys.exit(run_command(app))
