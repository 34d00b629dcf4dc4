"""What ``python -m training.compare --study NAME`` does once its options are read."""

from __future__ import annotations

import shlex
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from baselines.workers.choosing import using
from console.errors import checking_input
from console.extras import check_installed
from console.output import check_out, finite, write_results
from console.terminal import print_table, progress, widen
from console.typed_json import to_plain
from training.comparison.common.running import COMMAND, one_thread
from training.comparison.common.studies import Study, StudyEffort
from training.comparison.finding import STUDY as FINDING
from training.comparison.rule import STUDY as RULE
from training.comparison.starts import STUDY as STARTS

STUDIES: dict[str, Study[Any]] = {study.key: study for study in (FINDING, RULE, STARTS)}


def run_study(name: str, effort: StudyEffort, out: Path) -> int:
    """Train, measure, print and write; the exit code.

    Raises:
        BadInputError: bad input, before anything is written.
    """
    began = time.perf_counter()
    with checking_input():
        if name not in STUDIES:
            raise ValueError(f"--study {name}: it is one of {', '.join(STUDIES)}")
        if effort.jobs < 1:
            raise ValueError(f"--jobs {effort.jobs}: at least 1 is needed")
    if effort.dask is not None:
        check_installed("distributed", f"--dask {effort.dask}", "distributed")
    study = STUDIES[name]
    run = {"study": name, "quick": effort.quick, "seed": effort.seed}
    check_out(out, COMMAND, study.pictures, run)
    console = Console()
    widen(console)
    workers = ExitStack()
    with checking_input():
        workers.enter_context(using(effort.jobs, effort.dask))
    with workers, one_thread(), progress(study.pieces(effort)) as start:
        result = study.answer(effort, out, start)
    section = study.render(result)
    words = ["--study", name, *["--quick"] * effort.quick, "--seed", str(effort.seed)]
    content = {
        "settings": run | {"command": f"python -m {COMMAND} {shlex.join(words)}", "device": "cpu"},
        "result": to_plain(result),
    }
    template = Path(__file__).with_name("study.html")
    context = {"study": {"title": study.title, "question": study.question}, "section": section}
    write_results(out, COMMAND, run, finite(content), section.pictures, study.pictures, template, context)
    console.print(study.title, style="bold", markup=False)
    for text in section.paragraphs:
        console.print(text, markup=False)
    for table in section.tables:
        console.print()
        print_table(console, table.title, table.header, table.rows)
    spent = time.perf_counter() - began
    console.print(f"wrote {out / 'index.html'}, results.json, figures; {spent:.0f} s in all", markup=False)
    return 0
