"""What ``python -m training.clustering`` does once its options are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from baselines.checks import check_count
from console.cells import Cells
from console.errors import BadInputError, checking_input
from console.output import check_out, write_results
from console.terminal import print_table, progress, widen
from training.clusterings.contenders import contenders
from training.clusterings.data_sets import DataSet, sources
from training.clusterings.figures import PICTURES, pictures
from training.clusterings.measure import Row, draws, measure
from training.clusterings.names import DATA, METHODS
from training.clusterings.table import HEADER, LEGEND, VERDICT_HEADER, cells_of, counted, title, verdicts
from training.serving.loading import shipped_fingerprints

COMMAND = "training.clustering"
ROOMS = ("baselines", "training")
LARGEST_SEED = 2**31
"""scikit-learn takes seeds of 32 bits; some are counted up from it."""


@dataclass(frozen=True)
class Asked:
    """How much of it: draws of synthetic data, seeds on real data, the first seed, whether it is a trial."""

    repeats: int
    starts: int
    seed: int
    quick: bool


def compare(asked: Asked, data: str | None, methods: str | None, out: Path) -> int:
    """Measure every pair that is asked for, print and write; the exit code."""
    with checking_input():
        check_count("--repeats", asked.repeats)
        check_count("--starts", asked.starts)
        if asked.seed >= LARGEST_SEED:
            raise ValueError(f"--seed {asked.seed}: it lies below {LARGEST_SEED} here")
        asked_data, asked_methods = chosen("data", data, DATA), chosen("methods", methods, METHODS)
    run = _run(asked)
    check_out(out, COMMAND, PICTURES, run)
    laws, everyone = sources(asked.quick), contenders(asked.quick)
    cells = Cells(out, COMMAND, run, ROOMS)
    # All data by one method after the other: the networks, which take most of the time, come last.
    keys = {_key(one, other): (one, other) for other in asked_methods for one in asked_data}

    @cache
    def drawn(source: str) -> list[DataSet]:
        return draws(laws[source], asked.repeats, asked.starts, asked.seed)

    with cells.stopping(list(keys)):
        missing = cells.missing(list(keys))
        with progress(len(missing)) as start:

            def compute(key: str) -> dict[str, Any]:
                start(key)
                source, contender = keys[key]
                return asdict(measure(laws[source], everyone[contender], drawn(source), asked.seed))

            for _ in cells.all_of(list(keys), compute):
                pass
    kept = [cells.load(_key(source, contender)) for source in DATA for contender in METHODS]
    _report([Row(**record) for record in kept if record is not None], asked, drawn, out)
    return 0


def chosen(option: str, text: str | None, names: Sequence[str]) -> list[str]:
    """Names separated by commas; all of None.

    Raises:
        BadInputError: one that is not there, or none.
    """
    if text is None:
        return list(names)
    found = list(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in found:
        if name not in names:
            raise BadInputError(f"--{option} {text}: {name!r} is not one of {', '.join(names)}")
    return found


def _key(source: str, contender: str) -> str:
    return f"{source}_{contender}"


def _run(asked: Asked) -> dict[str, Any]:
    """What decides the figures: what was asked, and the weights that "auto" takes."""
    return asdict(asked) | {"networks": shipped_fingerprints()}


def _report(rows: list[Row], asked: Asked, drawn: Any, out: Path) -> None:
    laws, everyone = sources(asked.quick), contenders(asked.quick)
    console = Console()
    widen(console)
    sections = []
    for name in DATA:
        found = [row for row in rows if row.source == name]
        if found:
            table = [cells_of(row, everyone[row.contender]) for row in found]
            sections.append((title(laws[name], drawn(name)), laws[name].law, table))
            print_table(console, sections[-1][0], HEADER, table)
    ranked = verdicts(rows, laws, everyone)
    print_table(console, "EM of full covariances beside the best that is no mixture", VERDICT_HEADER, ranked)
    console.print(LEGEND, style="dim", markup=False)
    run = _run(asked)
    about = f"{counted(asked.repeats, 'draw')}, {counted(asked.starts, 'seed')} on real data, "
    about += f"seed {asked.seed}"
    about += ", a trial run (--quick)" if asked.quick else ""
    first = {name: drawn(name)[0] for name in DATA if any(row.source == name for row in rows)}
    content = {
        "settings": run | {"threads": torch.get_num_threads()},
        "laws": {name: laws[name].law for name in first},
        "rows": [{key: value for key, value in asdict(row).items() if key != "labels"} for row in rows],
    }
    context = {
        "about": about,
        "header": HEADER,
        "sections": sections,
        "legend": LEGEND,
        "verdict_header": VERDICT_HEADER,
        "verdicts": ranked,
        "described": {one.title: one.description for one in everyone.values()},
    }
    shown = pictures(rows, first, everyone, about)
    write_results(
        out, COMMAND, run, content, shown, PICTURES, Path(__file__).with_name("report.html"), context
    )
    console.print(f"wrote {out / 'index.html'}, results.json", markup=False)
