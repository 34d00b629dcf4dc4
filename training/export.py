"""Export a network whose circuit is known, or a learned one, for tools that look for circuits.

    python -m training.export em --out circuits
    python -m training.export em --steps 5 --dims 8 --out circuits
    python -m training.export d8 --out circuits

NETWORK is em, the EM steps of Theorem 1 as attention layers, or a learned network: a model's path or a
shipped one's name. --out gets NAME.safetensors with the weights and NAME.json with the blocks of the stream
and the role of every head and hidden unit, which load_circuit of training.interpretability.circuit_files
reads; of a learned network no roles are known. The options after --out are em's. Nothing is written over.
Exit codes: 0 done, 2 bad input.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from console.errors import run_command
from console.options import DTYPES, folder, usage, whole
from console.starting import loading
from training.serving.shipped import SHIPPED

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(help=usage(__doc__, shipped=SHIPPED))
def main(
    network: Annotated[str, typer.Argument(help="em, a model's path, or one of those above")],
    out: Annotated[Path, typer.Option(parser=folder, help="folder for both files")],
    dims: Annotated[int, typer.Option(parser=whole, help="largest number of coordinates")] = 2,
    components: Annotated[int, typer.Option(parser=whole, help="largest number of components")] = 3,
    steps: Annotated[int, typer.Option(parser=whole, help="EM steps, two layers each")] = 2,
    pieces: Annotated[int, typer.Option(parser=whole, help="linear pieces a function")] = 64,
    dtype: Annotated[str, typer.Option(help=f"of em's weights: {' or '.join(DTYPES)}")] = "float64",
) -> int:
    """Export; see the module's docstring."""
    with loading():
        from training.interpretability.command import Sizes, export
    return export(network, out, Sizes(dims, components, steps, pieces), dtype)


if __name__ == "__main__":
    sys.exit(run_command(app))
