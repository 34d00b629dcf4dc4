"""Learning curves of several runs in one figure, beside what the ordered loss and EM can reach.

    python -m training.curves runs/loss-ordered runs/loss-matched --out losses

Total error after the exact alignment, of the network alone and after ten EM steps from its estimate, on the
fixed tasks of a run (training.trainer.progress). Dashed, on the same distribution: what a minimiser of the
ordered loss has that is told the labels (ordered_floor.py), its means part; dotted: EM from the truth.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from console.errors import run_command
from console.options import folder, usable_seed, usage, whole
from console.starting import loading

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(help=usage(__doc__))
def main(
    runs: Annotated[list[Path], typer.Argument(help="folders of training.train, of one distribution")],
    out: Annotated[Path, typer.Option(parser=folder, help="folder for results.json, the figure, index.html")],
    seed: Annotated[int, typer.Option(parser=whole, help="of the tasks behind the two levels")] = 0,
) -> int:
    """Draw; see the module's docstring."""
    usable_seed(seed)
    with loading():
        from training.trainer.curves import draw
    return draw(runs, out, seed)


if __name__ == "__main__":
    sys.exit(run_command(app))
