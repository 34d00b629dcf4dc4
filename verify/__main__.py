"""``python -m verify``: the ledger of every registered claim. Exit code 1 when one of them fails."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track

from console.errors import BROKEN, BadInputError, run_command
from console.memory import check_fits
from console.options import usable_seed, whole
from console.output import Picture, check_out, significant, write_results
from constructions.hypotheses import HypothesisError
from verify.record import Record
from verify.registry import CHECKS

COMMAND = "verify"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(help=__doc__)
def main(
    only: Annotated[
        str | None, typer.Option(help="names of checks, separated by commas; default all")
    ] = None,
    instances: Annotated[int, typer.Option(parser=whole, help="one-step instances of the search")] = 2000,
    seed: Annotated[int, typer.Option(parser=whole, help="of every random draw")] = 0,
    out: Annotated[Path, typer.Option(help="folder for results.json, ledger.png, index.html")] = Path(
        "results/ledger"
    ),
) -> int:
    """See the module's docstring."""
    names = list(CHECKS) if only is None else only.split(",")
    for name in names:
        if name not in CHECKS:
            raise BadInputError(f"--only {name}: it is one of {', '.join(CHECKS)}")
    if instances < 1:
        raise BadInputError(f"--instances {instances}: at least 1 is needed")
    check_fits("instances", instances, 100)  # ratios of bound and error, kept for their median
    usable_seed(seed)
    check_out(out, COMMAND, ("ledger",))
    records: list[Record] = []
    for name in track(names, "checking", console=Console(stderr=True)):
        found = _checked(name, seed, instances)
        records.extend(found)
        for record in found:
            print(_line(record), flush=True)
    passed = all(record.passed for record in records)
    results = {
        "passed": passed,
        "seed": seed,
        "settings": {"only": only, "instances": instances, "seed": seed},
    }
    results |= {"records": [record.as_dict() for record in records]}
    write_results(
        out, COMMAND, results, [_margins(records)], ("ledger",), Path(__file__).with_name("ledger.html"), {}
    )
    print(f"{'every claim held' if passed else 'A CLAIM FAILED'}; wrote {out / 'index.html'}")
    return 0 if passed else BROKEN


def _checked(name: str, seed: int, instances: int) -> list[Record]:
    """The records of one check; a construction that refuses an instance of ours has failed its claim."""
    began = time.perf_counter()
    try:
        return CHECKS[name](seed, instances)
    except HypothesisError as problem:
        return [
            Record(
                claim=f"{name}: every instance is within the hypotheses",
                source="the check itself",
                evidence="sampled",
                bound=0.0,
                observed=math.nan,
                margin=0.0,
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
    figures = f"observed {significant(r.observed):>7}  bound {significant(r.bound):>7}"
    figures += f"  margin {significant(r.margin, 3):>6}"
    if r.interval is not None:
        low, high = map(significant, r.interval)
        figures += f"  95 % [{low}, {high}], {r.steps:,} steps, {r.device}"
    note = f" ({r.note})" if r.note else ""
    sample = f"n={r.instances:<6} {r.dtype:7} {r.seconds:6.1f} s"
    return f"{status} {r.evidence:9} {figures}  {sample}  {r.claim}{note}"


def _margins(records: list[Record]) -> Picture:
    sampled = [r for r in records if 0 < r.margin < float("inf")]
    figure = Figure(figsize=(10, 1.2 + 0.5 * len(sampled)), layout="constrained")
    axes = figure.subplots()
    axes.barh([r.claim[:90] for r in sampled], [r.margin for r in sampled], color="C0")
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.set_xlabel("margin: bound / observed where they are nearest")
    axes.tick_params(axis="y", labelsize=7)
    caption = "How near each claim comes to its limit; left of the line it would be broken."
    return Picture("ledger", caption, figure)


if __name__ == "__main__":
    sys.exit(run_command(app))
