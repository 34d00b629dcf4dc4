"""The picture of certified regions: the bound against the radius of the box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from console.drawing import name_marks, slope_guide
from console.marks import GREY, INSTANCE, Mark
from console.output import Picture
from verify.certify.regions.reach import Reached
from verify.engine.drawing import BELOW, coloured, curve, finish, named_groups, panels, picture
from verify.engine.tables import grouped

LARGEST = replace(INSTANCE, name="B, largest over the tasks", line="-")
MEDIAN = replace(INSTANCE, name="B, median", marker="")
UNKNOWN = Mark("unknown", GREY, "x", "")
GUIDED = 3
"""The largest radii have a guide of the slope: before them B is the error at the centre."""


def bound_against_radius(rows: Sequence[Reached], factor: float) -> Picture:
    """A panel for each d, a colour for each K: B over the point bound; crosses where that is unknown."""
    by_dim = grouped(rows, lambda row: row.dim)
    figure, axes_of = panels(len(by_dim))
    for axes, (dim, group) in zip(axes_of, by_dim.items(), strict=True):
        for color, _, line in coloured(group, lambda row: row.components):
            radii = [row.radius for row in line]
            curve(axes, radii, (row.median for row in line), MEDIAN, color)
            curve(axes, radii, (row.largest for row in line), LARGEST, color)
            unknown = [row for row in line if row.verdict != "certified"]
            places = [row.radius for row in unknown]
            curve(axes, places, (row.largest for row in unknown), UNKNOWN, color, 12)
        at = sorted({row.radius for row in group if row.radius > 0})[-GUIDED:]
        first = [row.median for row in group if row.radius == at[0] and row.median is not None] if at else []
        if first:
            slope_guide(axes, at, 1, BELOW * min(first))
        axes.set_xscale("log")
        finish(axes, "radius of the box", "B, after the last step", f"d = {dim}")
    caption = (
        "For all data within the radius, coordinate by coordinate, no mean and no weight of the construction "
        "is farther than B from EM's: the largest over the tasks (dots) and the median (dashed). Crosses: B "
        f"is above {factor:g} times the bound of Theorem 1 at the centre of some task, so that is unknown."
    )
    names = named_groups(f"K = {row.components}" for row in rows)
    name_marks(axes_of[0], names, (LARGEST, MEDIAN, UNKNOWN))
    return picture("bound_against_radius", caption, figure)
