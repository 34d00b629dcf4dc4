"""``python -m verify.reference_levels``: the published levels of the reference algorithms (verify/levels)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from console.errors import run_command
from console.folder import default_out
from console.options import folder, usable_seed, usage, whole
from console.starting import loading

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(help=usage(__doc__))
def main(
    context: typer.Context,
    tasks: Annotated[int, typer.Option(parser=whole, help="tasks in every cell")] = 1024,
    seed: Annotated[int, typer.Option(parser=whole, help="seed of the tasks and of the starts")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=folder,
            help="folder for results.json",
            show_default="results/reference_levels_..., by the run",
        ),
    ] = None,
) -> int:
    """Measure the levels and compare. Exit 0 when all are reproduced, 1 when one is not, 2 for bad input."""
    usable_seed(seed)
    with loading():
        from verify.levels.command import compare
    return compare(tasks, seed, out or default_out("reference_levels", context))


if __name__ == "__main__":
    sys.exit(run_command(app))
