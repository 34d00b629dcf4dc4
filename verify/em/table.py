"""The results of the EM check on a terminal."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from rich.console import Console

from console.output import significant
from console.terminal import widen
from verify.em.measure import Measurement
from verify.engine.record import quotient
from verify.engine.tables import print_rows

LEGEND = (
    "error, p90: largest mean error of a task against the EM path from the same start, median and 90th "
    "percentile. bound/err, least: instance bound of one step over its error, median and smallest. a-priori: "
    "the bound uniform over data, over the error. path: the bound on all steps so far, over the error, in "
    "the tasks (of all) for which it is below the diameter of the data. Lip: median factor by which that "
    "bound carries earlier errors. round64, round32: the rounding part of the one-step bound."
)
COLUMNS = (
    *(("pieces", "pieces"), ("step", "step"), ("error", "median"), ("p90", "p90"), ("bound/err", "ratio")),
    *(("least", "least", 4), ("a-priori", "apriori"), ("path", "path"), ("tasks", "tasks")),
    *(("Lip", "lipschitz"), ("round64", "float64"), ("round32", "float32"), ("bounds", "broken")),
)


def print_results(console: Console, measurements: list[Measurement], results: dict[str, Any]) -> None:
    """A table a problem (first, second and last step; the page has them all), slopes, splits, the verdict."""
    widen(console)
    for label, group in groupby(measurements, lambda m: m.problem.label):
        shown = [m.records[i] for m in group for i in sorted({0, min(1, m.run.steps - 1), m.run.steps - 1})]
        title = f"{label}: distance between the means of EM and of the layers"
        print_rows(console, title, COLUMNS, [_row(record) for record in shown])
    console.print(LEGEND, style="dim")
    for (name, note), places in sorted(_notes(measurements).items()):
        where = "; ".join(f"{pieces} pieces, step {steps}" for pieces, steps in places.items())
        console.print(f"{name}: {note} ({where})", markup=False)
    for name, found in results["slopes"].items():
        console.print(f"slope of log error over log pieces, {name}: {found['slope']:.2f}")
    _print_splits(console, results["sweeps"])
    verdict = "every bound held" if results["passed"] else "A BOUND IS BROKEN"
    console.print(verdict, style="bold green" if results["passed"] else "bold red")


def _notes(measurements: list[Measurement]) -> dict[tuple[str, str], dict[int, str]]:
    """(problem, note) -> pieces -> the steps at which it was made."""
    notes: dict[tuple[str, str], dict[int, str]] = {}
    for record in (r for m in measurements for r in m.records if r["note"]):
        found = notes.setdefault((record["setting"]["name"], record["note"]), {})
        pieces = record["setting"]["pieces_mean"]
        found[pieces] = f"{found[pieces]}, {record['step']}" if pieces in found else str(record["step"])
    return notes


def _row(record: dict[str, Any]) -> dict[str, Any]:
    one, path = record["one_step"], record["path"]
    return one["rounding_part"] | {
        "pieces": record["setting"]["pieces_mean"],
        "step": record["step"],
        "median": path["largest_mean_error"]["median"],
        "p90": path["largest_mean_error"]["p90"],
        "ratio": one["instance_ratio"]["median"],
        "least": one["instance_ratio"]["min"],
        "apriori": one["apriori_ratio"]["median"],
        "path": path["ratio"]["median"],
        "tasks": f"{path['bound_below_data_diameter']}/{record['setting']['tasks']}",
        "lipschitz": (path["lipschitz"] or {"median": None})["median"],
        "broken": not record["passed"],
    }


def _print_splits(console: Console, sweeps: dict[str, list[dict[str, Any]]]) -> None:
    equal = {(row["problem"], row["pieces"]): row for row in sweeps["equal"]}
    for name, rows in groupby(sweeps["optimal"], lambda row: row["problem"]):
        best = [row for row in rows if (name, row["pieces"]) in equal][-1]
        other = equal[name, best["pieces"]]
        console.print(
            f"best split of {3 * best['pieces']} pieces, {name}: a-priori rho {significant(best['rho'])}, "
            f"equal split {significant(other['rho'])} ({quotient(other['rho'], best['rho']):.2f} times); "
            f"measured error {significant(best['error'])}, equal split {significant(other['error'])}"
        )
