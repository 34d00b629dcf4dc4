"""The pictures that every theorem has: error against accuracy and against steps, with bounds; the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from console.drawing import legend, name_marks, slope_guide
from console.figures import on_log_axis, plain
from console.marks import APPROXIMATION, INSTANCE, MEASURED, ROUNDING, Mark
from console.output import Picture
from verify.engine.measure import Measured
from verify.engine.sweep import SweptAt
from verify.engine.tables import grouped
from verify.engine.theorem import Theorem

R = TypeVar("R")
K = TypeVar("K")

MAX_SCATTERED = 4000
"""Dots drawn at most in a scatter, evenly spaced among all."""

BELOW = 0.3
"""A guide of the slope starts so many times what was measured first."""

PARTS = {"error": MEASURED, "approximation": APPROXIMATION, "rounding": ROUNDING}

Values = Iterable[float | None]


def panels(count: int, width: float = 4.6, height: float = 3.8) -> tuple[Figure, list[Axes]]:
    """A figure of so many axes, three in a row."""
    columns = min(3, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[count:]:
        unused.set_axis_off()
    return figure, axes[:count]


def curve(
    axes: Axes, x: Sequence[float], values: Values, mark: Mark, group: int | None = None, size: float = 4.5
) -> None:
    """A line on a logarithmic axis; what is not above 0 is not drawn.

    In the mark's colour and with its name, or in that of a ``group`` of several and without one
    (:func:`console.drawing.name_marks` names both).
    """
    label, width = (mark.name, None) if group is None else ("_", 1.2)
    style = mark.style(None if group is None else colour(group))
    axes.plot(x, on_log_axis(values), **style, label=label, markersize=size, linewidth=width)


def colour(group: int) -> str:
    """Of the cycle."""
    return f"C{group % 10}"


def coloured(rows: Iterable[R], key: Callable[[R], K]) -> Iterator[tuple[int, K, list[R]]]:
    """A colour of the cycle for the rows of each key, with the key."""
    return ((color, name, group) for color, (name, group) in enumerate(grouped(rows, key).items()))


def named_groups(names: Iterable[str]) -> dict[str, str]:
    """A colour of the cycle for each name, as :func:`coloured` gives them."""
    return {name: colour(group) for group, name in enumerate(dict.fromkeys(names))}


def picture(name: str, caption: str, figure: Figure) -> Picture:
    """The figure with one legend below its panels."""
    legend(figure, figure.axes, fontsize=8)
    return Picture(name, caption, figure)


def finish(axes: Axes, x: str, y: str, title: str = "", steps: bool = False, scale: str = "log") -> None:
    """Names, the scale of errors, a grid; ``steps``: whole numbers along x; y once a figure."""
    axes.set_yscale(scale)
    axes.set_xlabel(x)
    axes.grid(alpha=0.3)
    if title:
        axes.set_title(plain(title), fontsize=10)
    if steps:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if axes is axes.figure.axes[0]:
        axes.set_ylabel(y)


def against_steps(measured: dict[str, Measured]) -> Picture:
    """Largest error and its bound after every step, a panel an instance and a colour a quantity."""
    figure, axes_of = panels(len(measured))
    for axes, (name, found) in zip(axes_of, measured.items(), strict=True):
        names = named_groups(row.quantity for row in found.largest())
        for color, _, rows in coloured(found.largest(), lambda row: row.quantity):
            steps = [row.step for row in rows]
            group = None if len(names) == 1 else color
            curve(axes, steps, (row.bound for row in rows), INSTANCE, group)
            curve(axes, steps, (row.error for row in rows), MEASURED, group)
        if len(names) > 1:
            name_marks(axes, names, (MEASURED, INSTANCE))
        finish(axes, "step", "|layers - reference|", name, steps=True)
    caption = (
        "Largest error over the tasks after each step (line with dots), and the bound on that very error "
        "(dashed), against the exact algorithm from the same start. What is exactly 0 is not drawn."
    )
    return picture("error_against_steps", caption, figure)


def against_accuracy(theorem: Theorem[Any], sweep: list[SweptAt]) -> Picture:
    """Median error of one step and both parts of its bound, against the accuracy."""
    figure, (axes,) = panels(1, 6.4, 4.4)
    accuracy = theorem.accuracy
    name = "" if accuracy is None else accuracy.name
    names = named_groups(row.quantity for row in sweep)
    for color, _, rows in coloured(sweep, lambda row: row.quantity):
        at = [row.accuracy for row in rows]
        for key, mark in PARTS.items():
            values = (getattr(row, key) for row in rows)
            curve(axes, at, values, mark, None if len(names) == 1 else color, 6)
    if len(names) > 1:
        name_marks(axes, names, PARTS.values())
    _guide(axes, sweep, 0.0 if accuracy is None else -accuracy.order)
    axes.set_xscale("log")
    finish(axes, name, "|layers - reference|, one step, median")
    caption = (
        f"Error of one step against {name}, median over the items of all tasks, with both parts of the bound."
    )
    return picture("error_against_accuracy", caption, figure)


def _guide(axes: Axes, sweep: list[SweptAt], slope: float) -> None:
    """The claimed slope, below what was measured of the first quantity."""
    first = [row for row in sweep if row.quantity == sweep[0].quantity]
    known = [row for row in first if row.error > 0]
    if slope and len(known) > 1:
        slope_guide(axes, [row.accuracy for row in known], slope, BELOW * known[0].error)


def bound_against_error(measured: Iterable[Measured]) -> Picture:
    """A dot for each item at each step."""
    pairs: dict[str, list[torch.Tensor]] = {}
    for found in measured:
        for name, error in found.error.items():
            both = torch.stack([error, found.bound[name].total], -1)[found.compared[name]]
            pairs.setdefault(name, []).append(both)
    return scatter(pairs, "Bound against measured error", "item after a step")


def scatter(pairs: dict[str, list[torch.Tensor]], title: str, what: str) -> Picture:
    """Error and bound (n, 2) as dots, a colour a name; what is 0 or not finite is not drawn."""
    figure, (axes,) = panels(1, 6.4, 5.2)
    dots = {name: torch.cat(parts) for name, parts in pairs.items()}
    dots = {name: both[(both > 0).all(-1) & both.isfinite().all(-1)] for name, both in dots.items()}
    total = sum(map(len, dots.values()))
    every = max(1, total // MAX_SCATTERED)
    for name, both in dots.items():
        axes.loglog(*both[::every].T, ".", markersize=3, alpha=0.5, label=plain(name))
    low, high = axes.get_xlim()
    axes.loglog([low, high], [low, high], color="black", linewidth=1, label="bound = error")
    finish(axes, "measured |layers - reference|", "bound", title)
    shown = "every one" if every == 1 else f"one in {every}"
    caption = f"A dot for each {what} ({total:,} in all, {shown} drawn). Below the line a bound is broken."
    return picture("bound_against_error", caption, figure)


def weight_pictures(figures: list[Figure], what: str) -> list[Picture]:
    """The dense matrices of a small construction, one picture a layer."""
    caption = "Dense weights of layer {} of {}, with the named blocks on the axes. White is exactly 0."
    return [
        Picture(f"weights_layer_{number}", caption.format(number, what), figure)
        for number, figure in enumerate(figures, 1)
    ]
