"""Meta-train TGMM.

    python -m training.train --preset cpu-small --out runs/d8
    python -m training.train --out runs/d8 --resume
    torchrun --nproc-per-node=2 -m training.train --preset paper --out runs/paper

The folder gets config.json, metrics.jsonl, checkpoints/ and, at the end, model.safetensors with model.json. A
run killed at any moment goes on with --resume and ends with the same weights, bit for bit, on the same kind
of machine; Ctrl-C is answered at once and saves first. Exit codes: 0 done, 2 bad input or no way on, 130
stopped.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from console.errors import run_command
from console.options import folder
from console.starting import loading

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def main(
    out: Annotated[Path, typer.Option(parser=folder, help="folder of the run")],
    preset: Annotated[str | None, typer.Option(help="name of a preset, or a .toml file")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run in --out")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="also write TensorBoard events")] = False,
) -> int:
    """Train by a preset; see the module's docstring."""
    with loading():
        from training.trainer.command import train_run
    return train_run(out, preset, resume, device, tensorboard)


if __name__ == "__main__":
    sys.exit(run_command(app))
