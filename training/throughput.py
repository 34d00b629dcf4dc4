"""How fast a preset trains here, and where the time goes.

    python -m training.throughput --preset d8 --steps 20

Steps and sequences a second (medians), the share of a step that drawing its tasks takes, and the utilisation

    FLOPs of a step / (seconds of a step * FLOPs a second of a large product)

the product timed in the same run, with 3 (2 P T + 4 sum_s L D n_s^2) FLOPs a step: P weights of the backbone,
T tokens, L layers of width D, sequences of n_s tokens; the factor 3 counts the backward pass twice. Read-in,
read-out, norms and the optimiser count for time but not for FLOPs.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from console.errors import run_command
from console.options import usage, whole
from console.starting import loading
from training.trainer.preset_files import preset_names

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(help=usage(__doc__, presets=preset_names()))
def main(
    preset: Annotated[str, typer.Option(help="one of those above, or a .toml file of your own")],
    steps: Annotated[int, typer.Option(parser=whole, help="training steps to time")] = 20,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
) -> int:
    """Measure; see the module's docstring."""
    with loading():
        from training.trainer.throughput import report
    return report(preset, steps, device)


if __name__ == "__main__":
    sys.exit(run_command(app))
