"""Compare a trained network with the algorithms and with the hand-built weights.

    python -m training.compare d8              # the shipped network of d = 8
    python -m training.compare d2 --quick      # within a minute
    python -m training.compare runs/d8/model.safetensors --only behaviour
    python -m training.compare d8              # again, after Ctrl-C
    python -m training.compare --study finding --jobs 2

Parts: origins (networks of the EM construction's own shape, trained from it and from elsewhere; the same for
every checkpoint), weight_space, behaviour, probes, attention, causal, failures, adaptation. A network of
another kind is asked what it can be asked, and the report says what it was not. --out gets results.json,
figures, index.html, and parts/ with what is finished, all of which the report shows.

A study trains its own networks and takes no checkpoint. finding: under which conditions does training find
the theorem's weights? rule: which update rule does training find when it starts at the construction and beats
EM? starts: is the construction a better start for meta-training than random weights of the same shape? Exit
codes: 0 done, 2 bad input, 130 stopped.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from console.errors import BadInputError, run_command
from console.folder import default_out
from console.options import folder, usable_seed, usage, whole
from console.starting import loading
from training.serving.shipped import SHIPPED

TASKS, QUICK_TASKS = 256, 64
PART_NAMES = (
    *("origins", "weight_space", "behaviour", "failures", "adaptation", "probes", "attention", "causal"),
)
"""Of training.comparison.command.PARTS; the tests compare them."""

STUDY_NAMES = ("finding", "rule", "starts")
"""Of training.comparison.study_command.STUDIES; the tests compare them."""


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(help=usage(__doc__))
def main(
    context: typer.Context,
    checkpoint: Annotated[
        str | None, typer.Argument(help=f"a model's path, or one of {', '.join(SHIPPED)}")
    ] = None,
    study: Annotated[
        str | None,
        typer.Option(help=f"in place of a checkpoint: {', '.join(STUDY_NAMES)}", show_default="none"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=folder, help="folder for the results", show_default="results/compare_..., by the run"
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="fewer tasks, seeds and steps", show_default="no")
    ] = False,
    tasks: Annotated[
        int | None,
        typer.Option(
            parser=whole, help="tasks a regime", show_default=f"{TASKS}, with --quick {QUICK_TASKS}"
        ),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(help=f"parts, separated by commas, of {', '.join(PART_NAMES)}", show_default="all"),
    ] = None,
    seed: Annotated[int, typer.Option(parser=whole, help="of every random draw")] = 0,
    jobs: Annotated[
        int | None, typer.Option(parser=whole, help="processes of a study", show_default="1")
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(
            help="address of a Dask scheduler whose workers a study runs on, as tcp://host:8786",
            show_default="none",
        ),
    ] = None,
) -> int:
    """Compare; see the module's docstring."""
    usable_seed(seed)
    given = {"--tasks": tasks, "--only": only} if study else {"--jobs": jobs, "--dask": dask}
    for name, value in given.items():
        if value is not None:
            raise BadInputError(f"{name} {value}: {'a study has none' if study else 'only a study has it'}")
    if checkpoint is not None and study is None:
        n_tasks = (QUICK_TASKS if quick else TASKS) if tasks is None else tasks
        with loading():
            from training.comparison.command import compare
            from training.comparison.common.parts import Effort
        out = out or default_out("compare", context, ("checkpoint",), leave=("only",))
        return compare(checkpoint, only, Effort(quick, seed, n_tasks), out)
    if study is not None and checkpoint is None:
        with loading():
            from training.comparison.common.studies import StudyEffort
            from training.comparison.study_command import run_study
        out = out or default_out("compare", context, leave=("jobs", "dask"))
        return run_study(study, StudyEffort(quick, seed, 1 if jobs is None else jobs, dask), out)
    named = "none is given" if study is None else f"{checkpoint} and {study} are given"
    raise BadInputError(f"one checkpoint or one --study is needed; {named}")


if __name__ == "__main__":
    sys.exit(run_command(app))
