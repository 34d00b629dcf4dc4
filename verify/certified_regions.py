"""``python -m verify.certified_regions``: boxes of data on which the construction is certified to be near EM.

Around random tasks, for growing radii, with every rounding enclosed. Exit code 0, or 2 for bad input.
"""

from __future__ import annotations

import math
import sys
from typing import Annotated

import typer

from console.errors import BadInputError, run_command
from console.folder import default_out
from console.options import Out, Seed, as_typed, at_least_one, real, usable_seed, usage, whole, whole_numbers
from console.starting import loading

MOST_RADIUS = 1.0

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(help=usage(__doc__))
def main(
    context: typer.Context,
    dims: Annotated[str, typer.Option(help="numbers of coordinates, as in 1,2,3")] = "1,2,3",
    components: Annotated[str, typer.Option(help="numbers of components, as in 2,3")] = "2,3",
    radii: Annotated[
        str, typer.Option(help="of the boxes, each coordinate of each point by itself, as in 1e-3,1e-2")
    ] = "1e-8,1e-6,1e-5,1e-4,1e-3,1e-2,3e-2,1e-1",
    samples: Annotated[int, typer.Option(parser=whole, help="points")] = 20,
    steps: Annotated[int, typer.Option(parser=whole, help="EM steps")] = 3,
    pieces: Annotated[int, typer.Option(parser=whole, help="linear pieces a function")] = 512,
    tasks: Annotated[int, typer.Option(parser=whole, help="random tasks of each size")] = 2,
    factor: Annotated[
        float, typer.Option(parser=real, help="certified: the bound is at most so many point bounds")
    ] = 10.0,
    budget: Annotated[int, typer.Option(parser=whole, help="boxes that a task may be cut into, counted")] = 1,
    seed: Seed = 0,
    out: Out = None,
) -> int:
    """See the module's docstring."""
    sizes, counts = (
        sorted(whole_numbers("dims", dims) or []),
        sorted(whole_numbers("components", components) or []),
    )
    found = _radii(radii)
    for name, value in (("samples", samples), ("steps", steps), ("pieces", pieces), ("tasks", tasks)):
        at_least_one(name, value)
    at_least_one("budget", budget)
    if samples < max(counts):
        raise BadInputError(
            f"--samples {samples}: at least as many as components are needed, up to {max(counts)}"
        )
    if not 0 < factor < math.inf:
        raise BadInputError(f"--factor {factor:g}: a positive number is needed")
    usable_seed(seed)
    with loading():
        from verify.engine.certificates import check_certificates

        check_certificates(["verify.certified_regions"])
        from verify.certify.regions.command import certified_regions
        from verify.certify.regions.reach import Asked
    asked = Asked(sizes, counts, found, samples, steps, pieces, tasks, factor, budget, seed)
    return certified_regions(asked, out or default_out("certified_regions", context))


def _radii(text: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise BadInputError(
            f"--radii {text}: numbers separated by commas are needed, as in 1e-3,1e-2"
        ) from None
    for value in values:
        if not 0 < value <= MOST_RADIUS:
            raise BadInputError(
                f"--radii {as_typed(values)}: {value:g} must lie above 0, up to {MOST_RADIUS:g}"
            )
    return sorted(set(values))


if __name__ == "__main__":
    sys.exit(run_command(app))
