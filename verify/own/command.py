"""What ``python -m verify.theorem`` does once its options are read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import typer
from rich.console import Console

from console.errors import BadInputError, checking_input
from console.folder import default_out, file_digest
from console.memory import check_fits
from console.output import significant
from console.terminal import print_verdict, progress, widen
from verify.engine import options
from verify.engine.certificates import broken_in, summary, tasks_certified
from verify.engine.loading import load_theorem
from verify.engine.measure import Largest, Measured, drawn, measure
from verify.engine.report import Report
from verify.engine.search import Found, described, search
from verify.engine.sweep import swept
from verify.engine.tables import print_rows
from verify.engine.theorem import Theorem, numbers_of

COMMAND = "verify.theorem"
MOST_LAYERS = 12
"""Layers whose weights are drawn."""
NAMES = (
    *("error_against_steps", "error_against_accuracy", "bound_against_error"),
    *(f"weights_layer_{number}" for number in range(1, MOST_LAYERS + 1)),
)
LAST = (
    *(("instance", "instance"), ("quantity", "quantity"), ("error", "error"), ("bound", "bound")),
    *(("of it rounding", "rounding"), ("bound/error, least", "margin", 3), ("", "broken")),
)
SWEEP = (
    *(("quantity", "quantity"), ("error", "error"), ("bound, approximation", "approximation")),
    ("bound, rounding", "rounding"),
)


@dataclass(frozen=True)
class Options(options.Options):
    """Of one call, checked."""

    trials: int
    instances: int


def check_file(place: str, options: Options, out: Path | None, context: typer.Context) -> int:
    """Check the theorem that stands in a file; the exit code. The folder's default is that of the call.

    Raises:
        BadInputError: as :func:`check`; a file that holds no theorem of this name.
    """
    check_fits("trials", options.trials, 1000 * options.steps)
    check_fits("instances", options.instances, 100)
    found = load_theorem(place)
    file, _, name = place.rpartition(":")
    out = out or default_out(f"theorem_{found.key}", context, leave=("theorem",))
    run = {"file": file_digest(Path(file)), "theorem": name}
    run |= {name: str(value) for name, value in options.plain().items()}
    return check(found, options, out, run, Console())


def check(theorem: Theorem[Any], options: Options, out: Path, run: dict[str, Any], console: Console) -> int:
    """Measure, sweep and search ``theorem``, write the results, and return the exit code.

    Raises:
        BadInputError: a folder that cannot be written, a size that the theorem itself refuses.
    """
    from verify.engine.drawing import against_accuracy, against_steps, bound_against_error, weight_pictures

    options = replace(options, steps=theorem.within(options.steps))
    report = Report(out, COMMAND, NAMES, run, Path(__file__).with_name("report.html"))
    generator = torch.Generator().manual_seed(options.seed)
    finest = theorem.accuracies[-1]
    paths: dict[str, Measured] = {}
    rows: list[Largest] = []
    with checking_input(theorem.key), progress(len(theorem.sizes) + 2) as start:
        for sizes in theorem.sizes:
            start(described(sizes))
            weights = theorem.construct(sizes, options.steps, finest)
            for family in theorem.families:
                instance = drawn(theorem, family, sizes, options.trials, options.dtype, generator)
                name = f"{described(sizes)}, {family}"
                on = options.dtype, options.device, options.steps, options.evaluation
                paths[name] = measure(theorem, weights, instance, *on, printed=True)
                rows += _with_certificates(paths[name].largest(name), theorem, weights, instance, options)
        start("accuracy")
        sweep = swept(theorem, options, generator)
        start("search")
        found = search(
            theorem, options.instances, options.dtype, options.seed, options.device, options.evaluation
        )
    broken = sum(int(measured.broken().sum()) for measured in paths.values())
    broken += sum(broken_in(row.certified) for row in rows)
    shown = theorem.construct(theorem.sizes[0], options.steps, finest)
    results = {
        "theorem": theorem.name,
        "source": theorem.source,
        "hypotheses": theorem.hypotheses,
        "passed": broken == 0 and not found.broken,
        "broken": broken,
        "seed": options.seed,
        "dtype": options.plain()["dtype"],
        "settings": {name: str(value) for name, value in options.plain().items()},
        "paths": rows,
        "sweep": sweep,
        "search": found,
    }
    widen(console)
    console.print(f"{theorem.name} ({theorem.source})", markup=False)
    last = [row for row in rows if row.step == options.steps]
    print_rows(console, f"After {options.steps} steps, largest over the tasks", LAST, last)
    if theorem.accuracy is not None:
        print_rows(console, "One step, medians", ((theorem.accuracy.name, "shown"), *SWEEP), sweep)
    _print_search(console, found)
    certified = [(f"{r.instance}, {r.quantity}", r.step, r.certified) for r in rows if r.certified]
    console.print(summary([one for _, _, one in certified]), markup=False)
    console.print(theorem.resource_table(shown), markup=False, highlight=False)
    print_verdict(console, broken == 0 and not found.broken)
    pictures = [against_steps(dict(list(paths.items())[-6:])), bound_against_error(paths.values())]
    pictures += [against_accuracy(theorem, sweep)] if sweep else []
    what = f"{theorem.name} at {described(theorem.sizes[0])}"
    pictures += weight_pictures(shown.plot_weights()[:MOST_LAYERS], what)
    page = {
        "theorem": theorem,
        "certified": certified,
        "explanation": shown.explain(),
        "resources": theorem.resource_table(shown),
    }
    return report.write(console, results, pictures, page)


def _with_certificates(
    rows: list[Largest],
    theorem: Theorem[Any],
    weights: Any,
    instance: Any,
    options: Options,
) -> list[Largest]:
    """Those of the first tasks, where the theorem's formulas can be evaluated in balls.

    Raises:
        BadInputError: certificates are asked for, and a formula cannot.
    """
    tasks = tasks_certified(options.certify, len(instance), numbers_of(instance), options.steps)
    if not tasks:
        return rows
    from verify.balls.array import NotInBallsError  # python-flint, which not everybody has
    from verify.certify.rows import certificates

    on = options.dtype, options.steps, tasks, options.evaluation, bool(options.certify)
    try:
        places = certificates(theorem, weights, instance, *on)
    except NotInBallsError as problem:
        if options.certify:
            raise BadInputError(f"--certify: {theorem.key}: {problem}") from problem
        return rows
    return [replace(row, certified=places.get((row.step, row.quantity))) for row in rows]


def _print_search(console: Console, found: Found) -> None:
    console.print(
        f"search: {found.instances} instances of {len(found.families)} families, "
        f"{len(found.broken)} broken draws, least bound/error {significant(found.margin, 3)}, "
        f"{found.claimed} of {found.steps} bounds finite, {found.refused} refused",
        markup=False,
    )
    for line in found.broken[:5]:
        console.print(f"BROKEN: {line}", style="red", markup=False)
