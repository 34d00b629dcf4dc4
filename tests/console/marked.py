"""Which marks of a figure its legends do not name, and which legends cover data."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from console.marks import GREY

MOST_ROWS = 8


def faults(figure: Figure) -> list[str]:
    """What is wrong with a figure's legends, one line each."""
    legends = [*figure.legends, *(legend for axes in figure.axes if (legend := axes.get_legend()))]
    found = [f"{axes.get_title()}: a legend inside the panel" for axes in figure.axes if _inside(axes)]
    found += [f"a legend of {rows} rows" for rows in map(_rows, legends) if rows > MOST_ROWS]
    entries = {
        _entry(line) for legend in legends for line in legend.legend_handles if isinstance(line, Line2D)
    }
    names = {text.get_text() for legend in legends for text in legend.get_texts()}
    bars = [bar for axes in figure.axes for bar in axes.containers if isinstance(bar, ErrorbarContainer)]
    entries |= {_entry(bar[0]) for bar in bars if bar.get_label() in names}
    for axes in figure.axes:
        for line in axes.lines:
            if len(np.asarray(line.get_xdata())) and not _rule(line) and not _named(_entry(line), entries):
                found.append(f"{axes.get_title()}: no name for {_entry(line)}")
    return found


def _rows(legend: Any) -> int:
    return -(-len(legend.get_texts()) // legend._ncols)


def _rule(line: Line2D) -> bool:
    """A faint line between rows or blocks, or the cap of an error bar."""
    colour, marker, style = _entry(line)
    faint = min(to_rgb(colour)) > 0.8 or (line.get_alpha() or 1.0) < 0.2
    return faint or (marker in ("|", "_") and not style)


def _inside(axes: Axes) -> bool:
    legend: Any = axes.get_legend()
    return legend is not None and legend.get_bbox_to_anchor().y0 >= axes.bbox.y0


def _entry(line: Line2D) -> tuple[str, str, str]:
    """Colour, marker and line style."""
    marker, style = (str(text) for text in (line.get_marker(), line.get_linestyle()))
    hidden = ("", "None", "none", " ")
    return to_hex(line.get_color()), "" if marker in hidden else marker, "" if style in hidden else style


def _named(entry: tuple[str, str, str], entries: set[tuple[str, str, str]]) -> bool:
    """As it is, or its colour by one entry and its marker and line by a grey one."""
    colour, *rest = entry
    grey = {tuple(others) for own, *others in entries if own in (to_hex(GREY), to_hex("0.4"))}
    return entry in entries or (any(own == colour for own, *_ in entries) and tuple(rest) in grey)
