"""What ``python -m verify.resources`` does once its options are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.ticker import NullLocator
from rich.console import Console

from console.drawing import slope_guide
from console.marks import Mark
from console.output import Picture
from console.terminal import print_table, widen
from verify.engine.drawing import colour, curve, finish, panels, picture
from verify.engine.report import Report
from verify.gallery.resources import HEADER as GALLERY_HEADER
from verify.gallery.resources import gallery_resources
from verify.resource_rows import (
    HEADER,
    PAIRS,
    PROMISE_HEADER,
    PROMISES,
    covariance_resources,
    em_resources,
    piecewise_resources,
    softmax_resources,
    softmax_resources_for,
    tensor_power_resources,
)

COMMAND = "verify.resources"
NAMES = ("parameters",)
PIECES = 1024


def resources(sizes: list[int], count: int, targets: list[float], out: Path) -> int:
    """Count, print and write; ``count`` is L. The exit code.

    Raises:
        BadInputError: a folder that cannot be written or is another run's.
    """
    settings = {"dims": sizes, "steps": count, "errors": targets}
    report = Report(out, COMMAND, NAMES, settings, Path(__file__).with_name("resources_report.html"))
    tables = {
        "Theorem 1: EM in softmax attention; error: a-priori bound of a step over the data's diameter": (
            em_resources(sizes, count, targets)
        ),
        "EM with unknown covariances; error: of a logarithm of responsibilities": (
            covariance_resources(sizes, count)
        ),
        "Theorem 2: tensor power iteration in ReLU attention": (tensor_power_resources(sizes, count, PIECES)),
        "Theorem 2, piecewise norm: error of the length": piecewise_resources(sizes, count, targets),
        "Theorem 2 in softmax attention; error: of a product of size 1 in real arithmetic": (
            softmax_resources_for(sizes, count, targets)
        ),
        "Theorem 2 in softmax attention at the best eps for a dtype; error: predicted, with rounding": [
            row
            for dtype in (torch.float32, torch.float64)
            for row in softmax_resources(sizes, count, list(PAIRS), dtype)
        ],
    }
    console = Console()
    widen(console)
    print_table(console, "Promised and built", PROMISE_HEADER, PROMISES)
    for title, rows in tables.items():
        print_table(console, title, HEADER, rows)
    gallery = gallery_resources(sizes, count)
    print_table(console, "The gallery, beside earlier work", GALLERY_HEADER, gallery)
    results: dict[str, Any] = {
        "settings": settings,
        "promises": _named(PROMISE_HEADER, PROMISES),
        "tables": {title: _named(HEADER, rows) for title, rows in tables.items()},
        "gallery": _named(GALLERY_HEADER, gallery),
    }
    page = {
        "header": HEADER,
        "promise_header": PROMISE_HEADER,
        "promises": PROMISES,
        "tables": tables,
        "gallery_header": GALLERY_HEADER,
        "gallery": gallery,
    }
    em, _, relu, _, softmax, _ = tables.values()
    return report.write(console, results, [_parameters([em, relu, softmax], sizes, targets)], page)


def _named(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    return [dict(zip(header, row, strict=True)) for row in rows]


def _parameters(tables: list[list[list[str]]], sizes: list[int], targets: list[float]) -> Picture:
    """Lines over d; the tables are those of EM, ReLU and softmax against the target, rows in order of d."""
    em, relu, softmax = tables
    lines = {f"EM, K = 5, error {target:g}": em[i :: len(targets)] for i, target in enumerate(targets)}
    lines |= {"ReLU, 2 d heads": relu[0::3], "ReLU, d + 1 heads": relu[1::3]}
    many = len(targets) * len(PAIRS)
    lines |= {f"softmax, p = {p}": softmax[i::many] for i, p in enumerate(PAIRS)}
    figure, (axes,) = panels(1, 7.6, 4.8)
    column = HEADER.index("parameters")
    for color, (label, rows) in enumerate(lines.items()):
        numbers = [int(row[column].replace(",", "")) for row in rows]
        curve(axes, sizes, numbers, Mark(label, colour(color), "o", "-"))
    if len(sizes) > 1:
        slope_guide(axes, sizes, 4, 4.0 * sizes[0] ** 4)
    finish(axes, "d", "parameters of one looped block", "Parameters stored, most of them 0")
    axes.set_xscale("log")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    caption = (
        "Parameters of one block of layers, which serves every step. The tensor constructions carry d^2 "
        "numbers on each of d tokens and have 2 d heads of d columns, hence d^4, whatever their error; EM "
        "grows with (d + K) times the pieces, and these like the error to the power -1/2."
    )
    return picture("parameters", caption, figure)
