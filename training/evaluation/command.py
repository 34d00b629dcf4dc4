"""What ``python -m training.evaluate`` does once its options are read."""

from __future__ import annotations

import shlex
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from baselines.checks import check_count
from baselines.methods import METHODS
from console.cells import Cells
from console.errors import checking_input
from console.memory import check_fits
from console.options import as_typed
from console.output import check_out, write_results
from console.terminal import progress
from training.evaluation.asked import (
    AXES,
    ONLY_WHEN_ASKED,
    OWN_COMPONENTS,
    OWN_DIMS,
    REMARKS,
    TITLES,
    Asked,
)
from training.evaluation.contenders import (
    ORACLE,
    PAIRS_A_CELL,
    SLOW_TASKS,
    Contender,
    em_off_the_truth,
    method_contenders,
    named_method,
    network_contenders,
    oracle,
)
from training.evaluation.grids import LONG, Cell, cells_of
from training.evaluation.measure import (
    CellResult,
    cell_record,
    measure_cell,
    result_of,
    slices_of,
)
from training.evaluation.table import HEADER, LEGEND, cell_rows, cell_title, print_results, reasons
from training.serving.loading import Released, load_released
from training.serving.shipped import SHIPPED

COMMAND = "training.evaluate"
MOST_VIEWS = 1024
ROOMS = ("constructions", "baselines", "training")
DIMS, COMPONENTS = (2, 8), (2, 3, 4, 5)  # where no network says otherwise
NETWORK, ABLATED = "network", "network without task embedding"


@dataclass(frozen=True, eq=False)
class Entrant:
    """A network as it is called in the tables."""

    label: str
    released: Released

    @property
    def n_features(self) -> int:
        """d."""
        return self.released.model.config.n_features


def evaluate(asked: Asked, out: Path) -> int:
    """Measure what was asked for, print it, write it; the exit code.

    Raises:
        BadInputError: bad input, before anything is written.
    """
    chosen_dims, chosen_K, sizes = (asked.numbers(name) for name in ("dims", "components", "samples"))
    with checking_input():
        check_count("--tasks", asked.tasks, least=2)
        check_count("--polish", asked.polish, least=0)
        check_count("--views", asked.views)
        check_fits("tasks", asked.tasks, 1000)  # seven figures of every contender
        if asked.views > MOST_VIEWS:
            raise ValueError(f"--views {asked.views}: a forward pass each, at most {MOST_VIEWS} are taken")
        is_method = asked.what in METHODS
        entrants = _entrants(([] if is_method else [asked.what]) + asked.models, asked.ablation, asked.grid)
        names = _method_names(asked.what if is_method else None, asked.methods)
        if chosen_dims is None:
            served = [entrant.n_features for entrant in entrants]
            chosen_dims = list(OWN_DIMS.get(asked.grid) or served or DIMS)
        if chosen_K is None:
            counts = {K for entrant in entrants for K in entrant.released.model.config.components}
            few = counts.intersection(range(max(COMPONENTS) + 1))  # in the plane the paper's law ends there
            chosen_K = sorted(OWN_COMPONENTS.get(asked.grid) or few or counts or COMPONENTS)
        cells = cells_of(asked.grid, chosen_dims, chosen_K, sizes, asked.quick)
        _refuse_nothing_served(entrants, cells)
        contenders = _contenders(entrants, names, cells, asked.polish, asked.views)
    run: dict[str, Any] = {f"{one.label}, d = {one.n_features}": one.released.sha256 for one in entrants}
    run |= {"methods": names, "grid": asked.grid, "tasks": asked.tasks, "polish": asked.polish}
    run |= {"views": asked.views, "seed": asked.seed, "dims": sorted(chosen_dims), "components": chosen_K}
    run |= {"samples": sizes, "quick": asked.quick}
    from training.evaluation.figures import NAMES  # matplotlib is loaded when the input is good

    check_out(out, COMMAND, NAMES, run)
    settings = {
        "what": asked.what,
        "command": _command_line(asked),
        "grid": asked.grid,
        "tasks": asked.tasks,
        "tasks_of_slow_methods": min(SLOW_TASKS, asked.tasks),
        "polish": asked.polish,
        "views": asked.views,
        "seed": asked.seed,
        "methods": names,
        "quick": asked.quick,
        "threads": torch.get_num_threads(),
        "dtype": "tasks and methods float64, networks in the dtype of their weights",
    }
    cells_done = Cells(out, COMMAND, run, ROOMS)
    with cells_done.stopping([cell.title for cell in cells]):
        with checking_input():
            results, seconds = _measure(cells, contenders, asked.tasks, asked.seed, cells_done)
        console = Console()
        print_results(console, results)
        _write(out, run, settings, entrants, contenders, results, seconds)
    console.print(f"wrote {out / 'index.html'}, results.json, figures", markup=False)
    return 0


def _command_line(asked: Asked) -> str:
    """What gives the same figures again."""
    named = (
        "grid",
        "tasks",
        "polish",
        "views",
        "seed",
        "methods",
        "ablation",
        "dims",
        "components",
        "samples",
    )
    given = {f"--{name}": getattr(asked, name) for name in named}
    words = [asked.what, *(str(word) for pair in given.items() if pair[1] is not None for word in pair)]
    words += [word for path in asked.models for word in ("--model", path)] + ["--quick"] * asked.quick
    return f"python -m {COMMAND} {shlex.join(words)}"


def _entrants(paths: list[str], ablation: str | None, grid: str) -> list[Entrant]:
    """The networks of the command line, loaded; ValueError where they do not go together."""
    if (ablation is not None) != (grid == "embedding"):
        raise ValueError("--ablation MODEL belongs to --grid embedding, and that grid needs it")
    found: list[Entrant] = []
    for path in paths:
        entrant = Entrant(NETWORK, _loaded(path))
        if entrant.n_features in [other.n_features for other in found]:
            raise ValueError(
                f"{path}: is of d = {entrant.n_features}, needs another d than the networks before"
            )
        found.append(entrant)
    if ablation is None:
        return found
    if len(found) != 1 or not found[0].released.model.config.task_embedding:
        raise ValueError("--grid embedding needs one network with task embedding beside --ablation")
    plain = Entrant(ABLATED, _loaded(ablation))
    if plain.released.model.config.task_embedding or plain.n_features != found[0].n_features:
        raise ValueError(
            f"--ablation {ablation}: needs a network without task embedding of d = {found[0].n_features}"
        )
    return [*found, plain]


def _loaded(path: str) -> Released:
    try:
        return load_released(path)
    except ValueError as problem:
        if "no such file" in str(problem) and path not in SHIPPED:
            raise ValueError(f"{problem}; or one of the methods {', '.join(METHODS)}") from None
        raise


def _method_names(alone: str | None, methods: str | None) -> list[str]:
    """Which methods are measured: the one that is named, those of --methods, or the default; ValueError."""
    if methods is None:
        chosen = [name for name in METHODS if name not in ONLY_WHEN_ASKED] if alone is None else []
    elif methods == "all":
        chosen = list(METHODS)
    else:
        chosen = [] if methods == "none" else methods.split(",")
    names = list(dict.fromkeys([alone, *chosen] if alone else chosen))
    with checking_input("--methods" if methods is None else f"--methods {methods}"):
        return [named_method(name).name for name in names if name != ORACLE]


def _refuse_nothing_served(entrants: list[Entrant], cells: list[Cell]) -> None:
    """ValueError where a network would have nothing but dashes."""
    for entrant in entrants:
        alone = network_contenders(entrant.released.model, 0, entrant.label)[0]
        refusals = [alone.refusal(cell) for cell in cells]
        if all(refusals):
            dims, counts = (
                {getattr(cell, name) for cell in cells} for name in ("n_features", "n_components")
            )
            asked = f"--dims {as_typed(sorted(dims))} --components {as_typed(sorted(counts))}"
            raise ValueError(f"{entrant.released.name}: {refusals[0]}, none of the cells asked for, {asked}")


def _contenders(
    entrants: list[Entrant], names: list[str], cells: list[Cell], polish: int, views: int
) -> dict[Cell, list[Contender]]:
    """Of each cell: the networks of its d (any one for a dash where there is none), then the methods."""
    networks = [
        (entrant, network_contenders(entrant.released.model, polish, entrant.label, views))
        for entrant in entrants
    ]
    found = {}
    for cell in cells:
        covariance = "unit" if cell.distribution is None else cell.distribution.covariance_type
        fitting = [made for entrant, made in networks if entrant.n_features == cell.n_features]
        chosen = fitting or [made for _, made in networks[:1]]
        started = [] if cell.start is None else [em_off_the_truth(cell.start)]
        found[cell] = [*started, *(one for made in chosen for one in made)]
        found[cell] += method_contenders(names, covariance)
    return found


def _measure(
    cells: list[Cell], contenders: dict[Cell, list[Contender]], n_tasks: int, seed: int, kept: Cells
) -> tuple[list[CellResult], float]:
    """The results of all cells, those of an earlier call included, and the seconds behind them.

    Of cells with the same tasks the first has everybody, the others those alone who need the start.
    """
    named = {cell.title: cell for cell in cells}
    first: dict[Cell, Cell] = {}
    for cell in cells:
        first.setdefault(cell.tasks, cell)
    asked = {c: [one for one in contenders[c] if one.moved or first[c.tasks] is c] for c in cells}
    missing = [named[key] for key in kept.missing(list(named))]
    pieces = sum(len(slices_of(c, c.count(n_tasks))) * (1 + len(asked[c])) for c in missing)
    found: dict[Cell, CellResult] = {}
    seconds = 0.0

    def compute(key: str) -> dict[str, Any]:
        began, cell = time.perf_counter(), named[key]
        result = measure_cell(
            *(cell, asked[cell], cell.count(n_tasks), seed), lambda name: start(f"{key}: {name}")
        )
        if first[cell.tasks] is not cell:
            result = result.with_rows_of(found[first[cell.tasks]])
        return cell_record(result) | {"seconds": time.perf_counter() - began}

    with progress(pieces) as start:
        for key, record in kept.all_of(list(named), compute):
            found[named[key]] = result_of(named[key], record)
            seconds += record["seconds"]
    return list(found.values()), seconds


def _write(
    out: Path,
    run: dict[str, Any],
    settings: dict[str, Any],
    entrants: list[Entrant],
    contenders: dict[Cell, list[Contender]],
    results: list[CellResult],
    seconds: float,
) -> None:
    described = {one.name: one.description for made in contenders.values() for one in made}
    described = {ORACLE: oracle("unit").description} | described
    models = [
        {
            "label": entrant.label,
            "name": entrant.released.name,
            "sha256": entrant.released.sha256,
            "n_parameters": entrant.released.n_parameters,
            "config": asdict(entrant.released.model.config),
            "training": entrant.released.training,
        }
        for entrant in entrants
    ]
    grid = settings["grid"]
    about = f"Grid {grid} ({TITLES[grid]}), {settings['tasks']:,} tasks a cell, seed {settings['seed']}."
    longest = max(result.cell.n_samples for result in results)
    if longest > LONG:
        about += f" Beyond N = {LONG} fewer tasks, {settings['tasks'] * LONG:,} points a cell (or two tasks)."
    slow = sorted({one.name for made in contenders.values() for one in made if one.slow})
    note = f" {', '.join(slow)}: on the first {settings['tasks_of_slow_methods']} of them." if slow else ""
    if any(
        one.quadratic
        and not one.refusal(r.cell)
        and r.cell.count(settings["tasks"]) > one.most_tasks(r.cell, settings["tasks"])
        for r in results
        for one in contenders[r.cell]
    ):
        note += f" Networks: on the first tasks, {PAIRS_A_CELL:.1e} pairs of points of a task in a cell."
    note += f" {REMARKS[grid]}" if grid in REMARKS else ""
    content = {
        "settings": settings,
        "seconds": seconds,
        "models": models,
        "methods": described,
        "cells": [cell_record(result) for result in results],
    }
    context = {
        "title": TITLES[grid],
        "about": about + note,
        "threads": settings["threads"],
        "seconds": seconds,
        "legend": LEGEND,
        "header": HEADER,
        "tables": {cell_title(result): cell_rows(result) for result in results},
        "reasons": reasons(results),
    }
    template = Path(__file__).with_name("report.html")
    from training.evaluation.figures import NAMES, pictures

    shown = pictures(results, AXES[grid], about)
    write_results(out, COMMAND, run, content, shown, NAMES, template, context)
