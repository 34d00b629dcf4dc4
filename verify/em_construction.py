"""``python -m verify.em_construction``: EM as hand-built attention, run and measured against real EM.

Without data it runs random tasks over a grid; with ``--data`` or ``--dataset`` the user's own. Exit code 0
when every bound held, 1 when one is broken, 2 for bad input.

With ``--player`` it also writes player.html, a page that needs no network, in which you step through the
layers on your points: attention, responsibilities, means, the stream of a token, error and bound. It plays
one task: of your own data the first start, of the grid the first task of the fewest coordinates from 2 on;
with the most pieces.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from console.data_options import Columns, DataFile, Dataset, Drop, Header, Label, Pca, Standardise
from console.errors import run_command
from console.folder import default_out
from console.options import Certify, DeviceName, DtypeName, Out, Seed, real, usage, whole, whole_numbers
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
        typer.Option(help="grid: numbers of coordinates, as in 2,8", show_default="sizes up to d = 16"),
    ] = None,
    components: Annotated[
        str | None,
        typer.Option(
            help="numbers of components; one for your own data",
            show_default="as many as labels; grid: 2 to 5",
        ),
    ] = None,
    samples: Annotated[
        str | None,
        typer.Option(help="grid: numbers of points", show_default="64 to 128; 64 to 512 with --covariance"),
    ] = None,
    steps: Annotated[int, typer.Option(parser=whole, help="EM steps")] = 5,
    pieces: Annotated[
        str, typer.Option(help="linear pieces a function, several to compare")
    ] = "32,128,512,2048",
    start: Annotated[
        str | None,
        typer.Option(
            help="one or several of k-means++, k-means, plain-k-means++, random-points, ward, normal",
            show_default="random-points",
        ),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(
            help="start from JSON: weights (K), means (K x d), covariances of the kind",
            show_default="by --start",
        ),
    ] = None,
    covariance: Annotated[
        str, typer.Option(help="unit, tied_spherical, spherical, diagonal, tied, full; as in scikit-learn")
    ] = "unit",
    eigenvalues: Annotated[
        str | None,
        typer.Option(
            help="LOW,HIGH: where those of covariances lie",
            show_default="by the data, HIGH above the largest possible, LOW a millionth of it",
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            parser=whole,
            help="tasks a setting; for your own data, starts",
            show_default="10; your own data 1",
        ),
    ] = None,
    floor: Annotated[float, typer.Option(parser=real, help="responsibilities below it count as it")] = 1e-8,
    radius: Annotated[
        float | None,
        typer.Option(parser=real, help="largest coordinate", show_default="as the data need, centred"),
    ] = None,
    max_dim: Annotated[
        int | None, typer.Option(parser=whole, help="d0 of the weights", show_default="the data's d")
    ] = None,
    max_components: Annotated[
        int | None, typer.Option(parser=whole, help="K0 of the weights", show_default="K")
    ] = None,
    standardise: Standardise = None,
    pca: Pca = None,
    dtype: DtypeName = "float64",
    device: DeviceName = "cpu",
    evaluation: Annotated[
        str | None,
        typer.Option(
            help="dense weights, or structured: from the formulas, for any size",
            show_default="dense for unit covariances, else structured",
        ),
    ] = None,
    certify: Certify = None,
    player: Annotated[
        bool,
        typer.Option(
            "--player",
            help="also write player.html: step through the layers on the points",
            show_default="no",
        ),
    ] = False,
    seed: Seed = 0,
    out: Out = None,
) -> int:
    """See the module's docstring."""
    with loading():
        from rich.console import Console

        from verify.em.command import check
        from verify.em.options import Options, covariance_named, eigenvalues_named, starts_named
    counts = sorted(set(whole_numbers("pieces", pieces) or []))
    kind, span = covariance_named(covariance), eigenvalues_named(eigenvalues)
    evaluation = evaluation or ("dense" if kind == "unit" else "structured")
    own = {"pieces": counts, "starts": starts_named(start), "covariance": kind, "eigenvalues": span}
    options = Options.checked(locals(), **own)
    out = out or default_out("em_construction", context, ("data", "dataset"), ("player",))
    return check(options, out, Console(), player)


if __name__ == "__main__":
    sys.exit(run_command(app))
