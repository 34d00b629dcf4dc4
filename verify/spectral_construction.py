"""``python -m verify.spectral_construction``: the whole spectral algorithm as hand-built attention.

Moments, whitening, tensor power iteration, deflation and recovery in ReLU attention, run and measured against
the spectral baseline from the same starts. Without data it runs random mixtures over a grid; with ``--data``
or ``--dataset`` the user's own points. Exit code 0 when every bound held, 1 when one is broken, 2 for bad
input.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from console.data_options import Columns, DataFile, Dataset, Drop, Header, Label, Pca, Standardise
from console.errors import run_command
from console.folder import default_out
from console.options import DeviceName, DtypeName, EvaluationName, Out, Seed, at_least_one, usage, whole
from console.starting import loading

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(help=usage(__doc__))
def main(
    context: typer.Context,
    data: DataFile = None,
    dataset: Dataset = None,
    header: Header = None,
    columns: Columns = None,
    drop: Drop = None,
    label: Label = None,
    dims: Annotated[
        str | None,
        typer.Option(help="grid: numbers of coordinates, as in 2,8", show_default="sizes up to d = 8"),
    ] = None,
    components: Annotated[
        str | None,
        typer.Option(
            help="numbers of components; one for your own data",
            show_default="as many as labels; grid: 1 to 4",
        ),
    ] = None,
    samples: Annotated[
        str | None, typer.Option(help="grid: numbers of points", show_default="256 to 2000")
    ] = None,
    read_in: Annotated[
        str, typer.Option(help="products: a token is told x and x x^T; squares: x alone")
    ] = "products",
    variance: Annotated[
        str, typer.Option(help="of the noise, in squared units of the data, or estimated")
    ] = "1",
    rounds: Annotated[int, typer.Option(parser=whole, help="of subspace iteration")] = 32,
    steps: Annotated[
        int, typer.Option(parser=whole, help="of the power iteration, before and after the choice")
    ] = 30,
    starts: Annotated[int, typer.Option(parser=whole, help="of the power iteration")] = 10,
    pieces: Annotated[int, typer.Option(parser=whole, help="of a square, with --read-in squares")] = 8192,
    trials: Annotated[
        int | None,
        typer.Option(
            parser=whole,
            help="tasks a setting; for your own data, starts",
            show_default="10; your own data 1",
        ),
    ] = None,
    standardise: Standardise = None,
    pca: Pca = None,
    dtype: DtypeName = "float64",
    device: DeviceName = "cpu",
    evaluation: EvaluationName = "structured",
    certify: Annotated[
        bool | None,
        typer.Option(
            "--certify/--no-certify",
            help="certificates in ball arithmetic of every task, about 0.05 s a step of each component's "
            "power iteration",
            show_default="of the first task of small records",
        ),
    ] = None,
    seed: Seed = 0,
    out: Out = None,
) -> int:
    """See the module's docstring."""
    with loading():
        from rich.console import Console

        from verify.spectral.command import check
        from verify.spectral.options import Options, read_in_named, variance_named
    named = {"read_in": read_in_named(read_in), "variance": variance_named(variance)}
    named |= {"pieces": at_least_one("pieces", pieces)}
    options = Options.checked(locals(), **named)
    out = out or default_out("spectral_construction", context, ("data", "dataset"))
    return check(options, out, Console())


if __name__ == "__main__":
    sys.exit(run_command(app))
