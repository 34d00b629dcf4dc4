"""``python -m verify.precision``: what float64, float32 and bfloat16 cost, certified run by run.

Every theorem at its finest accuracy, every dtype, both CPU kernels of softmax attention. Exit code 0, or 2
for bad input.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from console.errors import BadInputError, run_command
from console.folder import default_out
from console.options import Out, Seed, at_least_one, usable_seed, usage, whole
from console.starting import loading
from verify.names import THEOREM_NAMES

DTYPES = ("float64", "float32", "bfloat16")
LEFT_OUT = ("spectral-squares", "spectral-variance")
"""Theorems that are measured only where they are named."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(help=usage(__doc__, theorems=THEOREM_NAMES))
def main(
    context: typer.Context,
    theorems: Annotated[
        str | None,
        typer.Option(
            help="names of theorems, separated by commas, of those above",
            show_default=f"all but {', '.join(LEFT_OUT)}",
        ),
    ] = None,
    dtypes: Annotated[
        str, typer.Option(help=f"of weights and stream, separated by commas, of {', '.join(DTYPES)}")
    ] = ",".join(DTYPES),
    tasks: Annotated[int, typer.Option(parser=whole, help="of each size, of as many families")] = 3,
    workers: Annotated[
        int, typer.Option(parser=whole, help="processes, of one thread each; 1: this one alone")
    ] = 2,
    seed: Seed = 0,
    out: Out = None,
) -> int:
    """See the module's docstring."""
    chosen = _named("dtypes", dtypes, DTYPES)
    at_least_one("tasks", tasks)
    at_least_one("workers", workers)
    usable_seed(seed)
    with loading():
        from verify.engine.certificates import check_certificates

        check_certificates(["verify.precision"])
        from verify.registry import THEOREMS

        every = [key for key in THEOREMS if key not in LEFT_OUT]
        keys = every if theorems is None else _named("theorems", theorems, tuple(THEOREMS))
        from verify.certify.precision.command import Asked, precision_table

    asked = Asked(keys, chosen, tasks, seed)
    return precision_table(
        {key: THEOREMS[key] for key in keys}, asked, out or default_out("precision", context)
    )


def _named(name: str, text: str, accepted: tuple[str, ...]) -> list[str]:
    """The words of a list, each once."""
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if word not in accepted:
            raise BadInputError(f"--{name} {text}: {word!r} is not one of {', '.join(accepted)}")
    return list(dict.fromkeys(words))


if __name__ == "__main__":
    sys.exit(run_command(app))
