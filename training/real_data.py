"""Real data through every estimator, the learned one among them.

    python -m training.real_data --out results/real_data

Iris, wine, breast cancer, digits, standardised (baselines.real_data): adjusted Rand index with the classes
and log-likelihood per point, K the number of classes. The estimators with unit covariances take the data
in units in which the pooled variance within a group is 1, found by EM without the classes ("rescaled"): the
model has no other way to know the scale. Their likelihood is that of the data before rescaling.
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
    model: Annotated[str, typer.Option(help="auto, d2, d8, or a model's path")] = "auto",
    seed: Annotated[int, typer.Option(parser=whole, help="of the starts")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(parser=folder, help="folder for results.json", show_default="none is written"),
    ] = None,
) -> int:
    """Measure; see the module's docstring."""
    usable_seed(seed)
    with loading():
        from training.serving.real_data import measure
    return measure(model, seed, out)


if __name__ == "__main__":
    sys.exit(run_command(app))
