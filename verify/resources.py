"""``python -m verify.resources``: what every construction takes against d, L and target error.

Counted from the formulas, so that no matrix is made. Exit code 0, or 2 for bad input.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from console.errors import BadInputError, run_command
from console.folder import default_out
from console.options import Out, at_least_one, usage, whole, whole_numbers
from console.starting import loading

LEAST_ERROR, MOST_DIM = 1e-9, 512


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(help=usage(__doc__))
def main(
    context: typer.Context,
    dims: Annotated[str, typer.Option(help="numbers of coordinates, as in 2,8,32")] = "2,8,32,64",
    steps: Annotated[int, typer.Option(parser=whole, help="L")] = 10,
    errors: Annotated[str, typer.Option(help="target errors, as in 1e-2,1e-4")] = "1e-2,1e-4,1e-6",
    out: Out = None,
) -> int:
    """See the module's docstring."""
    sizes = sorted(whole_numbers("dims", dims) or [])
    if max(sizes) > MOST_DIM:
        raise BadInputError(f"--dims {dims}: {max(sizes)} is too large; at most {MOST_DIM} is counted")
    count = at_least_one("steps", steps) or 1
    targets = _targets(errors)
    with loading():
        from verify.resource_report import resources
    return resources(sizes, count, targets, out or default_out("resources", context))


def _targets(text: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise BadInputError(
            f"--errors {text}: numbers separated by commas are needed, as in 1e-2,1e-4"
        ) from None
    for value in values:
        if not LEAST_ERROR <= value < 1:
            raise BadInputError(f"--errors {text}: {value:g} must lie between {LEAST_ERROR:g} and 1")
    return sorted(set(values), reverse=True)


if __name__ == "__main__":
    sys.exit(run_command(app))
