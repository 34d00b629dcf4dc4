"""The pictures of an evaluation: one line a method, one column of panels for each d (and K)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle
from textwrap import wrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, StrMethodFormatter

from console.drawing import legend, slope_guide
from console.marks import METHODS, NETWORK, Mark
from console.output import Picture
from training.evaluation.asked import Axis
from training.evaluation.contenders import NEAR, ORACLE
from training.evaluation.measure import CellResult, Row

MOST_LINES = 8
"""In a panel; where there are more methods, further pictures have them, each with networks and oracle."""
MOST_LABELS = 8
"""Of an axis in letters of the usual size; more are small."""
MOST_PICTURES = 4
"""Of one kind."""
NAMES = tuple(
    f"{kind}{'' if number == 1 else f'_{number}'}"
    for kind in ("error", "split", "time")
    for number in range(1, MOST_PICTURES + 1)
)
"""Of every picture that may be made."""

OTHERS = tuple(Mark("", colour, marker, "-.") for colour, marker in zip(("0.2", "0.5"), "|1", strict=True))
"""For a method that has no mark of its own."""
SPAN = 3000.0
"""A log axis reaches so many times its lowest value at most; what lies above is named in the caption."""
ROOM = 100.0
"""It reaches so many times the largest statistical error at least: over N alone that one falls 8,000-fold."""
DEPTH = 300.0
"""An algorithmic error below the statistical one by this factor is drawn there, at the lower edge."""

BELOW = 0.8
"""The guide of the slope, 1 / N, starts at so many times the statistical error."""

Column = list[CellResult]
Style = dict[str, object]


def pictures(results: Sequence[CellResult], axis: Axis, about: str) -> list[Picture]:
    """Every figure; `about` (which tasks, how many, seed) goes into each caption. None where nothing ran."""
    columns = _columns(results, axis)
    if not columns:
        return []
    styles = _styles([row.method for column in columns for result in column for row in result.rows])
    parts = _parts(styles)
    found = [_error(columns, axis, part, about) for part in parts]
    found += [_split(columns, axis, part, about) for part in parts]
    found += [_time(columns, part, about) for part in parts]
    return [replace(one, name=name) for one, name in zip(found, _names(len(parts)), strict=True)]


def _names(count: int) -> list[str]:
    """Of `count` pictures of each kind."""
    return [name for kind in range(3) for name in NAMES[kind * MOST_PICTURES :][:count]]


def _parts(styles: dict[str, Style]) -> list[dict[str, Style]]:
    """At most MOST_LINES of them at a time, networks and oracle always; all in the last of MOST_PICTURES."""
    always = [name for name in styles if name in (ORACLE, NEAR) or name.startswith("network")]
    others = [name for name in styles if name not in always]
    room = max(MOST_LINES - len(always), math.ceil(len(others) / MOST_PICTURES), 1)
    places = range(0, max(len(others), 1), room)
    return [{n: styles[n] for n in styles if n in always or n in others[at : at + room]} for at in places]


def _columns(results: Sequence[CellResult], axis: Axis) -> list[Column]:
    """Cells that were measured, those of one panel together: of one d, or of one (d, K)."""
    found: dict[tuple[int, ...], Column] = {}
    for result in results:
        if result.rows:
            group = result.cell.group
            found.setdefault(group[:1] if axis.over_components else group, []).append(result)
    return list(found.values())


def _styles(names: Sequence[str]) -> dict[str, Style]:
    """Networks red, the oracle a broad grey dashed line below the rest, methods with hollow markers."""
    styles: dict[str, Style] = {}
    networks = iter(cycle(((NETWORK.colour, NETWORK.line, NETWORK.marker), ("#7b0d0e", "--", "o"))))
    alone = iter(cycle((("#f4a3a3", "-", "*"), ("#b05050", ":", "*"))))
    others = cycle(OTHERS)
    for name in dict.fromkeys(names):
        if name == ORACLE:
            styles[name] = {"color": "0.6", "linestyle": (0, (2, 1)), "linewidth": 5, "zorder": 1}
            styles[name] |= {"marker": "_", "markersize": 14}
        elif name == NEAR:
            styles[name] = {"color": "black", "linestyle": "-", "marker": "o", "linewidth": 2.4, "zorder": 4}
        elif name.startswith("network"):
            colour, line, marker = next(networks if "EM layers" in name else alone)
            styles[name] = {"color": colour, "linestyle": line, "marker": marker, "linewidth": 2.4}
            styles[name] |= {"markersize": 7, "zorder": 4}
        else:
            of, _, variant = name.partition(",")
            mark = METHODS.get(of) or next(others)
            styles[name] = mark.style() | {"linewidth": 1.1, "markersize": 7, "markerfacecolor": "none"}
            if variant:
                styles[name]["linestyle"] = ":"
    return styles


def _grid(title: str, n_rows: int, n_columns: int, height: float = 3.0) -> tuple[Figure, list[list[Axes]]]:
    figure = Figure(figsize=(max(7.6, 5.2 * n_columns), height * n_rows + 0.7), layout="constrained")
    width = 18 * n_columns + 60
    lines = [line for sentence in title.split(". ") for line in wrap(sentence, width)]
    figure.suptitle("\n".join(lines), fontsize=10)
    return figure, [list(row) for row in figure.subplots(n_rows, n_columns, squeeze=False)]


def _title(column: Column, axis: Axis) -> str:
    cell = column[0].cell
    parts = [f"d = {cell.n_features}"]
    if not axis.over_components:
        parts.append(f"K = {cell.n_components}")
    if axis.key != "N":
        parts.append(f"N = {cell.n_samples}")
    return ", ".join(parts)


def _draw(
    panel: Axes,
    column: Column,
    axis: Axis,
    styles: dict[str, Style],
    value: Callable[[Row], float],
    error: Callable[[Row], float] | None = None,
) -> None:
    """A line a method over what the grid varies; broken where it has no value."""
    x = [axis.place(result.cell.value) if axis.place else result.cell.value for result in column]
    for name, style in styles.items():
        rows = [next((row for row in result.rows if row.method == name), None) for result in column]
        y = [math.nan if row is None else value(row) for row in rows]
        if all(map(math.isnan, y)):
            continue
        bars = None if error is None else [0.0 if row is None else error(row) for row in rows]
        panel.errorbar(x, y, bars, label=name, capsize=2, elinewidth=0.8, **style)  # pyright: ignore[reportArgumentType]
    if axis.log:
        panel.set_xscale("log", base=2)
        panel.xaxis.set_minor_locator(NullLocator())
    size = None if len(x) <= MOST_LABELS else 8
    panel.set_xticks(x, [f"{result.cell.value:g}" for result in column], fontsize=size)
    panel.set_xlabel(axis.label)
    panel.grid(alpha=0.3)


def _log(panel: Axes, values: Sequence[float], span: float = SPAN, least: float = 0.0) -> bool:
    """A log axis for these values, to `span` times the lowest or to `least`; whether some lie above."""
    panel.set_yscale("log")
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    panel.yaxis.set_minor_formatter(NullFormatter())
    lowest, highest = min(values), max(values)
    most = max(span * lowest, least)
    panel.set_ylim(0.7 * lowest, 1.4 * min(highest, most))
    return highest > most


def _total(row: Row) -> float:
    return math.nan if row.total is None else row.total.mean


def _bar_end(row: Row) -> float:
    return math.nan if row.total is None else row.total.mean + row.total.standard_error


def _statistical(row: Row) -> float:
    return _total(row) if row.method == ORACLE else math.nan


def _above(column: Column, value: Callable[[Row], float], limit: float) -> set[str]:
    return {row.method for result in column for row in result.rows if value(row) > limit}


def _positive(column: Column, value: Callable[[Row], float]) -> list[float]:
    values = [value(row) for result in column for row in result.rows]
    return [v for v in values if v > 0]


def _error(columns: list[Column], axis: Axis, styles: dict[str, Style], about: str) -> Picture:
    figure, rows = _grid(f"Error against the truth. {about}", 3, len(columns))
    above: set[str] = set()
    for place, column in enumerate(columns):
        total, bad, ari = (row[place] for row in rows)
        _draw(
            total, column, axis, styles, _total, lambda r: 0.0 if r.total is None else r.total.standard_error
        )
        shown = _positive(column, _total) + _positive(column, _bar_end)
        if _log(total, shown, least=ROOM * max(_positive(column, _statistical))):
            above |= _above(column, _total, total.get_ylim()[1])
        if axis.key == "N":
            first = next((y for y in map(_statistical, column[0].rows) if y > 0), math.nan)
            slope_guide(total, [result.cell.value for result in column], -1, BELOW * first)
        total.set_title(_title(column, axis), fontsize=10)
        total.set_ylabel("total error, mean")
        _draw(bad, column, axis, styles, lambda r: math.nan if r.total is None else r.total.percent_bad)
        bad.set_ylabel("bad tasks, %")
        _draw(ari, column, axis, styles, lambda r: r.adjusted_rand_index)
        ari.set_ylabel("adjusted Rand index")
    legend(figure, rows[0], fontsize=8)
    caption = (
        f"{about} Top: mean total error after the best permutation, bars one standard error; the grey dashed "
        f"line ({ORACLE}) is EM started from the truth. Middle: tasks with more than ten times its error, "
        "and failed ones. Bottom: adjusted Rand index of the grouping with the true components."
    )
    if above:
        caption += f" Above the frame somewhere: {', '.join(sorted(above))}."
    return Picture("error", caption, figure)


def _split(columns: list[Column], axis: Axis, styles: dict[str, Style], about: str) -> Picture:
    figure, [panels] = _grid(
        f"Statistical error (dashed) and algorithmic error. {about}", 1, len(columns), 4.0
    )
    above: set[str] = set()
    for panel, column in zip(panels, columns, strict=True):
        floor = min(_positive([result], _statistical)[0] for result in column) / DEPTH

        def value(row: Row, floor: float = floor) -> float:
            return _total(row) if row.method == ORACLE else max(row.algorithmic, floor)

        _draw(panel, column, axis, styles, value)
        if _log(panel, _positive(column, value), SPAN * DEPTH):
            above |= _above(column, value, panel.get_ylim()[1])
        panel.set_title(_title(column, axis), fontsize=10)
        panel.set_ylabel("error in the paper's metric")
    legend(figure, panels, fontsize=8)
    caption = (
        f"{about} Statistical error apart from algorithmic. Dashed: the error of EM from the truth, which no "
        "amount of computing removes. Lines: mean distance, in the same metric, between a method's estimate "
        "and that of EM from the truth. A line below the dashed one means that the sample, not the "
        f"algorithm, decides the error; those of less than a {DEPTH:g}th of it are drawn at the lower edge."
    )
    if above:
        caption += f" Above the frame somewhere: {', '.join(sorted(above))}."
    return Picture("split", caption, figure)


def _time(columns: list[Column], styles: dict[str, Style], about: str) -> Picture:
    figure, [panels] = _grid(f"Error and what it costs. {about}", 1, len(columns), 4.0)
    above: set[str] = set()
    for panel, column in zip(panels, columns, strict=True):
        last = column[-1]
        for row in (row for row in last.rows if row.method in styles):
            style = {
                k: v
                for k, v in styles[row.method].items()
                if k in ("color", "marker", "zorder", "markerfacecolor")
            }
            style["markersize"] = 9
            if row.method == ORACLE:  # a dash, which is thin without its line
                style["markeredgewidth"] = 4
            if "," in row.method:  # of other covariances: no line tells it here
                style["markerfacecolor"] = style["color"]
            panel.plot([row.cpu_milliseconds], [_total(row)], linestyle="none", label=row.method, **style)  # pyright: ignore[reportArgumentType]
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        panel.xaxis.set_minor_formatter(NullFormatter())
        if _log(panel, _positive([last], _total)):
            above |= _above([last], _total, panel.get_ylim()[1])
        panel.set_title(last.cell.title, fontsize=10)
        panel.set_xlabel("milliseconds of processor time a task")
        panel.set_ylabel("total error, mean")
        panel.grid(alpha=0.3)
    legend(figure, panels, fontsize=8)
    caption = (
        f"{about} What an error costs: mean total error against processor time a task, the tasks of a cell "
        "worked through as one batch, the last cell of each column."
    )
    if above:
        caption += f" Above the frame: {', '.join(sorted(above))}."
    return Picture("time", caption, figure)
