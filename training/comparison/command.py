"""What ``python -m training.compare`` does once its options are read."""

from __future__ import annotations

import shlex
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from baselines.checks import check_count
from console.cells import Cells
from console.errors import checking_input
from console.memory import check_fits
from console.output import check_out, finite, write_results
from console.sections import Section
from console.terminal import print_table, progress, widen
from console.typed_json import FORMAT, Kept, load_result, save_result, to_plain
from training.comparison.adaptation import PART as ADAPTATION
from training.comparison.attention import PART as ATTENTION
from training.comparison.behaviour import PART as BEHAVIOUR
from training.comparison.causal import PART as CAUSAL
from training.comparison.common.parts import Effort, Part, Subject, subject_of
from training.comparison.common.running import COMMAND, one_thread
from training.comparison.failures import PART as FAILURES
from training.comparison.origins import PART as ORIGINS
from training.comparison.probes import PART as PROBES
from training.comparison.weights import PART as WEIGHT_SPACE
from training.serving.loading import load_released

ROOMS = ("constructions", "baselines", "training")
LEAST_TASKS = 16
"""Fewer tasks leave nothing to hold out, and no interval to speak of."""

PARTS: dict[str, Part[Any]] = {
    part.key: part
    for part in (ORIGINS, WEIGHT_SPACE, BEHAVIOUR, FAILURES, ADAPTATION, PROBES, ATTENTION, CAUSAL)
}
PICTURES = tuple(name for part in PARTS.values() for name in part.pictures)


@dataclass(frozen=True, eq=False)
class Answered:
    """A part with what it shows, or why it shows nothing.

    kept  its figures were computed by an earlier call.
    """

    part: Part[Any]
    found: Kept[Any] | None
    section: Section | None
    refusal: str
    kept: bool

    @property
    def seconds(self) -> float:
        """That computing it took; 0 where nothing was computed."""
        return 0.0 if self.found is None else self.found.seconds


def compare(checkpoint: str, only: str | None, effort: Effort, out: Path) -> int:
    """Answer the parts of --only, print and write; the exit code.

    Raises:
        BadInputError: bad input, before anything is written.
    """
    began = time.perf_counter()
    with checking_input():
        check_count("--tasks", effort.tasks, least=LEAST_TASKS)
        check_fits("tasks", effort.tasks, 10**6)  # points, tokens and what every layer makes of them
        chosen = chosen_parts(only)
        subject = subject_of(load_released(checkpoint), effort)
        refusals = {part.key: part.refusal(subject) for part in chosen}
        if all(refusals.values()):
            raise ValueError(f"{checkpoint}: {' '.join(dict.fromkeys(refusals.values()))}")
    run = {"network": subject.released.sha256} | asdict(subject.effort)
    check_out(out, COMMAND, PICTURES, run)
    words = [checkpoint, *["--quick"] * effort.quick]
    words += ["--tasks", str(effort.tasks), "--seed", str(effort.seed)]
    words += ["--only", only] * (only is not None)
    settings = {
        "checkpoint": checkpoint,
        "command": f"python -m {COMMAND} {shlex.join(words)}",
        "effort": asdict(subject.effort),
        "parts": [part.key for part in chosen],
        "threads": 1,
        "device": "cpu",
    }
    console = Console()
    widen(console)
    for part in chosen:
        if refusals[part.key]:
            console.print(f"{part.key}: not asked, {refusals[part.key]}", markup=False)
    cells = Cells(out, COMMAND, run, ROOMS, threads=1)
    with cells.stopping([part.key for part in chosen]):
        with one_thread():
            answers = answer(subject, chosen, refusals, cells)
        _write(out, run, settings, subject, answers)
        _print(console, answers)
    spent = time.perf_counter() - began
    console.print(f"wrote {out / 'index.html'}, results.json, figures; {spent:.0f} s in all", markup=False)
    return 0


def chosen_parts(only: str | None) -> list[Part[Any]]:
    """The parts of --only in the order of the report, or all; ValueError for an unknown name."""
    names = list(PARTS) if only is None else only.split(",")
    for name in names:
        if name not in PARTS:
            raise ValueError(f"--only {name}: it is one of {', '.join(PARTS)}")
    return [part for key, part in PARTS.items() if key in names]


def answer(
    subject: Subject, chosen: list[Part[Any]], refusals: dict[str, str], cells: Cells
) -> list[Answered]:
    """Every part: from disk where it was computed before, else computed and kept as soon as it is done.

    Parts that were not chosen are there too where they were computed before, so that no report loses one.

    What a part raises about the network (ValueError, ArithmeticError) stands in its place; the others go on.
    """
    kept = {key: None if refusals.get(key) else load_result(cells, key, PARTS[key].result) for key in PARTS}
    missing = [part for part in chosen if kept[part.key] is None and not refusals[part.key]]
    found = []
    with progress(sum(part.pieces(subject) for part in missing)) as start:
        for part in (part for key, part in PARTS.items() if part in chosen or kept[key] is not None):
            began = time.perf_counter()
            result, refusal = kept[part.key], refusals.get(part.key, "")
            if result is None and not refusal:
                try:
                    computed = part.compute(subject, lambda name, p=part: start(f"{p.key}: {name}"))
                except (ValueError, ArithmeticError) as problem:
                    refusal = f"could not be computed: {' '.join(str(problem).split())}"
                else:
                    result = save_result(cells, part.key, Kept(computed, time.perf_counter() - began))
            section = None if result is None else part.render(result.result)
            found.append(Answered(part, result, section, refusal, kept[part.key] is not None))
    return found


def _write(
    out: Path, run: dict[str, Any], settings: dict[str, Any], subject: Subject, answers: list[Answered]
) -> None:
    released = subject.released
    content = {
        "settings": settings,
        "model": {
            "name": released.name,
            "sha256": released.sha256,
            "n_parameters": released.n_parameters,
            "config": asdict(released.model.config),
            "training": released.training,
        },
        "format": FORMAT,
        "parts": {
            one.part.key: to_plain(one.found.result) | {"seconds": one.seconds}
            for one in answers
            if one.found
        },
        "refused": {one.part.key: one.refusal for one in answers if one.refusal},
    }
    pictures = [picture for one in answers if one.section for picture in one.section.pictures]
    context = {"answers": answers, "seconds": sum(one.seconds for one in answers)}
    template = Path(__file__).with_name("report.html")
    write_results(out, COMMAND, run, finite(content), pictures, PICTURES, template, context)


def _print(console: Console, answers: list[Answered]) -> None:
    for one in answers:
        console.print(f"\n{one.part.title}", style="bold", markup=False)
        if one.section is None:
            console.print(f"not asked: {one.refusal}", markup=False)
        else:
            console.print(one.section.paragraphs[0], markup=False)
    rows = [[one.part.key, "kept" if one.kept else f"{one.seconds:.1f}"] for one in answers if one.section]
    console.print()
    print_table(console, "Seconds", ("part", "seconds"), rows)
