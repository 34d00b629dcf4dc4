"""The picture of a task in its first two coordinates: points, paths of means, ellipses of covariances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from console.drawing import name_marks
from console.figures import plain
from console.marks import POINTS
from console.output import Picture
from verify.em.covariances import as_matrices
from verify.em.measure import Measurement
from verify.em.records import pieces_mean
from verify.engine.drawing import colour, panels, picture

AROUND = np.linspace(0, 2 * np.pi, 121)


def in_the_plane(measurements: list[Measurement]) -> Measurement | None:
    """That of least d >= 2 and most pieces, if any."""
    flat = [m for m in measurements if m.problem.sizes[0] >= 2]
    return min(flat, key=lambda m: (m.problem.sizes[0], -pieces_mean(m.em)), default=None)


View = tuple[Sequence[str], Tensor]
"""Names of a person's columns, and what was subtracted from them."""


def path_picture(measurements: list[Measurement], view: View | None = None) -> list[Picture]:
    """Of the measurement in the plane, in the coordinates of ``view``; none where there is none."""
    m = in_the_plane(measurements)
    if m is None:
        return []
    figure, (axes,) = panels(1, 6.4, 5.6)
    draw_paths(axes, m, view)
    caption = (
        "The first task in its first two coordinates, a colour a component: every circle, a state of the "
        "layers, should lie on the line of EM."
    )
    if m.em_covariances is not None:
        caption += (
            " Ellipses: covariances of the last step, one standard deviation around the mean; those of the "
            "layers (dashed) should lie on those of EM."
        )
    return [picture("paths", caption, figure)]


def draw_paths(axes: Axes, m: Measurement, view: View | None = None) -> None:
    """Points, and means step by step of EM and of the layers, in the coordinates of ``view``."""
    X = m.problem.X[0]
    axes.plot(X[:, 0], X[:, 1], ".", color=POINTS.colour, markersize=4, label=POINTS.name)
    em, layers = m.em_means[0], m.run.path_means[0].cpu()
    ring = {"marker": "o", "markersize": 4, "markerfacecolor": "none", "linestyle": ""}
    for k in range(m.problem.sizes[1]):
        axes.plot(em[:, k, 0], em[:, k, 1], "-", color=colour(k), linewidth=3, alpha=0.4)
        axes.plot(layers[:, k, 0], layers[:, k, 1], color=colour(k), **ring)
        axes.plot(*em[-1, k, :2], "*", color=colour(k), markersize=13)
    _ellipses(axes, m)
    axes.plot([], [], "-", color="0.4", linewidth=3, alpha=0.4, label="path of EM")
    axes.plot([], [], color="0.4", **ring, label="after each step of the layers")
    axes.plot([], [], "*", color="0.4", markersize=11, label="last EM mean")
    axes.set_title(f"{plain(m.problem.label)}: {m.run.steps} steps of EM and of the layers", fontsize=10)
    first, second = ("first coordinate", "second coordinate") if view is None else view[0][:2]
    axes.set_xlabel(plain(first))
    axes.set_ylabel(plain(second))
    if view is not None:
        _move(axes, view[1])
    axes.set_aspect("equal", adjustable="datalim")
    name_marks(axes, {f"component {k}": colour(k) for k in range(m.problem.sizes[1])}, ())


def _move(axes: Axes, centre: Tensor) -> None:
    """Back to the coordinates of the data, from which the centre was subtracted."""
    for line in axes.lines:
        line.set_data(line.get_xdata() + float(centre[0]), line.get_ydata() + float(centre[1]))  # pyright: ignore[reportOperatorIssue]
    axes.relim()
    axes.autoscale_view()


def _ellipses(axes: Axes, m: Measurement) -> None:
    """One standard deviation around the last means: of EM, and of the layers."""
    kind, (d, K, _) = m.em.covariance_type, m.problem.sizes
    em, layers = m.em_covariances, m.run.covariances
    if em is None or layers is None:
        return
    ends = (
        (m.em_means[0, -1], em[0, -1], {"linewidth": 3, "alpha": 0.4}),
        (m.run.path_means[0, -1].cpu(), layers[0].cpu(), {"linewidth": 1.2, "linestyle": "--"}),
    )
    for means, S, style in ends:
        for k, matrix in enumerate(as_matrices(S, kind, K, d)):
            drawn = ellipse(means[k, :2], matrix[:2, :2])
            if drawn is not None:
                axes.plot(*drawn, color=colour(k), **style)
    axes.plot([], [], "-", color="0.4", linewidth=3, alpha=0.4, label="1 standard deviation, EM")
    axes.plot([], [], "--", color="0.4", linewidth=1.2, label="1 standard deviation, layers")


def ellipse(centre: Tensor, S: Tensor) -> np.ndarray | None:
    """(2, n) points of ``(x - centre)^T S^-1 (x - centre) = 1`` for (2,), (2, 2); None of what is none."""
    root, info = torch.linalg.cholesky_ex(S.to(torch.float64))
    if int(info) or not bool(root.isfinite().all()):
        return None
    return centre.double().numpy()[:, None] + root.numpy() @ np.stack([np.cos(AROUND), np.sin(AROUND)])
