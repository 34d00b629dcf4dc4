"""Train a criterion for the number of components on a law of mixtures, beside BIC and ICL.

    python -m training.count cluster-pfn --out runs/count
    python -m training.count cluster-pfn --out runs/count   # stopped: goes on

EM is fitted to each data set with every K from 1 to the largest of the law; a small network learns what the
fits tell of K, and is measured on sets that it has not seen. Laws: paper-d2, paper-d8, dac-like, cluster-pfn
(training.tasks.priors). --out gets criterion.safetensors with its .json, which learned_count of
training.counting takes, results.json, and parts/ with the fits as they are made. Exit codes: 0 done, 2 bad
input, 130 stopped.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from console.errors import run_command
from console.options import Seed, folder, usable_seed, usage, whole
from console.starting import loading

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(help=usage(__doc__))
def main(
    prior: Annotated[str, typer.Argument(help="the law of the data sets, by its name")],
    out: Annotated[Path, typer.Option(parser=folder, help="folder for the criterion")],
    sets: Annotated[int, typer.Option(parser=whole, help="data sets to train on")] = 12000,
    held_out: Annotated[int, typer.Option(parser=whole, help="data sets to measure on")] = 1000,
    width: Annotated[int, typer.Option(parser=whole, help="units of a hidden layer")] = 64,
    seed: Seed = 0,
) -> int:
    """Train; see the module's docstring."""
    usable_seed(seed)
    with loading():
        from training.counting.command import count
    return count(prior, sets, held_out, width, seed, out)


if __name__ == "__main__":
    sys.exit(run_command(app))
