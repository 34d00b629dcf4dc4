"""Meta-train TGMM.

    python -m training.train --list-presets
    python -m training.train --preset cpu-small --out runs/d8
    python -m training.train --preset d8 --set training.steps=500 --out mine
    python -m training.train --out runs/d8 --resume
    torchrun --nproc-per-node=2 -m training.train --preset paper --out runs/p

The folder gets config.json, metrics.jsonl, checkpoints/ and, at the end, model.safetensors with model.json;
the last lines say how good the model is and which command goes on from it. A run killed at any moment goes on
with --resume and ends with the same weights, bit for bit, on the same kind of machine; Ctrl-C is answered at
once and saves first. Exit codes: 0 done, 2 bad input or no way on, 130 stopped.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Annotated

import typer

from console.errors import run_command
from console.options import folder, usage
from console.starting import loading
from training.trainer.preset_files import preset_lines, preset_names

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def _list_presets(wanted: bool) -> None:
    """A line for each preset, then the end."""
    if wanted:
        for name, line in preset_lines():
            print(textwrap.fill(f"{name:16} {line}", 80, subsequent_indent=" " * 17))
        raise typer.Exit


@app.command(help=usage(__doc__, presets=preset_names()))
def main(
    out: Annotated[Path, typer.Option(parser=folder, help="folder of the run")],
    preset: Annotated[
        str | None,
        typer.Option(
            help="one of those above, or a .toml file of your own",
            show_default="that of the run, with --resume",
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SECTION.KEY=VALUE",
            help="a setting in place of the preset's, SECTION being tasks, model or training, as in "
            "training.steps=500; may be given several times; config.json of a run has all keys",
            show_default="the preset's",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="go on with the run in --out", show_default="no")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="also write TensorBoard events", show_default="no")
    ] = False,
    list_presets: Annotated[
        bool,
        typer.Option(
            "--list-presets",
            callback=_list_presets,
            is_eager=True,
            help="say what each preset is, and end",
            show_default="no",
        ),
    ] = False,
) -> int:
    """Train by a preset; see the module's docstring."""
    with loading():
        from training.trainer.command import train_run
    return train_run(out, preset, resume, device, tensorboard, changes or ())


if __name__ == "__main__":
    sys.exit(run_command(app))
