"""Measure the learned solver on a published law of tasks, beside EM, scikit-learn and the truth.

    python -m training.benchmark set-transformer     # 300 data sets
    python -m training.benchmark cluster-pfn --sets 60 --model d2
    python -m training.benchmark set-transformer     # after Ctrl-C: goes on

Laws: paper-d2, paper-d8, set-transformer, dac-like, cluster-pfn (sources: training.tasks.priors).
Data sets are drawn by our own code from the published descriptions. Where a law has several K, solvers that
choose it are measured too. --out gets results.json, index.html, and parts/ with each solver as soon as it is
measured. Exit codes: 0 done, 2 bad input, 130 stopped.
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

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(help=usage(__doc__))
def main(
    context: typer.Context,
    prior: Annotated[str, typer.Argument(help="the law of the data sets, by its name")],
    model: Annotated[str, typer.Option(help="a model's path, a shipped one, or none")] = "none",
    sets: Annotated[int, typer.Option(parser=whole, help="data sets")] = 300,
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=folder, help="folder for the results", show_default="results/benchmark_..., by the run"
        ),
    ] = None,
) -> int:
    """Measure; see the module's docstring."""
    usable_seed(seed)
    with loading():
        from training.benchmarks.command import benchmark
    chosen = None if model == "none" else model
    return benchmark(prior, chosen, sets, seed, out or default_out("benchmark", context, ("prior",)))


if __name__ == "__main__":
    sys.exit(run_command(app))
