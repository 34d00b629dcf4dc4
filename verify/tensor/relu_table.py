"""The results of the tensor power check on a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from console.output import significant
from console.terminal import marked, print_exact, print_table, print_verdict, widen
from verify.resource_rows import HEADER
from verify.tensor.relu_rows import last_steps

ONE_STEP = ("tensor", "heads", "number", "instances", "error/scale", "bound/scale", "bound")
PATHS = ("tensor", "norm", "steps", "error", "largest", "bound", "least ratio", "claimed", "bounds")
RECOVERY = ("orthogonal tensor", "norm", "all found", "from truth", "error", "bound", "eigenvalue", "")


def print_results(console: Console, results: dict[str, Any]) -> None:
    """Exact claims, one step, the last step of each path, growth, recovery, resources, the verdict."""
    widen(console)
    print_exact(console, results["exact"])
    title = "One step against exact arithmetic, over sum |T v v|"
    print_table(console, title, ONE_STEP, [_one_step(row) for row in results["one_step"]])
    print_paths(console, results["paths"])
    for row in results["growth"]:
        lengths = ", ".join(f"{value:.3g}" for value in row["log10_length"])
        stopped = f"; stopped after {row['steps_taken']}: {row['reason']}" if row["reason"] else ""
        console.print(f"growth, {row['problem']}: log10 |v| = {lengths}{stopped}", markup=False)
    print_recovery(console, results["recovery"])
    print_table(console, "Resources", HEADER, results["resources"])
    print_verdict(console, results["passed"])


def print_paths(console: Console, paths: list[dict[str, Any]]) -> None:
    """The last step of each path; its verdict is that of all steps."""
    rows = [_path(row) for row in last_steps(paths)]
    print_table(console, "All steps, |v - reference| / |v|", PATHS, rows)


def print_recovery(console: Console, recovery: list[dict[str, Any]]) -> None:
    """One line for each tensor and norm."""
    title = "Components found with restarts and deflation, largest over all"
    print_table(console, title, RECOVERY, [_recovery(row) for row in recovery])


def _one_step(row: dict[str, Any]) -> list[str]:
    counts = [str(row["heads"]), str(row["instances"])]
    sizes = [significant(row["error"]), significant(row["bound"])]
    return [row["problem"], row["form"], *counts, *sizes, marked(row["broken"])]


def _path(row: dict[str, Any]) -> list[str]:
    sizes = [significant(row[name]) for name in ("error", "largest_error", "bound")]
    claimed = f"{row['claimed']}/{row['instances']}"
    margin = significant(row["margin"], 3)
    return [row["problem"], row["form"], str(row["step"]), *sizes, margin, claimed, marked(row["broken"])]


def _recovery(row: dict[str, Any]) -> list[str]:
    name = f"d={row['d']}, K={row['components']}"
    sizes = [significant(row[key]) for key in ("distance", "error", "bound", "eigenvalue_error")]
    return [name, row["form"], "yes" if row["distinct"] else "NO", *sizes, marked(row["broken"])]
