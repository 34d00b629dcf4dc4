"""How pictures are drawn: sheets, error bars, bands, cells with numbers, legends."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from console.figures import plain
from console.marks import GREY, Mark
from console.phrases import Interval

MOST_ENTRIES = 8
"""Rows of a legend at most: beyond them it has more columns."""


def sheet(size: tuple[float, float], title: str, fontsize: float = 11) -> Figure:
    """A figure of this size in inches, without panels yet, under a title."""
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, fontsize=fontsize)
    return figure


def grid(figure: Figure, count: int, columns: int) -> list[Axes]:
    """So many panels, `columns` in a row; places that are left over stay empty."""
    panels = figure.subplots(math.ceil(count / columns), columns, squeeze=False).flatten()
    for panel in panels[count:]:
        panel.set_axis_off()
    return list(panels[:count])


def error_bars(
    panel: Axes, places: Sequence[float], found: Sequence[Interval], across: bool = False, **style: Any
) -> None:
    """Values with their intervals at places on the other axis: upright, or across."""
    values = [one.value for one in found]
    bars = [
        [max(0.0, one.value - one.low) for one in found],
        [max(0.0, one.high - one.value) for one in found],
    ]
    if across:
        panel.errorbar(values, places, xerr=bars, **style)
    else:
        panel.errorbar(places, values, bars, **style)


def band(panel: Axes, found: Sequence[Interval], colour: str, alpha: float, **style: Any) -> None:
    """Values at 0, 1, ... as a line, their intervals as a band."""
    steps = range(len(found))
    panel.plot(steps, [one.value for one in found], color=colour, **style)
    low, high = [one.low for one in found], [one.high for one in found]
    panel.fill_between(steps, low, high, color=colour, alpha=alpha, linewidth=0)
    panel.fill_between([], [], [], color="0.5", alpha=0.3, linewidth=0, label="95 % interval")


def legend(
    figure: Figure, panels: Iterable[Axes], ncols: int | None = None, fontsize: float = 9, **style: Any
) -> None:
    """One legend below all panels, where it covers nothing, each label once; none without labels.

    The figure grows by its height. ``ncols``: columns; None for as many as fit the width.
    """
    found: dict[str, Any] = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if not found:
        return
    if ncols is None:
        widest = (4.5 + 0.6 * max(map(len, found))) * fontsize / 72
        fitting = max(1, int(figure.get_figwidth() / widest))
        ncols = min(max(fitting, math.ceil(len(found) / MOST_ENTRIES)), len(found))
    rows = math.ceil(len(found) / ncols)
    figure.set_figheight(figure.get_figheight() + rows * 1.5 * fontsize / 72 + 0.15)
    where = "outside lower center"
    figure.legend(list(found.values()), list(found), loc=where, ncols=ncols, fontsize=fontsize, **style)


def legend_below(panel: Axes, ncols: int, fontsize: float = 8) -> None:
    """A legend of one panel, below it: for panels whose entries differ."""
    panel.legend(fontsize=fontsize, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=ncols)


def name_marks(panel: Axes, groups: Mapping[str, str], marks: Iterable[Mark]) -> None:
    """Entries for a legend: what each colour stands for, and what each marker and line, in grey."""
    for name, colour in groups.items():
        panel.plot([], [], color=colour, linewidth=5, label=plain(name))
    for mark in marks:
        panel.plot([], [], **mark.style(GREY), label=mark.name)


def slope_guide(panel: Axes, x: Sequence[float], slope: float, through: float, name: str = "") -> None:
    """A thin line ``y = through (x / x[0])^slope``, for two logarithmic axes, named by its slope."""
    y = [through * (at / x[0]) ** slope for at in x]
    panel.plot(x, y, color="black", linewidth=0.9, linestyle=(0, (7, 3)), label=name or f"slope {slope:g}")


def write_cells(
    panel: Axes,
    values: Iterable[Iterable[float]],
    text: Callable[[int, int, float], str],
    dark: Callable[[float], bool],
    fontsize: float,
) -> None:
    """A text in every cell of a heat map whose value is known, white where the cell is dark."""
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            if not math.isnan(value):
                panel.text(
                    column, row, text(row, column, value), ha="center", va="center", fontsize=fontsize,
                    color="white" if dark(value) else "black",
                )  # fmt: skip


def number_heads(panel: Axes, layers: int, heads: int, fontsize: float | None = None) -> None:
    """Ticks of a heat map with a row a layer and a column a head, counted from 1."""
    panel.set_yticks(range(layers), [str(layer + 1) for layer in range(layers)], fontsize=fontsize)
    panel.set_xticks(range(heads), [str(head + 1) for head in range(heads)], fontsize=fontsize)
