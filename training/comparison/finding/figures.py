"""Pictures of the study: every seed of every cell as a dot, and the losses on the way."""

from __future__ import annotations

import math
from collections.abc import Sequence

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
        panel.axhline(0.5 - len(data.controls), color="0.7", linewidth=0.8)
        panel.grid(alpha=0.25)
    left.set_yticks(places, [name for name, *_ in rows], fontsize=7.5)
    left.set(xlabel="blocks of the theorem, of 20", xlim=(-0.5, 20.5), ylim=(0.7 - len(rows), 0.7))
    left.axvline(20 * FOUND, color="green", linestyle=":", label="15 of 20: found")
    right.set(xscale="log", xlim=(0.2, FRAME), xlabel="held-out loss / the construction's")
    right.axvline(1, color=CONSTRUCTION.colour, linestyle=CONSTRUCTION.line, label="the construction")
    for mark, name in ((NETWORK, "a trained network"), (UNTRAINED, "a control")):
        left.plot([], [], color=mark.colour, marker=mark.marker, linestyle="", label=name)
    legend(figure, [left, right])
    s = data.settings
    caption = (
        f"Every network of the study as a dot, {s.seeds} seeds a cell, {s.steps:,} steps unless said. Left: "
        "how many of the theorem's blocks it has (where its layers have not 20: the share times 20), dots "
        "of one number side by side; right: its loss on held-out tasks. Larger losses stand at its edge. "
        "First rows: the controls."
    )
    return Picture("finding_cells", caption, figure)


def _dots(panel: Axes, place: float, values: Sequence[float], control: bool) -> None:
    """Equal values next to each other, one above the other."""
    mark = UNTRAINED if control else NETWORK
    for value in sorted(set(values)):
        count = values.count(value)
        heights = [place + 0.16 * (one - (count - 1) / 2) for one in range(count)]
        panel.plot(
            [value] * count,
            heights,
            mark.marker,
            color="black" if control else mark.colour,
            markersize=3.5,
            alpha=0.8,
        )


def _curves(data: FindingResult) -> Picture:
    count = len(data.cells)
    rows = math.ceil(count / PANELS_A_ROW)
    figure = sheet((13, 1.6 * rows + 1), "Held-out loss while training, in units of the construction's", 12)
    for panel, cell in zip(grid(figure, count, PANELS_A_ROW), data.cells, strict=True):
        for seed in range(len(cell.networks)):
            steps = [step for step, _ in cell.watched]
            panel.plot(
                steps, [losses[seed] for _, losses in cell.watched], color=NETWORK.colour, linewidth=0.8
            )
        panel.axhline(1, color=CONSTRUCTION.colour, linestyle=CONSTRUCTION.line, linewidth=0.8)
        panel.set(yscale="log", ylim=(0.2, FRAME))
        panel.set_title(cell.cell.name, fontsize=8)
        panel.tick_params(labelsize=6)
        panel.grid(alpha=0.25)
    caption = "A line a seed; dashed: the construction. Across: steps of training."
    return Picture("finding_curves", caption, figure)
