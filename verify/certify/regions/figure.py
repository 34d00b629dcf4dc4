"""The picture of certified regions: the bound against the radius of the box."""

from __future__ import annotations

from collections.abc import Sequence

from console.output import Picture
from verify.certify.regions.reach import Reached
from verify.engine.drawing import coloured, curve, finish, panels
from verify.engine.tables import grouped


def bound_against_radius(rows: Sequence[Reached], factor: float) -> Picture:
    """A panel for each d, a colour for each K: B over the point bound; crosses where that is unknown."""
    by_dim = grouped(rows, lambda row: row.dim)
    figure, axes_of = panels(len(by_dim))
    for axes, (dim, group) in zip(axes_of, by_dim.items(), strict=True):
        for color, count, line in coloured(group, lambda row: row.components):
            radii = [row.radius for row in line]
            curve(axes, radii, (row.median for row in line), "--", color, f"K = {count}: median B")
            curve(axes, radii, (row.largest for row in line), "o-", color, f"K = {count}: largest B")
            unknown = [row for row in line if row.verdict != "certified"]
            places = [row.radius for row in unknown]
            curve(axes, places, (row.largest for row in unknown), "x", color, f"K = {count}: unknown", 12)
        axes.set_xscale("log")
        finish(axes, "radius of the box", "B, after the last step", f"d = {dim}")
    caption = (
        "For all data within the radius, coordinate by coordinate, no mean and no weight of the construction "
        "is farther than B from EM's: the largest over the tasks (dots) and the median (dashed). Crosses: B "
        f"is above {factor:g} times the bound of Theorem 1 at the centre of some task, so that is unknown."
    )
    return Picture("bound_against_radius", caption, figure)
