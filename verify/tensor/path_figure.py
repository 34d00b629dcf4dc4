"""The picture of runs: error and bound of every step."""

from __future__ import annotations

from console.drawing import name_marks
from console.marks import INSTANCE, MEASURED
from console.output import Picture
from verify.engine.drawing import coloured, curve, finish, named_groups, panels, picture
from verify.tensor.rows import PathRow

LARGEST_DRAWN = 1e30
"""A bound relative to |v| that is larger says nothing, and stretches the axis beyond what floats hold."""


def path_picture(rows: list[PathRow], caption: str) -> Picture:
    """A panel for each problem and a colour for each iteration."""
    names = list(dict.fromkeys(row.problem for row in rows))
    figure, axes_of = panels(len(names))
    for axes, name in zip(axes_of, names, strict=True):
        for color, _, everywhere in coloured(rows, lambda row: row.form):
            chosen = [row for row in everywhere if row.problem == name]  # none where it left the range
            steps = [row.step for row in chosen]
            bounds = (row.bound if row.bound < LARGEST_DRAWN else None for row in chosen)
            curve(axes, steps, bounds, INSTANCE, color)
            curve(axes, steps, (row.largest_error for row in chosen), MEASURED, color)
        finish(axes, "step", "|v, layers - v, reference| / |v|", name, steps=True)
    name_marks(axes_of[0], named_groups(row.form for row in rows), (MEASURED, INSTANCE))
    return picture("paths", caption, figure)
