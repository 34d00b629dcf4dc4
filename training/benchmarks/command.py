"""What ``python -m training.benchmark`` does once its options are read."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from baselines.checks import check_count
from console.cells import Cells
from console.errors import checking_input
from console.output import check_out, significant, write_results
from console.terminal import print_table, progress, widen
from training.benchmarks.measure import Row, measure
from training.benchmarks.solvers import Solver, solvers
from training.serving.loading import load_released
from training.tasks.priors import Prior, held_out, named_prior

COMMAND = "training.benchmark"
ROOMS = ("baselines", "training")
TOLD = ("K is told", "log-lik", "s.e.", "less truth", "s.e.", "ARI", "failed", "sets", "CPU ms")
CHOSEN = ("K is chosen", "K found", *TOLD[1:])
LEGEND = (
    "log-lik: per point of the points that were fitted, mean over data sets, with its standard error; less "
    "truth: the same less that of the mixture the points are drawn from, set by set (above 0 is no surprise: "
    "the fit has seen the points). ARI: adjusted Rand index with the component that a point came from. K "
    "found: share of sets with as many components as the truth. failed: sets without one, in no mean. "
    "CPU ms: processor time a set. Solvers that are told K are measured on the same sets, those whose K the "
    "network serves."
)


def benchmark(name: str, model: str | None, n_sets: int, seed: int, out: Path) -> int:
    """Measure every solver on the held-out sets of a prior, print and write; the exit code."""
    with checking_input():
        prior = named_prior(name)
        check_count("--sets", n_sets, least=2)
        counts, digest = None, None
        if model is not None:
            released = load_released(model)
            config, digest = released.model.config, released.sha256
            counts = config.components
            if config.n_features != prior.law.n_features:
                raise ValueError(
                    f"--model {model}: is of d = {config.n_features}, {name} of d = {prior.law.n_features}"
                )
        everyone = solvers(prior, model, counts)
        sets = list(held_out(prior, n_sets, seed))
        common = [one for one in sets if all(solver.serves(one.truth.n_components) for solver in everyone)]
        if len(common) < 2:
            raise ValueError(
                f"--model {model}: serves K = {counts}, {len(common)} of the {n_sets} sets are of it"
            )
    run = {"prior": name, "model": digest, "sets": n_sets, "seed": seed}
    check_out(out, COMMAND, (), run)
    named = {solver.name: solver for solver in everyone}
    cells = Cells(out, COMMAND, run, ROOMS)
    with cells.stopping(list(named)):
        missing = cells.missing(list(named))
        with progress(len(missing)) as start:

            def compute(key: str) -> dict[str, Any]:
                start(key)
                return asdict(measure(named[key], sets if named[key].chooses else common, seed))

            rows = [Row(**record) for _, record in cells.all_of(list(named), compute)]
    _report(prior, everyone, rows, run, out)
    return 0


def _report(prior: Prior, everyone: list[Solver], rows: list[Row], run: dict[str, Any], out: Path) -> None:
    tables = {
        "told": (TOLD, [_cells(row) for row in rows if not row.chooses]),
        "chosen": (CHOSEN, [_cells(row) for row in rows if row.chooses]),
    }
    console = Console()
    widen(console)
    title = f"{prior.name}, {run['sets']} data sets, seed {run['seed']}"
    for header, cells in tables.values():
        print_table(console, title, header, cells)
    console.print(LEGEND, style="dim", markup=False)
    content = {
        "prior": prior.name,
        "source": prior.source,
        "law": asdict(prior.law),
        "settings": run | {"threads": torch.get_num_threads()},
        "rows": [asdict(row) for row in rows],
    }
    context = {
        "title": title,
        "legend": LEGEND,
        "tables": [table for table in tables.values() if table[1]],
        "described": {solver.name: solver.description for solver in everyone},
    }
    write_results(out, COMMAND, run, content, [], (), Path(__file__).with_name("report.html"), context)
    console.print(f"wrote {out / 'index.html'}, results.json", markup=False)


def _cells(row: Row) -> list[str]:
    four = [
        "-" if value is None else f"{value:.4f}"
        for value in (row.log_likelihood, row.log_likelihood_se, row.above, row.above_se, row.ari)
    ]
    chosen = ["-" if row.found_components is None else f"{row.found_components:.3f}"] if row.chooses else []
    counts = [str(row.n_failed), str(row.n_sets), significant(row.cpu_milliseconds, 3)]
    return [row.solver, *chosen, *four, *counts]
