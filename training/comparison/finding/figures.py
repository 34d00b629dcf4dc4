"""Pictures of the study: every seed of every cell as a dot, and the losses on the way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from console.drawing import grid, legend, sheet
from console.marks import CONSTRUCTION, NETWORK, UNTRAINED
from console.output import Picture
from training.comparison.finding.study import FindingResult
from training.comparison.finding.summary import FOUND

NAMES = ("finding_cells", "finding_curves")
PANELS_A_ROW = 6

FRAME = 1e7
"""Larger losses stand at the edge."""


def pictures(data: FindingResult) -> list[Picture]:
    """Blocks and loss of every network, and learning curves."""
    return [_cells(data), _curves(data)]


def _cells(data: FindingResult) -> Picture:
    theorem = len(data.cells[0].theorem)  # the baseline's, and the controls'
    rows = [(control.name, control.networks, theorem, True) for control in data.controls]
    rows += [(f"{c.cell.factor}: {c.cell.level}", c.networks, len(c.theorem), False) for c in data.cells]
    figure = sheet((13, 1.8 + 0.23 * len(rows)), "What training finds, by what it is given", 12)
    left, right = figure.subplots(1, 2, sharey=True)
    places = [-place for place in range(len(rows))]
    for place, (_, networks, blocks, control) in zip(places, rows, strict=True):
        _dots(left, place, [20 * len(network.has) / blocks for network in networks], control)
        _dots(right, place, [min(network.loss, FRAME) for network in networks], control)
    for panel in (left, right):
        below = 0.5 - len(data.controls)
        panel.axhline(below, color="0.7", linewidth=0.8, label="controls above, cells below")
        panel.grid(alpha=0.25)
    left.set_yticks(places, [name for name, *_ in rows], fontsize=7.5)
    left.set(xlabel="blocks of the theorem, of 20", xlim=(-0.5, 20.5), ylim=(0.7 - len(rows), 0.7))
    left.axvline(20 * FOUND, color="green", linestyle=":", label="15 of 20: found")
    right.set(xscale="log", xlim=(0.2, FRAME), xlabel="held-out loss / the construction's")
    right.axvline(1, color=CONSTRUCTION.colour, linestyle=CONSTRUCTION.line, label="the construction")
    for control, name in ((False, "a trained network"), (True, "a control")):
        left.plot([], [], linestyle="", label=name, **_dot(control))
    legend(figure, [left, right])
    s = data.settings
    caption = (
        f"Every network of the study as a dot, {s.seeds} seeds a cell, {s.steps:,} steps unless said. Left: "
        "how many of the theorem's blocks it has (where its layers have not 20: the share times 20), dots "
        "of one number side by side; right: its loss on held-out tasks. Larger losses stand at its edge. "
        "First rows: the controls."
    )
    return Picture("finding_cells", caption, figure)


def _dot(control: bool) -> dict[str, Any]:
    """How a network is drawn, in the words of matplotlib."""
    colour, marker = ("black", UNTRAINED.marker) if control else (NETWORK.colour, NETWORK.marker)
    return {"color": colour, "marker": marker, "markersize": 3.5, "alpha": 0.8}


def _dots(panel: Axes, place: float, values: Sequence[float], control: bool) -> None:
    """Equal values one above the other."""
    for value in sorted(set(values)):
        count = values.count(value)
        heights = [place + 0.16 * (one - (count - 1) / 2) for one in range(count)]
        panel.plot([value] * count, heights, linestyle="", **_dot(control))


def _curves(data: FindingResult) -> Picture:
    count = len(data.cells)
    rows = math.ceil(count / PANELS_A_ROW)
    figure = sheet((13, 1.6 * rows + 1), "Held-out loss while training, in units of the construction's", 12)
    panels = grid(figure, count, PANELS_A_ROW)
    line = {"color": CONSTRUCTION.colour, "linestyle": CONSTRUCTION.line, "linewidth": 0.8}
    for panel, cell in zip(panels, data.cells, strict=True):
        for seed in range(len(cell.networks)):
            steps, losses = zip(*((step, found[seed]) for step, found in cell.watched), strict=True)
            panel.plot(steps, losses, color=NETWORK.colour, linewidth=0.8, label="a seed")
        panel.axhline(1, label="the construction", **line)
        panel.set(yscale="log", ylim=(0.2, FRAME))
        panel.set_title(cell.cell.name, fontsize=8)
        panel.tick_params(labelsize=6)
        panel.grid(alpha=0.25)
    legend(figure, panels)
    caption = "A line a seed. Across: steps of training. Losses beyond the frame are above 1e7."
    return Picture("finding_curves", caption, figure)
