"""Options that both tensor power commands have. Imports nothing that takes long: ``--help`` shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from console.options import whole

TensorFile = Annotated[
    Path | None,
    typer.Option(help="your tensor: .npy, (d, d, d), symmetric or not", show_default="random ones"),
]
StartFile = Annotated[
    Path | None, typer.Option(help="your starts: .npy, (d,) or (B, d)", show_default="random ones")
]
PointsFile = Annotated[
    Path | None,
    typer.Option(
        "--data",
        "--points",
        help="your points, whose whitened third moment is the tensor: .csv, .tsv, .txt, .npy, .npz, or with "
        "pandas .parquet, .xlsx",
        show_default="none",
    ),
]
Dims = Annotated[
    str | None,
    typer.Option(
        help="sizes d of random tensors, as in 2,8,32", show_default="a grid up to d = 64 (softmax: 16)"
    ),
]
MaxDim = Annotated[
    int | None, typer.Option(parser=whole, help="d0 of the weights", show_default="the tensor's d")
]
Steps = Annotated[int, typer.Option(parser=whole, help="L, steps of the iteration")]
Trials = Annotated[
    int | None,
    typer.Option(parser=whole, help="random tensors or starts a size", show_default="5 (softmax: 100)"),
]
Player = Annotated[
    bool,
    typer.Option(
        "--player",
        help="also write player.html: step through the layers on the first start of the first tensor with d "
        "from 2 to 8",
        show_default="no",
    ),
]
