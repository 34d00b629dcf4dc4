"""Options of commands that take a person's own points. Imports nothing that takes long, for ``--help``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from console.options import whole

DataFile = Annotated[
    Path | None,
    typer.Option(
        help="your points, N rows of d numbers: .csv, .tsv, .txt, .npy, .npz, or with pandas .parquet, .xlsx",
        show_default="none",
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option(help="bundled points: iris, wine, breast_cancer or digits", show_default="none"),
]
Header = Annotated[
    bool | None,
    typer.Option(help="whether the first line of your table names the columns", show_default="as it looks"),
]
Columns = Annotated[
    str | None,
    typer.Option(
        help="columns of your data to take, by name or number, as in x,y or 1-3", show_default="all"
    ),
]
Drop = Annotated[
    str | None,
    typer.Option(
        help="columns of your data to leave out, by name or number, as in id,3", show_default="none"
    ),
]
Label = Annotated[
    str | None,
    typer.Option(
        help="column of your data, text or numbers, that is no coordinate: the fit is compared with it",
        show_default="none; of bundled points the classes",
    ),
]
Standardise = Annotated[
    bool | None,
    typer.Option(
        help="every column from its average in units of its deviation",
        show_default="bundled points yes, yours no",
    ),
]
Pca = Annotated[
    int | None,
    typer.Option(
        parser=whole, help="reduce to this many principal components", show_default="all coordinates"
    ),
]
