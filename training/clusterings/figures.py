"""Two pictures: the index of every contender on every data set, and the groups that some of them find."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.metrics.cluster import contingency_matrix

from console.drawing import sheet, write_cells
from console.output import Picture
from training.clusterings.contenders import Contender
from training.clusterings.data_sets import DataSet
from training.clusterings.measure import Row

PICTURES = ("agreement", "groups")
"""Names of all pictures."""
DRAWN = ("full-d2", "aniso", "varied", "moons", "circles")
DRAWN_METHODS = ("em", "network", "k-means", "spectral", "ward", "hdbscan-5", "vade", "dec")
LEFT_OUT = "0.75"


def pictures(
    rows: Sequence[Row], data: Mapping[str, DataSet], everyone: Mapping[str, Contender], about: str
) -> list[Picture]:
    """Those of which there is anything to draw; `data` has the first draw of each source."""
    found = [_agreement(rows, everyone, about)]
    places = {(row.source, row.contender): row for row in rows if row.labels}
    names = [name for name in DRAWN if any(source == name for source, _ in places)]
    methods = [name for name in DRAWN_METHODS if any(contender == name for _, contender in places)]
    if names and methods:
        found.append(_groups(places, names, methods, data, everyone, about))
    return found


def _agreement(rows: Sequence[Row], everyone: Mapping[str, Contender], about: str) -> Picture:
    names = list(dict.fromkeys(row.source for row in rows))
    methods = [name for name in everyone if any(row.contender == name for row in rows)]
    values = np.full((len(methods), len(names)), math.nan)
    for row in rows:
        if row.ari:
            values[methods.index(row.contender), names.index(row.source)] = np.mean(row.ari)
    size = (0.72 * len(names) + 2.9, 0.34 * len(methods) + 1.6)
    figure = sheet(size, "Adjusted Rand index", 11)
    panel = figure.subplots()
    panel.imshow(values, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    write_cells(panel, values.tolist(), lambda row, column, value: _short(value), lambda v: v < 0.6, 8)
    panel.set_xticks(range(len(names)), names, rotation=35, ha="right", fontsize=8)
    panel.set_yticks(range(len(methods)), [everyone[name].title for name in methods], fontsize=8)
    caption = (
        f"Mean adjusted Rand index of every contender (rows) on every data set (columns): 1 for the groups "
        f"themselves, 0 for chance. {about}. Empty: not fitted, the tables say why."
    )
    return Picture("agreement", caption, figure)


def _short(value: float) -> str:
    return f"{value:.2f}".replace("-0.00", "0.00")


def _groups(
    rows: Mapping[tuple[str, str], Row],
    names: Sequence[str],
    methods: Sequence[str],
    data: Mapping[str, DataSet],
    everyone: Mapping[str, Contender],
    about: str,
) -> Picture:
    figure = sheet((1.45 * (len(methods) + 1) + 0.4, 1.5 * len(names) + 0.6), "Groups of the first draw", 11)
    panels = figure.subplots(len(names), len(methods) + 1, squeeze=False)
    for line, name in zip(panels, names, strict=True):
        one = data[name]
        _draw(line[0], one, one.groups)
        line[0].set_ylabel(name, fontsize=9)
        for panel, method in zip(line[1:], methods, strict=True):
            row = rows.get((name, method))
            if row is None:
                panel.set_axis_off()
                continue
            _draw(panel, one, renamed(np.asarray(row.labels), one.groups))
            panel.set_xlabel(f"ARI {_short(row.ari[0])}", fontsize=8)
    for panel, text in zip(panels[0], ["drawn", *(everyone[m].title for m in methods)], strict=True):
        panel.set_title(text, fontsize=8)
    caption = (
        "Groups of the first draw, first as they were drawn, then as they were found; colours are matched to "
        f"those drawn where most points agree, light grey points are left out. {about}."
    )
    return Picture("groups", caption, figure)


def renamed(labels: NDArray[Any], groups: NDArray[Any]) -> NDArray[Any]:
    """The labels under the names of the groups they fit best, one to one; others count on; -1 stays."""
    known = np.unique(labels[labels >= 0])
    if not len(known):
        return labels
    inside = labels >= 0
    counts = contingency_matrix(groups[inside], labels[inside])
    present, n_groups = np.unique(groups[inside]), int(groups.max()) + 1
    pairs = zip(*linear_sum_assignment(-counts), strict=True)
    names: dict[Any, Any] = {known[column]: present[row] for row, column in pairs}
    spare = iter(range(n_groups, n_groups + len(known)))
    for label in known:
        if label not in names:
            names[label] = next(spare)
    return np.array([names.get(label, -1) for label in labels])


def _draw(panel: Axes, data: DataSet, groups: NDArray[Any]) -> None:
    palette = colormaps["tab10"].colors  # pyright: ignore[reportAttributeAccessIssue]
    colours = [LEFT_OUT if group < 0 else palette[group % len(palette)] for group in groups]
    panel.scatter(data.X[:, 0], data.X[:, 1], s=2.5, c=colours, linewidths=0)
    panel.set_xticks([])
    panel.set_yticks([])
