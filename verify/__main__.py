"""``python -m verify``: the ledger of every registered claim. Exit code 1 when one of them fails.

What a check found is kept in parts/ of --out as soon as it is done: after Ctrl-C or a kill the same command
goes on. Checks that --only leaves out stay in the ledger of a folder that has them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from console.errors import BadInputError, run_command
from console.folder import default_out
from console.memory import check_fits
from console.options import folder, usable_seed, usage, whole
from console.starting import loading
from verify.names import CHECK_NAMES

INSTANCES = 2000

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(help=usage(__doc__, checks=CHECK_NAMES))
def main(
    context: typer.Context,
    only: Annotated[
        str | None,
        typer.Option(
            help="names of checks, separated by commas, of those above",
            show_default="all that can run here",
        ),
    ] = None,
    instances: Annotated[
        int, typer.Option(parser=whole, help="one-step instances of the search")
    ] = INSTANCES,
    seed: Annotated[int, typer.Option(parser=whole, help="of every random draw")] = 0,
    theorems: Annotated[
        str | None,
        typer.Option(
            help="theorems of your own, FILE.py:NAME, separated by commas: their lines too",
            show_default="none",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=folder, help="folder for the results", show_default="results/ledger_..., by the run"
        ),
    ] = None,
) -> int:
    """See the module's docstring."""
    if instances < 1:
        raise BadInputError(f"--instances {instances}: at least 1 is needed")
    check_fits("instances", instances, 100)  # ratios of bound and error, kept for their median
    usable_seed(seed)
    with loading():
        from verify.ledger.command import ledger
    return ledger(only, instances, seed, theorems, out or default_out("ledger", context, leave=("only",)))


if __name__ == "__main__":
    sys.exit(run_command(app))
