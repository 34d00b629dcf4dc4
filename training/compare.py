"""Compare a trained network with the algorithms and with the hand-built weights.

    python -m training.compare d8              # the shipped network of d = 8
    python -m training.compare d2 --quick      # within a minute
    python -m training.compare runs/d8/model.safetensors --only behaviour
    python -m training.compare d8              # again, after Ctrl-C

Parts: origins (networks of the EM construction's own shape, trained from it and from elsewhere; the same for
every checkpoint), weight_space, behaviour, probes, attention, causal, failures, adaptation. A network of
another kind is asked what it can be asked, and the report says what it was not. --out gets results.json,
figures, index.html, and parts/ with what is finished, all of which the report shows. Exit codes: 0 done,
2 bad input, 130 stopped.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from console.errors import run_command
from console.folder import default_out
from console.options import folder, usable_seed, usage, whole
from console.starting import loading
from training.serving.shipped import SHIPPED

TASKS, QUICK_TASKS = 256, 64
PART_NAMES = (
    *("origins", "weight_space", "behaviour", "failures", "adaptation", "probes", "attention", "causal"),
)
"""Of training.comparison.command.PARTS; the tests compare them."""


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(help=usage(__doc__))
def main(
    context: typer.Context,
    checkpoint: Annotated[str, typer.Argument(help=f"a model's path, or one of {', '.join(SHIPPED)}")],
    out: Annotated[
        Path | None,
        typer.Option(
            parser=folder, help="folder for the results", show_default="results/compare_..., by the run"
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="fewer tasks, seeds and steps", show_default="no")
    ] = False,
    tasks: Annotated[
        int | None,
        typer.Option(
            parser=whole, help="tasks a regime", show_default=f"{TASKS}, with --quick {QUICK_TASKS}"
        ),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(help=f"parts, separated by commas, of {', '.join(PART_NAMES)}", show_default="all"),
    ] = None,
    seed: Annotated[int, typer.Option(parser=whole, help="of every random draw")] = 0,
) -> int:
    """Compare; see the module's docstring."""
    usable_seed(seed)
    n_tasks = (QUICK_TASKS if quick else TASKS) if tasks is None else tasks
    with loading():
        from training.comparison.command import compare
        from training.comparison.common.parts import Effort
    out = out or default_out("compare", context, ("checkpoint",), leave=("only",))
    return compare(checkpoint, only, Effort(quick, seed, n_tasks), out)


if __name__ == "__main__":
    sys.exit(run_command(app))
