"""How pictures are drawn: sheets, error bars, bands, cells with numbers, legends."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from console.phrases import Interval


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


def legend(figure: Figure, panels: Iterable[Axes], ncols: int, fontsize: float = 9, **style: Any) -> None:
    """One legend below for all panels, each label once; none without labels."""
    found: dict[str, Any] = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if found:
        where = "outside lower center"
        figure.legend(list(found.values()), list(found), loc=where, ncols=ncols, fontsize=fontsize, **style)


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
