"""What ``python -m verify`` does once its options are read."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

from console.cells import Cells
from console.errors import BROKEN, BadInputError
from console.extras import missing
from console.folder import file_digest
from console.output import check_out, significant, write_results
from console.terminal import progress
from constructions.language.hypotheses import HypothesisError
from training.serving.shipped import SHIPPED, STUDIED
from verify.engine.certificates import can_certify, check_certificates
from verify.engine.record import Check as SelfCheck
from verify.engine.record import Record, shown
from verify.registry import CHECKS, Check, own_checks

COMMAND = "verify"
ROOMS = ("constructions", "baselines", "training", "verify")


def ledger(only: str | None, instances: int, seed: int, theorems: str | None, out: Path) -> int:
    """Run the checks, print a line for each claim, write the ledger; the exit code.

    Raises:
        BadInputError: bad input, before anything is written.
    """
    from verify.engine.ledger_figure import NAMES, margins  # matplotlib

    places = [] if theorems is None else theorems.split(",")
    checks = CHECKS | own_checks(places)
    names = _possible(checks) if only is None else only.split(",")
    for name in names:
        if name not in checks:
            raise BadInputError(f"--only {name}: it is one of {', '.join(checks)}")
    check_certificates(name for name in names if name.endswith("-certified"))
    run = {"instances": instances, "seed": seed}
    run |= {f"network {name}": file_digest(SHIPPED[name]) for name in STUDIED}
    run |= {f"theorem {place}": file_digest(Path(place.rpartition(":")[0])) for place in places}
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


def _possible(checks: dict[str, Check]) -> list[str]:
    """The names of all checks, less the certified ones, which is said, where python-flint is missing."""
    if can_certify():
        return list(checks)
    left_out = [name for name in checks if name.endswith("-certified")]
    line = missing(f"each of {len(left_out)} certified lines, left out,", "certify")
    print(f"warning: {line}", file=sys.stderr)
    return [name for name in checks if name not in left_out]


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
    itself = SelfCheck("the check itself", seed, "-")
    try:
        return check(seed, instances)
    except HypothesisError as problem:
        claim = f"{name}: every instance is within the hypotheses"
        return [itself.record(claim, 0.0, math.nan, 0, passed=False, note=str(problem))]


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
