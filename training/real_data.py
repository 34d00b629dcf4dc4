"""Real data through every estimator, the learned one among them.

    python -m training.real_data --out results/real_data
    python -m training.real_data --data points.csv --components 3 --label kind

Iris, wine, breast cancer, digits, standardised (baselines.real_data): adjusted Rand index with the classes
and log-likelihood per point, K the number of classes. The estimators with unit covariances take the data
in units in which the pooled variance within a group is 1, found by EM without the classes ("rescaled"): the
model has no other way to know the scale. Their likelihood is that of the data before rescaling.

With --data a person's own points take the place of these, as they are unless --standardise is given, and the
fit of least BIC is printed under the names of their columns.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from console.data_options import Columns, DataFile, Drop, Header, Label, Standardise
from console.errors import BadInputError, run_command
from console.options import at_least_one, folder, usable_seed, usage, whole
from console.starting import loading
from training.serving.shipped import SHIPPED

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(help=usage(__doc__))
def main(
    model: Annotated[str, typer.Option(help=f"auto, {', '.join(SHIPPED)}, or a model's path")] = "auto",
    seed: Annotated[int, typer.Option(parser=whole, help="of the starts")] = 0,
    data: DataFile = None,
    header: Header = None,
    columns: Columns = None,
    drop: Drop = None,
    label: Label = None,
    components: Annotated[
        int | None,
        typer.Option(
            parser=whole, help="K, for your own points", show_default="as many as there are different labels"
        ),
    ] = None,
    standardise: Standardise = None,
    out: Annotated[
        Path | None,
        typer.Option(parser=folder, help="folder for results.json", show_default="none is written"),
    ] = None,
) -> int:
    """Measure; see the module's docstring."""
    usable_seed(seed)
    with loading():
        from console.table_file import Chosen
        from training.serving.own_points import OwnPoints
        from training.serving.real_data import measure
    at_least_one("components", components)
    asked = Chosen(header, columns, drop, label)
    if data is None and (asked != Chosen() or components is not None or standardise is not None):
        raise BadInputError("--header, --columns, --drop, --label, --components, --standardise need --data")
    own = None if data is None else OwnPoints(data, asked, components, standardise or False)
    return measure(model, seed, out, own)


if __name__ == "__main__":
    sys.exit(run_command(app))
