"""Measure a trained network beside other estimators, all of them on the same tasks.

    python -m training.evaluate d8                      # the shipped network
    python -m training.evaluate runs/d8/model.safetensors --grid samples
    python -m training.evaluate em-restarts --dims 2,8  # one method alone
    python -m training.evaluate d8 --grid dxk --model d2
    python -m training.evaluate d8 --grid embedding --ablation PLAIN
    python -m training.evaluate runs/d2-full/model.safetensors --grid full
    python -m training.evaluate d8                      # again, after Ctrl-C

A network is measured alone and with --polish constructed EM layers in the same forward pass. Grids: main,
samples, perturbation, separation, diagonal, components, embedding, dxk, full, anisotropic, correlation,
large, initialisation (training.evaluation.grids). Methods: all but posterior-mean, which takes three quarters
of the time, unless --methods asks for it. --out gets results.json, figures, index.html, and parts/ with each
cell as soon as it is measured. Exit codes: 0 done, 2 bad input, 130 stopped.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from console.errors import run_command
from console.folder import default_out
from console.options import folder, usage, whole
from console.starting import loading
from training.evaluation.asked import (
    AXES,
    METHOD_NAMES,
    ONLY_WHEN_ASKED,
    POLISH,
    QUICK_TASKS,
    TASKS,
    VIEWS,
    Asked,
)
from training.serving.shipped import SHIPPED

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(help=usage(__doc__, methods=METHOD_NAMES))
def main(
    context: typer.Context,
    what: Annotated[str, typer.Argument(help=f"a model's path, {', '.join(SHIPPED)}, or a method's name")],
    grid: Annotated[str, typer.Option(help=", ".join(AXES))] = "main",
    tasks: Annotated[
        int | None,
        typer.Option(parser=whole, help="tasks a cell", show_default=f"{TASKS}, with --quick {QUICK_TASKS}"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=folder, help="folder for the results", show_default="results/evaluate_..., by the run"
        ),
    ] = None,
    polish: Annotated[int, typer.Option(parser=whole, help="EM layers behind the network; 0: none")] = POLISH,
    views: Annotated[
        int,
        typer.Option(
            parser=whole, help="also the likeliest of so many views (training.serving.views); 1: no"
        ),
    ] = VIEWS,
    seed: Annotated[int, typer.Option(parser=whole, help="of tasks and starts")] = 0,
    methods: Annotated[
        str | None,
        typer.Option(
            help="all, none, or some of those above, separated by commas",
            show_default=f"all but {', '.join(ONLY_WHEN_ASKED)}",
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="a further network, of another d; may be given several times", show_default="none"),
    ] = None,
    ablation: Annotated[
        str | None,
        typer.Option(help="network without task embedding, for --grid embedding", show_default="none"),
    ] = None,
    dims: Annotated[
        str | None,
        typer.Option(help="d, as in 2,8", show_default="those of the networks, else 2,8; large: 8,32,128"),
    ] = None,
    components: Annotated[
        str | None,
        typer.Option(
            help="K, as in 3,5", show_default="those of the networks up to 5, else 2 to 5; large: 2,4,8,16"
        ),
    ] = None,
    samples: Annotated[str | None, typer.Option(help="N, as in 64,128", show_default="the grid's")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="fewer tasks and values", show_default="no")] = False,
) -> int:
    """Measure; see the module's docstring."""
    asked = Asked(
        what=what,
        grid=grid,
        tasks=(QUICK_TASKS if quick else TASKS) if tasks is None else tasks,
        polish=polish,
        views=views,
        seed=seed,
        methods=methods,
        models=model or [],
        ablation=ablation,
        dims=dims,
        components=components,
        samples=samples,
        quick=quick,
    )
    with loading():
        from training.evaluation.command import evaluate
    return evaluate(asked, out or default_out("evaluate", context, ("what", "grid")))


if __name__ == "__main__":
    sys.exit(run_command(app))
