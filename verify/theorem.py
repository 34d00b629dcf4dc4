"""``python -m verify.theorem FILE.py:NAME``: a theorem from a file of one's own, run, bounded and searched.

Measures every size and family of the theorem beside its bounds, step by step, sweeps its accuracy, searches
for a counterexample, and writes a page. Exit code 0 when every bound held, 1 when one is broken, 2 for bad
input. paper_notes/your_own_theorem.md writes such a file from nothing.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from console.errors import run_command
from console.options import Certify, DeviceName, DtypeName, EvaluationName, Out, Seed, usage, whole
from console.starting import loading

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(help=usage(__doc__))
def main(
    context: typer.Context,
    theorem: Annotated[str, typer.Argument(help="FILE.py:NAME, as in my_theorem.py:MINE")],
    steps: Annotated[int, typer.Option(parser=whole, help="L, steps of a path")] = 5,
    trials: Annotated[int, typer.Option(parser=whole, help="tasks of a size and family")] = 10,
    instances: Annotated[int, typer.Option(parser=whole, help="instances that are searched")] = 2000,
    dtype: DtypeName = "float64",
    device: DeviceName = "cpu",
    evaluation: EvaluationName = "dense",
    certify: Certify = None,
    seed: Seed = 0,
    out: Out = None,
) -> int:
    """See the module's docstring."""
    with loading():
        from verify.own.command import Options, check_file
    options = Options.checked(locals())
    return check_file(theorem, options, out, context)


if __name__ == "__main__":
    sys.exit(run_command(app))
