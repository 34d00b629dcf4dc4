"""``python -m verify``: the ledger of every registered claim. Exit code 1 when one of them fails.

What a check found is kept in parts/ of --out as soon as it is done: after Ctrl-C or a kill the same command
goes on. Checks that --only leaves out stay in the ledger of a folder that has them.
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from console.cells import Cells
from console.errors import BROKEN, BadInputError, run_command
from console.folder import default_out, file_digest
from console.memory import check_fits
from console.options import folder, usable_seed, whole
from console.output import check_out, significant, write_results
from console.terminal import progress
from constructions.language.hypotheses import HypothesisError
from training.serving.loading import SHIPPED
from verify.engine.ledger_figure import NAMES, margins
from verify.engine.record import Record, shown
from verify.registry import CHECKS, Check, own_checks

COMMAND = "verify"
ROOMS = ("constructions", "baselines", "training", "verify")
INSTANCES = 2000

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(help=__doc__)
def main(
    context: typer.Context,
    only: Annotated[
        str | None, typer.Option(help="names of checks, separated by commas; default all")
    ] = None,
    instances: Annotated[
        int, typer.Option(parser=whole, help="one-step instances of the search")
    ] = INSTANCES,
    seed: Annotated[int, typer.Option(parser=whole, help="of every random draw")] = 0,
    theorems: Annotated[
        str | None,
        typer.Option(help="theorems of your own, FILE.py:NAME, separated by commas: their lines too"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(parser=folder, help="folder for the results; default results/ledger_...")
    ] = None,
) -> int:
    """See the module's docstring."""
    places = [] if theorems is None else theorems.split(",")
    checks = CHECKS | own_checks(places)
    names = list(checks) if only is None else only.split(",")
    for name in names:
        if name not in checks:
            raise BadInputError(f"--only {name}: it is one of {', '.join(checks)}")
    if instances < 1:
        raise BadInputError(f"--instances {instances}: at least 1 is needed")
    check_fits("instances", instances, 100)  # ratios of bound and error, kept for their median
    usable_seed(seed)
    run = {"instances": instances, "seed": seed}
    run |= {f"network {name}": file_digest(path) for name, path in SHIPPED.items()}
    run |= {f"theorem {place}": file_digest(Path(place.rpartition(":")[0])) for place in places}
    out = out or default_out("ledger", context, leave=("only",))
    check_out(out, COMMAND, NAMES, run)
    cells = Cells(out, COMMAND, run, ROOMS)
    with cells.stopping(names):
        records = _records(checks, names, seed, instances, cells)
        passed = all(record.passed for record in records)
        results = {
            "passed": passed,
            "seed": seed,
            "settings": {"only": only, "instances": instances, "seed": seed, "theorems": theorems},
            "records": [record.as_dict() for record in records],
        }
        template = Path(__file__).with_name("ledger.html")
        texts = {"texts": [shown(record) for record in records]}
        write_results(out, COMMAND, run, results, [margins(records)], NAMES, template, texts)
    print(f"{'every claim held' if passed else 'A CLAIM FAILED'}; wrote {out / 'index.html'}")
    return 0 if passed else BROKEN


def _records(
    checks: dict[str, Check], names: list[str], seed: int, instances: int, cells: Cells
) -> list[Record]:
    """Of the checks of these names and those that the folder has already; prints each line as it comes."""
    missing = cells.missing(names)
    listed = [name for name in checks if name in names or cells.load(name) is not None]
    records: list[Record] = []

    def compute(name: str) -> list[dict[str, Any]]:
        start(name)
        return [record.as_dict() for record in _checked(name, checks[name], seed, instances)]

    with progress(len(missing)) as start:
        for _, kept in cells.all_of(listed, compute):
            found = [Record.from_dict(content) for content in kept]
            records += found
            for record in found:
                print(_line(record), flush=True)
    return records


def _checked(name: str, check: Check, seed: int, instances: int) -> list[Record]:
    """The records of one check; a construction that refuses an instance of ours has failed its claim."""
    began = time.perf_counter()
    try:
        return check(seed, instances)
    except HypothesisError as problem:
        return [
            Record(
                claim=f"{name}: every instance is within the hypotheses",
                source="the check itself",
                evidence="sampled",
                bound=0.0,
                observed=math.nan,
                instances=0,
                dtype="-",
                seed=seed,
                seconds=time.perf_counter() - began,
                passed=False,
                note=str(problem),
            )
        ]


def _line(r: Record) -> str:
    status = "held  " if r.passed else "FAILED"
    observed, limit, margin = shown(r)
    figures = f"observed {observed:>7}  {limit:>16}  margin {margin:>11}"
    if r.interval is not None:
        low, high = map(significant, r.interval)
        figures += f"  95 % [{low}, {high}], {r.steps:,} steps, {r.device}"
    note = f" ({r.note})" if r.note else ""
    sample = f"n={r.instances:<6} {r.dtype:7} {r.seconds:6.1f} s"
    return f"{status} {r.evidence:9} {figures}  {sample}  {r.claim}{note}"


if __name__ == "__main__":
    sys.exit(run_command(app))
