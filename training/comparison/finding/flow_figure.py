"""Where the gradient flow of one attention score goes, in the plane of its two weights."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes

from console.drawing import legend_below, sheet
from console.output import Picture
from training.comparison.finding.one_score import Path, SymmetricTasks, flow, halves, limit

REACH = 3.0
"""Of the plane, to each side."""
ROUGH = 1e-6
"""Error of one step of what is drawn in the plane."""
APART = (1.0, 1e-1, 1e-2, 1e-4, 1e-8)
"""Distances |q + k| / sqrt 2 of starts from the line q = -k."""


def plane_figure(tasks: SymmetricTasks) -> Picture:
    """Trajectories with the hyperbola q k = 1 and the line q = -k; the distance |a - 1| against time."""
    figure = sheet(
        (13, 6), "Gradient flow of the weights q, k of the E step's score a = q k, d = 1, K = 2", 12
    )
    plane, course = figure.subplots(1, 2)
    _draw_levels(plane, tasks)
    for angle in np.arange(16) / 16 * 2 * math.pi + 0.13:
        for start in _corners(angle):
            path = flow(tasks, start, _long_enough(tasks, start), ROUGH).weights[:, :, 0]
            plane.plot(*path.T, color="0.25", linewidth=0.8)
            middle = len(path) // 6
            plane.annotate(
                "", path[middle + 1], path[middle], arrowprops={"arrowstyle": "->", "color": "0.25"}
            )
            plane.plot(*limit(start)[:, 0], "o", color="#2ca02c", markersize=3.5)
    side = np.geomspace(1 / REACH, REACH, 200)
    for sign, label in ((1, "q k = 1: the construction"), (-1, None)):
        plane.plot(sign * side, sign / side, color="#2ca02c", linewidth=2, label=label)
    plane.plot([-REACH, REACH], [REACH, -REACH], "--", color="#d62728", label="q = -k: ends in (0, 0)")
    plane.plot(0, 0, "X", color="#d62728", markersize=9, label="(0, 0): a strict saddle")
    plane.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), aspect="equal", xlabel="q", ylabel="k")
    legend_below(plane, 3)
    for apart in APART:
        path = _from_the_line(tasks, apart)
        gaps = np.abs(path.scores - 1)
        course.semilogy(path.times * tasks.curvature, gaps, label=f"start {apart:g} from the line")
    course.set(
        xlabel="time, in units of 1 / L''(1)", ylabel="|a - 1|", ylim=(1e-7, 10), xlim=(0, 10),
        title="The nearer to the line, the longer at the saddle",
    )  # fmt: skip
    course.grid(alpha=0.25)
    legend_below(course, 3)
    caption = (
        f"{len(tasks.points)} tasks of {tasks.points.shape[1]} points, d = 1, K = 2, means m and -m. Left: "
        "trajectories from 32 starts on two circles, above levels of log L; dots: the ends that the theorem "
        "gives. Right: |a - 1| from starts beside (1, -1), at the distances named from the line."
    )
    return Picture("finding_flow", caption, figure)


def _corners(angle: float) -> list[np.ndarray]:
    """Starts on a small and on a large circle."""
    direction = np.array([[math.cos(angle)], [math.sin(angle)]])
    return [0.15 * direction, REACH * direction]


def _long_enough(tasks: SymmetricTasks, start: np.ndarray) -> float:
    """Time to leave the saddle, where |u| grows at the rate -L'(0), and then to come near to a = 1."""
    u, _ = halves(start)
    return max(2.0, 2 - math.log(np.linalg.norm(u))) / -tasks.slope(0.0) + 8 / tasks.curvature


def _from_the_line(tasks: SymmetricTasks, apart: float) -> Path:
    """The flow from (1, -1) moved off the line."""
    start = np.array([[1.0], [-1.0]]) + apart / math.sqrt(2)
    return flow(tasks, start, _long_enough(tasks, start))


def _draw_levels(plane: Axes, tasks: SymmetricTasks) -> None:
    grid = np.linspace(-REACH, REACH, 121)
    loss = [[math.log10(tasks.loss(q * k) + 1e-6) for q in grid] for k in grid]
    plane.contourf(grid, grid, loss, levels=18, cmap="Blues_r", alpha=0.55)
