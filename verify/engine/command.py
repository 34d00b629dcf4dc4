"""What ``python -m verify.theorem`` does once its options are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import typer
from rich.console import Console

from console.errors import checking_input
from console.folder import default_out, file_digest
from console.memory import check_fits
from console.options import dtype_named, plain_value, usable_device
from console.output import significant
from console.terminal import print_verdict, progress, widen
from verify.engine.drawing import against_accuracy, against_steps, bound_against_error, weight_pictures
from verify.engine.loading import load_theorem
from verify.engine.measure import Measured, drawn, measure
from verify.engine.report import Report
from verify.engine.search import Found, described, search
from verify.engine.tables import print_rows
from verify.engine.theorem import Theorem

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
class Options:
    """Of one call, checked."""

    steps: int
    trials: int
    instances: int
    dtype: torch.dtype
    device: str
    seed: int

    @classmethod
    def named(cls, steps: int, trials: int, instances: int, dtype: str, device: str, seed: int) -> Options:
        """With the dtype and the device that the command line names.

        Raises:
            BadInputError: one that cannot be used.
        """
        return cls(steps, trials, instances, dtype_named(dtype), usable_device(device), seed)


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
    run |= {name: str(plain_value(value)) for name, value in vars(options).items()}
    return check(found, options, out, run, Console())


def check(theorem: Theorem[Any], options: Options, out: Path, run: dict[str, Any], console: Console) -> int:
    """Measure, sweep and search ``theorem``, write the results, and return the exit code.

    Raises:
        BadInputError: a folder that cannot be written, a size that the theorem itself refuses.
    """
    report = Report(out, COMMAND, NAMES, run, Path(__file__).with_name("theorem_report.html"))
    generator = torch.Generator().manual_seed(options.seed)
    finest = None if theorem.accuracy is None else theorem.accuracy.values[-1]
    paths: dict[str, Measured] = {}
    sweep: list[dict[str, Any]] = []
    with checking_input(theorem.key), progress(len(theorem.sizes) + 2) as start:
        for sizes in theorem.sizes:
            start(described(sizes))
            weights = theorem.construct(sizes, options.steps, finest)
            for family in theorem.families:
                instance = drawn(theorem, family, sizes, options.trials, options.dtype, generator)
                name = f"{described(sizes)}, {family}"
                paths[name] = measure(
                    theorem, weights, instance, options.dtype, options.device, options.steps
                )
        start("accuracy")
        sweep = swept(theorem, options, generator)
        start("search")
        found = search(theorem, options.instances, options.dtype, options.seed, options.device)
    shown = theorem.construct(theorem.sizes[0], options.steps, finest)
    results = _results(theorem, options, paths, sweep, found)
    _print(console, theorem, results, theorem.resource_table(shown))
    layers = shown.plot_weights()[:MOST_LAYERS]
    largest = dict(list(paths.items())[-6:])
    pictures = [against_steps(largest), bound_against_error(paths.values())]
    pictures += [against_accuracy(theorem, sweep)] if sweep else []
    pictures += weight_pictures(layers, f"{theorem.name} at {described(theorem.sizes[0])}")
    page = {
        "theorem": theorem,
        "explanation": shown.explain(),
        "resources": theorem.resource_table(shown),
    }
    return report.write(console, results, pictures, page)


def swept(theorem: Theorem[Any], options: Options, generator: torch.Generator) -> list[dict[str, Any]]:
    """One step of the first family at every accuracy, medians over all items; nothing where it is exact."""
    if theorem.accuracy is None:
        return []
    sizes, family = theorem.sizes[0], next(iter(theorem.families))
    instance = drawn(theorem, family, sizes, options.trials, options.dtype, generator)
    rows = []
    for value in theorem.accuracy.values:
        weights = theorem.construct(sizes, 1, value)
        found = measure(theorem, weights, instance, options.dtype, options.device, 1)
        for name, error in found.error.items():
            bound = found.bound[name]
            parts = {"error": error, "approximation": bound.approximation, "rounding": bound.rounding}
            medians = {key: float(part[found.compared[name]].median()) for key, part in parts.items()}
            rows.append({"quantity": name, "accuracy": value} | medians)
    return rows


def _results(
    theorem: Theorem[Any],
    options: Options,
    paths: dict[str, Measured],
    sweep: list[dict[str, Any]],
    found: Found,
) -> dict[str, Any]:
    broken = sum(int(measured.broken().sum()) for measured in paths.values())
    steps = range(1, options.steps + 1)
    return {
        "theorem": theorem.name,
        "source": theorem.source,
        "hypotheses": list(theorem.hypotheses),
        "passed": broken == 0 and not found.broken,
        "broken": broken,
        "seed": options.seed,
        "dtype": str(options.dtype).removeprefix("torch."),
        "settings": {name: str(value).removeprefix("torch.") for name, value in vars(options).items()},
        "paths": [
            {"instance": name} | row
            for name, measured in paths.items()
            for s in steps
            for row in measured.at(s)
        ],
        "sweep": sweep,
        "search": found.as_dict(),
    }


def _print(console: Console, theorem: Theorem[Any], results: dict[str, Any], resources: str) -> None:
    widen(console)
    console.print(f"{theorem.name} ({theorem.source})", markup=False)
    end = results["paths"][-1]["step"]
    last = [r | {"bound": _total(r)} for r in results["paths"] if r["step"] == end]
    print_rows(console, f"After {end} steps, largest over the tasks", LAST, last)
    if theorem.accuracy is not None:
        rows = [row | {"accuracy": f"{row['accuracy']:g}"} for row in results["sweep"]]
        print_rows(console, "One step, medians", ((theorem.accuracy.name, "accuracy"), *SWEEP), rows)
    searched = results["search"]
    console.print(
        f"search: {searched['instances']} instances of {len(searched['families'])} families, "
        f"{len(searched['broken'])} broken draws, least bound/error {significant(searched['margin'], 3)}, "
        f"{searched['claimed']} of {searched['steps']} bounds finite, {searched['refused']} refused",
        markup=False,
    )
    for line in searched["broken"][:5]:
        console.print(f"BROKEN: {line}", style="red", markup=False)
    console.print(resources, markup=False, highlight=False)
    print_verdict(console, results["passed"])


def _total(row: dict[str, Any]) -> float | None:
    return None if row["error"] is None else row["approximation"] + row["rounding"]
