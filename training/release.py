"""Put a trained model among the shipped ones, with a card that says what it is and how good.

    python -m training.release runs/d8 --evaluation results/d8 --name d8

RUN is a finished folder of training.train by the preset NAME, --evaluation one of training.evaluate on that
very model, grid main (full or diagonal for a network of such covariances). Writes tgmm_NAME.safetensors,
tgmm_NAME.json and tgmm_NAME.md into training/weights (or --out), never over a model of other weights.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from console.errors import run_command
from console.options import folder, usage
from console.starting import loading
from training.serving.shipped import WEIGHTS

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(help=usage(__doc__))
def main(
    run: Annotated[Path, typer.Argument(help="folder of training.train")],
    evaluation: Annotated[Path, typer.Option(help="folder of training.evaluate on this model")],
    name: Annotated[str, typer.Option(help="the name of the preset and of the model")],
    out: Annotated[Path, typer.Option(parser=folder, help="folder of released models")] = WEIGHTS,
) -> int:
    """Release; see the module's docstring."""
    with loading():
        from training.serving.release import release
    return release(run, evaluation, name, out)


if __name__ == "__main__":
    sys.exit(run_command(app))
