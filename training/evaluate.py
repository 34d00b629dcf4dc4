"""Measure a trained network beside other estimators, all of them on the same tasks.

    python -m training.evaluate d8                                   # the shipped network of d = 8
    python -m training.evaluate runs/d8/model.safetensors --grid samples --tasks 512 --out results/samples
    python -m training.evaluate em-restarts --dims 2,8               # one method alone
    python -m training.evaluate d8 --grid dxk --model d2
    python -m training.evaluate d8 --grid embedding --ablation runs/plain/model.safetensors
    python -m training.evaluate d8                                   # again, after Ctrl-C: it goes on

A network is measured alone and with --polish constructed EM layers in the same forward pass. Grids: main,
samples, perturbation, separation, diagonal, components, embedding, dxk (training.evaluation.grids). Methods:
all but posterior-mean, which takes three quarters of the time, unless --methods asks for it. --out gets
results.json, figures, index.html, and parts/ with each cell as soon as it is measured. Exit codes: 0 done,
2 bad input, 130 stopped.
"""

from __future__ import annotations

import shlex
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from baselines.checks import check_count
from baselines.methods import METHODS
from console.cells import Cells
from console.errors import checking_input, run_command
from console.folder import default_out
from console.memory import check_fits
from console.options import as_typed, folder, usable_seed, whole, whole_numbers
from console.output import check_out, write_results
from console.terminal import progress
from training.evaluation.contenders import (
    ORACLE,
    Contender,
    method_contenders,
    named_method,
    network_contenders,
    oracle,
)
from training.evaluation.figures import NAMES, pictures
from training.evaluation.grids import AXES, LONG, TITLES, Cell, cells_of
from training.evaluation.measure import (
    SLOW_TASKS,
    CellResult,
    cell_record,
    measure_cell,
    result_of,
    slices_of,
)
from training.evaluation.table import HEADER, LEGEND, cell_rows, cell_title, print_results, reasons
from training.serving.loading import Released, load_released

COMMAND = "training.evaluate"
TASKS, QUICK_TASKS = 2048, 128
MOST_VIEWS = 1024
POLISH, VIEWS = 10, 1
ONLY_WHEN_ASKED = ("posterior-mean",)
"""Methods that are left out by default: they take most of the time."""
ROOMS = ("constructions", "baselines", "training")
DIMS, COMPONENTS = (2, 8), (2, 3, 4, 5)  # where no network says otherwise
NETWORK, ABLATED = "network", "network without task embedding"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@dataclass(frozen=True, eq=False)
class Entrant:
    """A network as it is called in the tables."""

    label: str
    released: Released

    @property
    def n_features(self) -> int:
        """d."""
        return self.released.model.config.n_features


@app.command(help=__doc__)
def main(
    context: typer.Context,
    what: Annotated[str, typer.Argument(help="a model's path, d2 or d8, or the name of a method")],
    grid: Annotated[str, typer.Option(help=", ".join(AXES))] = "main",
    tasks: Annotated[
        int | None, typer.Option(parser=whole, help=f"tasks a cell, {TASKS} or with --quick {QUICK_TASKS}")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=folder, help="folder for the results; default results/evaluate_..., named after the run"
        ),
    ] = None,
    polish: Annotated[int, typer.Option(parser=whole, help="EM layers behind the network; 0: none")] = POLISH,
    views: Annotated[
        int,
        typer.Option(
            parser=whole, help="also the likeliest of so many views (training.serving.views); 1: no"
        ),
    ] = VIEWS,
    seed: Annotated[int, typer.Option(parser=whole, help="of tasks and starts")] = 0,
    methods: Annotated[
        str | None,
        typer.Option(help=f"as in em,spectral; all, or none; default all but {', '.join(ONLY_WHEN_ASKED)}"),
    ] = None,
    model: Annotated[list[str] | None, typer.Option(help="a further network, of another d")] = None,
    ablation: Annotated[str | None, typer.Option(help="network without task embedding")] = None,
    dims: Annotated[str | None, typer.Option(help="d, as in 2,8; those of the networks")] = None,
    components: Annotated[str | None, typer.Option(help="K, as in 3,5; those of the networks")] = None,
    samples: Annotated[str | None, typer.Option(help="N in place of the grid's")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="fewer tasks and values")] = False,
) -> int:
    """Measure; see the module's docstring."""
    usable_seed(seed)
    chosen_dims, chosen_K = whole_numbers("dims", dims), whole_numbers("components", components)
    sizes = whole_numbers("samples", samples)
    n_tasks = (QUICK_TASKS if quick else TASKS) if tasks is None else tasks
    with checking_input():
        check_count("--tasks", n_tasks, least=2)
        check_count("--polish", polish, least=0)
        check_count("--views", views)
        check_fits("tasks", n_tasks, 1000)  # seven figures of every contender
        if views > MOST_VIEWS:
            raise ValueError(f"--views {views}: a forward pass each, at most {MOST_VIEWS} are taken")
        is_method = what in METHODS
        entrants = _entrants(([] if is_method else [what]) + (model or []), ablation, grid)
        names = _method_names(what if is_method else None, methods)
        if chosen_dims is None:
            chosen_dims = [entrant.n_features for entrant in entrants] or list(DIMS)
        if chosen_K is None:
            served = {K for entrant in entrants for K in entrant.released.model.config.components}
            chosen_K = sorted(served or COMPONENTS)
        cells = cells_of(grid, chosen_dims, chosen_K, sizes, quick)
        _refuse_nothing_served(entrants, cells)
        contenders = _contenders(entrants, names, cells, polish, views)
    run: dict[str, Any] = {f"{one.label}, d = {one.n_features}": one.released.sha256 for one in entrants}
    run |= {"methods": names, "grid": grid, "tasks": n_tasks, "polish": polish, "views": views, "seed": seed}
    run |= {"dims": sorted(chosen_dims), "components": chosen_K, "samples": sizes, "quick": quick}
    out = out or default_out("evaluate", context, ("what", "grid"))
    check_out(out, COMMAND, NAMES, run)
    given = {
        "--grid": grid,
        "--tasks": n_tasks,
        "--polish": polish,
        "--views": views,
        "--seed": seed,
        "--methods": methods,
    }
    given |= {"--ablation": ablation, "--dims": dims, "--components": components, "--samples": samples}
    words = [what, *(str(word) for pair in given.items() if pair[1] is not None for word in pair)]
    words += [word for path in model or [] for word in ("--model", path)] + ["--quick"] * quick
    settings = {
        "what": what,
        "command": f"python -m {COMMAND} {shlex.join(words)}",
        "grid": grid,
        "tasks": n_tasks,
        "tasks_of_slow_methods": min(SLOW_TASKS, n_tasks),
        "polish": polish,
        "views": views,
        "seed": seed,
        "methods": names,
        "quick": quick,
        "threads": torch.get_num_threads(),
        "dtype": "tasks and methods float64, networks in the dtype of their weights",
    }
    cells_done = Cells(out, COMMAND, run, ROOMS)
    with cells_done.stopping([cell.title for cell in cells]):
        with checking_input():
            results, seconds = _measure(cells, contenders, n_tasks, seed, cells_done)
        console = Console()
        print_results(console, results)
        _write(out, run, settings, entrants, contenders, results, seconds)
    console.print(f"wrote {out / 'index.html'}, results.json, figures", markup=False)
    return 0


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
        if "no such file" in str(problem) and path not in ("d2", "d8"):
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
        covariance = "unit" if cell.distribution is None else cell.distribution.covariance
        fitting = [made for entrant, made in networks if entrant.n_features == cell.n_features]
        chosen = fitting or [made for _, made in networks[:1]]
        found[cell] = [one for made in chosen for one in made] + method_contenders(names, covariance)
    return found


def _measure(
    cells: list[Cell], contenders: dict[Cell, list[Contender]], n_tasks: int, seed: int, kept: Cells
) -> tuple[list[CellResult], float]:
    """The results of all cells, those of an earlier call included, and the seconds behind them."""
    named = {cell.title: cell for cell in cells}
    missing = [named[key] for key in kept.missing(list(named))]
    pieces = sum(len(slices_of(c, c.count(n_tasks))) * (1 + len(contenders[c])) for c in missing)

    def compute(key: str) -> dict[str, Any]:
        began, cell = time.perf_counter(), named[key]
        found = measure_cell(
            *(cell, contenders[cell], cell.count(n_tasks), seed), lambda name: start(f"{key}: {name}")
        )
        return cell_record(found) | {"seconds": time.perf_counter() - began}

    with progress(pieces) as start:
        records = list(kept.all_of(list(named), compute))
    results = [result_of(named[key], record) for key, record in records]
    return results, sum(record["seconds"] for _, record in records)


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
        about += f" Beyond N = {LONG} fewer tasks, {settings['tasks'] * LONG:,} points a cell."
    slow = sorted({one.name for made in contenders.values() for one in made if one.slow})
    note = f" {', '.join(slow)}: on the first {settings['tasks_of_slow_methods']} of them." if slow else ""
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
        "command": settings["command"],
        "threads": settings["threads"],
        "seconds": seconds,
        "legend": LEGEND,
        "header": HEADER,
        "tables": {cell_title(result): cell_rows(result) for result in results},
        "reasons": reasons(results),
    }
    template = Path(__file__).with_name("evaluation") / "report.html"
    shown = pictures(results, AXES[grid], about)
    write_results(out, COMMAND, run, content, shown, NAMES, template, context)


if __name__ == "__main__":
    sys.exit(run_command(app))
