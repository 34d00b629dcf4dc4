"""What ``python -m verify.certified_regions`` does once its options are read."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console

from console.memory import check_fits
from console.output import significant
from console.terminal import print_table, progress, widen
from verify.certify.regions.figure import bound_against_radius
from verify.certify.regions.reach import Asked, Reached, reach
from verify.engine.report import Report

COMMAND = "verify.certified_regions"
NAMES = ("bound_against_radius",)
HEADER = (
    *("task", "radius", "verdict", "B, median", "largest", "B / point bound", "B / error at the centre"),
    "s a task",
)


def certified_regions(asked: Asked, out: Path) -> int:
    """Certify, print and write; the exit code.

    Raises:
        BadInputError: a folder that cannot be written or is another run's; too much memory.
    """
    K, width = max(asked.components), 1 + max(asked.dims)
    check_fits("samples", asked.samples, 16 * 8 * (K * width) ** 2)
    settings = {
        name: list(value) if isinstance(value, list) else value for name, value in vars(asked).items()
    }
    report = Report(out, COMMAND, NAMES, settings, Path(__file__).parents[1] / "regions_report.html")
    console = Console()
    with progress(len(asked.dims) * len(asked.components)) as start:
        rows = reach(asked, start)
    cells = [row_cells(row) for row in rows]
    widen(console)
    title = f"After {asked.steps} steps, {asked.samples} points, {asked.pieces} pieces"
    print_table(console, title, HEADER, cells)
    certified = sum(row.certified for row in rows)
    console.print(
        f"{certified} of {sum(row.tasks for row in rows)} boxes certified: B at most {asked.factor:g} times "
        "the point bound",
        markup=False,
    )
    results: dict[str, Any] = {
        "settings": settings,
        "python_flint": metadata.version("python-flint"),
        "rows": [vars(row) | {"verdict": row.verdict} for row in rows],
    }
    page = {"header": HEADER, "cells": cells, "asked": asked}
    return report.write(console, results, [bound_against_radius(rows, asked.factor)], page)


def row_cells(row: Reached) -> list[str]:
    """A line of the table."""
    return [
        f"d = {row.dim}, K = {row.components}",
        f"{row.radius:.0e}",
        row.verdict,
        *(significant(value) for value in (row.median, row.largest, row.over_point, row.over_error)),
        f"{row.seconds:.2f}",
    ]
