"""The picture of the table: certified error and rounding of every theorem, a colour a dtype."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from console.drawing import grid, legend, sheet
from console.figures import on_log_axis
from console.marks import GREY
from console.output import Picture
from verify.certify.precision.table import Row
from verify.engine.tables import grouped

COLOURS = {"float64": "#1b5e9c", "float32": "#d9822b", "bfloat16": "#a3216f"}
MARKERS = {"products": "s", "math": "o", "flash": "x"}
PANELS = {
    "error": "against the exact algorithm",
    "rounding": "against the same weights in real arithmetic",
}


def error_by_dtype(rows: Sequence[Row]) -> Picture:
    """A line a theorem; each row of the table from its median (mark) to its largest (end of the bar)."""
    names = list(grouped(rows, lambda row: row.theorem))
    figure = sheet(
        (12.0, 1.6 + 0.42 * len(names)),
        "Certified error of runs over the natural scale: median (mark) and largest (end of the line)",
    )
    axes_of = grid(figure, len(PANELS), len(PANELS))
    for axes, (part, title) in zip(axes_of, PANELS.items(), strict=True):
        for row in rows:
            _drawn(axes, names.index(row.theorem), row, part)
        axes.set_xscale("log")
        axes.set_yticks(range(len(names)), names, fontsize=9)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.grid(axis="x", alpha=0.3)
        for line in range(1, len(names)):
            axes.axhline(line - 0.5, color="black", alpha=0.12, linewidth=0.8)
        axes.set_title(f"{part}: {title}", fontsize=10)
        axes.set_xlabel("upper end")
    seen = {row.dtype for row in rows}, {row.kernel for row in rows}
    for name, colour in COLOURS.items():
        if name in seen[0]:
            axes_of[0].add_line(Line2D([], [], color=colour, linewidth=3, label=name))
    for name, marker in MARKERS.items():
        if name in seen[1]:
            style = {"color": GREY, "linestyle": "", "marker": marker, "markersize": 5}
            axes_of[0].add_line(Line2D([], [], label=name, **style))
    thin = {"color": GREY, "linewidth": 1.2, "label": "from the median to the largest"}
    axes_of[0].add_line(Line2D([], [], **thin))
    legend(figure, axes_of, ncols=6)
    caption = (
        "Upper ends of certified errors: the median over the runs of one size, dtype and kernel (mark) and "
        "the largest (end of the bar), over the largest length of a state of the exact path. Left against "
        "the exact algorithm, approximation included; right what floating-point arithmetic alone adds. "
        "Softmax attention in bfloat16 is computed in float32. What is exactly 0 is not drawn."
    )
    return Picture("error_by_dtype", caption, figure)


def _drawn(axes: Axes, line: int, row: Row, part: str) -> None:
    found = getattr(row, part)
    if found is None:
        return
    place = line + 0.26 * (list(COLOURS).index(row.dtype) - 1)
    place += {"math": -0.05, "flash": 0.05}.get(row.kernel, 0.0)
    colour = COLOURS[row.dtype]
    ends = on_log_axis([found.median, found.largest])
    axes.plot(ends, [place, place], color=colour, linewidth=1.2, alpha=0.7)
    axes.plot(ends[:1], [place], MARKERS[row.kernel], color=colour, markersize=4, alpha=0.9)
