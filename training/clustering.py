"""Gaussian mixtures beside other clusterings: on mixtures, on shapes that are none, on real data.

    python -m training.clustering             # some ten minutes on one core
    python -m training.clustering --quick     # too little to conclude from
    python -m training.clustering --data moons,circles --methods em,spectral
    python -m training.clustering             # after Ctrl-C: goes on

Adjusted Rand index, normalised mutual information, log-likelihood where there is a density, processor time.
Contenders are told K, but for mean shift and HDBSCAN, which choose. Nothing is tuned to a data set. Real
data are one set each, fitted with several seeds. --out gets results.json, figures, index.html, and parts/
with every pair of data and method as soon as it is measured; the page shows all that are there. Exit codes: 0
done, 2 bad input, 130 stopped.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from console.errors import run_command
from console.folder import default_out
from console.options import Seed, folder, usable_seed, usage, whole
from console.starting import loading
from training.clusterings.names import DATA, METHODS

REPEATS, QUICK_REPEATS = 5, 1
STARTS, QUICK_STARTS = 2, 1

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(help=usage(__doc__, data=DATA, methods=METHODS))
def main(
    context: typer.Context,
    data: Annotated[
        str | None, typer.Option(help="data sets, separated by commas, of those above", show_default="all")
    ] = None,
    methods: Annotated[
        str | None, typer.Option(help="methods, separated by commas, of those above", show_default="all")
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            parser=whole,
            help="draws of synthetic data",
            show_default=f"{REPEATS}, with --quick {QUICK_REPEATS}",
        ),
    ] = None,
    starts: Annotated[
        int | None,
        typer.Option(
            parser=whole,
            help="seeds of the methods on real data",
            show_default=f"{STARTS}, with --quick {QUICK_STARTS}",
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="one draw, 200 points of digits, short training", show_default="no"),
    ] = False,
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=folder, help="folder for the results", show_default="results/clustering_..., by the run"
        ),
    ] = None,
) -> int:
    """Measure; see the module's docstring."""
    usable_seed(seed)
    with loading():
        from training.clusterings.command import Asked, compare
    asked = Asked(
        (QUICK_REPEATS if quick else REPEATS) if repeats is None else repeats,
        (QUICK_STARTS if quick else STARTS) if starts is None else starts,
        seed,
        quick,
    )
    return compare(asked, data, methods, out or default_out("clustering", context, leave=("data", "methods")))


if __name__ == "__main__":
    sys.exit(run_command(app))
