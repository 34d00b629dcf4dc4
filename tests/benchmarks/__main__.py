"""One table of speed and memory: work, ours, peer, ratio, memory ratio.

    python -m tests.benchmarks [--only PATTERN] [--out results/benchmarks] [--again]

Every part runs in a fresh process on one thread, both sides in turns. What is done is kept in parts/ and not
done again while the code is the same, so a stopped run goes on, and the page shows all that is kept of this
code; the whole takes the better part of an hour.
Writes results.json, with the machine, and index.html with the curves.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..mutants.copies import digest_of_tree
from .measure import Row, in_a_fresh_process, part

ROOT = Path(__file__).parents[2]
PARTS = {
    "EM step": ("constructed_steps", "em_rows"),
    "tensor power step": ("constructed_steps", "tensor_rows"),
    "curves": ("constructed_steps", "curves"),
    "large fits": ("large_fits", "large_rows"),
    "many fits": ("many_fits", "many_rows"),
    "choosing": ("choosing", "choosing_rows"),
    "training": ("training_step", "training_rows"),
    "start-up": ("startup", "startup_rows"),
}
HEADER = ("work", "peer", "ours, ms", "peer, ms", "ours / peer", "memory, MiB", "ours / peer", "")


def main() -> int:
    """Exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", metavar="PATTERN", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "benchmarks", help="folder")
    parser.add_argument("--again", action="store_true", help="forget the figures of earlier runs")
    asked = parser.parse_args()
    try:
        names = [name for name in PARTS if re.search(asked.only, name)]
    except re.error as error:
        parser.error(f"--only is {asked.only!r}, needs a regular expression: {error}")
    if not names:
        parser.error(f"--only is {asked.only!r}, which matches none of {', '.join(PARTS)}")
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    parts = asked.out / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    tree, found = digest_of_tree(), {}
    for name in PARTS:
        kept = parts / f"{name.replace(' ', '-')}.json"
        before = json.loads(kept.read_text()) if kept.exists() else {}
        if name in names and (asked.again or before.get("tree") != tree):
            print(f"{name} ...", flush=True)
            before = {"tree": tree, "found": in_a_fresh_process(part, *PARTS[name])}
            kept.write_text(json.dumps(before))
        if before.get("tree") != tree:
            continue  # of other code, or never measured
        found[name] = before["found"]
        if name != "curves":
            for row in found[name]:
                print("  ".join(_cells(Row(**row))), flush=True)
    _write(asked.out, found)
    print(f"wrote {asked.out}/index.html, results.json")
    return 0


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*:\s*(.*)", info.read_text()) if info.exists() else []
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
    }


def _cells(row: Row) -> tuple[str, ...]:
    memory = "" if row.our_memory is None else f"{row.our_memory:.0f}"
    ratio = "" if row.memory_ratio is None else f"{row.memory_ratio:.3g}"
    times = f"{1e3 * row.ours:.4g}", f"{1e3 * row.theirs:.4g}", f"{row.ratio:.3g}"
    return row.work, row.peer, *times, memory, ratio, row.note


def _write(out: Path, found: dict[str, Any]) -> None:
    from console.output import write_results

    from .curves import exponents, picture

    groups: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    rows = [Row(**row) for name, made in found.items() if name != "curves" for row in made]
    for row in rows:
        groups[row.group].append(_cells(row))
    curves = found.get("curves", {})
    grown = exponents(curves)
    results = {
        "machine": machine(),
        "rows": [asdict(row) | {"ratio": row.ratio, "memory_ratio": row.memory_ratio} for row in rows],
        "curves": curves,
        "exponents": grown,
    }
    page = {"groups": groups, "header": HEADER, "machine": results["machine"]}
    page["exponents"] = [
        (name, *(f"{sides[side]:.2f}" if side in sides else "" for side in ("structured", "em", "dense")))
        for name, sides in grown.items()
    ]
    pictures = [picture(curves)] if curves else []
    write_results(
        out,
        "tests.benchmarks",
        {},
        results,
        pictures,
        ("curves",),
        Path(__file__).with_name("report.html"),
        page,
    )


if __name__ == "__main__":
    sys.exit(main())
