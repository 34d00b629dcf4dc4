"""The picture of a task in its first two coordinates: points, paths of means, ellipses of covariances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from console.figures import plain
from console.output import Picture
from verify.em.covariances import as_matrices
from verify.em.measure import Measurement
from verify.em.records import pieces_mean
from verify.engine.drawing import panels

AROUND = np.linspace(0, 2 * np.pi, 121)


def path_picture(
    measurements: list[Measurement], view: tuple[Sequence[str], Tensor] | None = None
) -> list[Picture]:
    """Where a problem has two coordinates; ``view``: names of a person's columns, and what was subtracted."""
    flat = [m for m in measurements if m.problem.sizes[0] >= 2]
    if not flat:
        return []
    m = min(flat, key=lambda m: (m.problem.sizes[0], -pieces_mean(m.em)))
    figure, (axes,) = panels(1, 6.4, 5.6)
    X = m.problem.X[0]
    axes.plot(X[:, 0], X[:, 1], ".", color="0.7", markersize=4, label="points")
    layers = m.run.path_means[0].cpu()
    for k in range(m.problem.sizes[1]):
        axes.plot(m.em_means[0, :, k, 0], m.em_means[0, :, k, 1], "-", color=f"C{k}", linewidth=3, alpha=0.4)
        axes.plot(layers[:, k, 0], layers[:, k, 1], "o", color=f"C{k}", markersize=4, markerfacecolor="none")
        axes.plot(*m.em_means[0, -1, k, :2], "*", color=f"C{k}", markersize=13)
    _ellipses(axes, m)
    axes.plot([], [], "-", color="0.4", linewidth=3, alpha=0.4, label="path of EM")
    axes.plot(
        [], [], "o", color="0.4", markersize=4, markerfacecolor="none", label="after each step of the layers"
    )
    axes.plot([], [], "*", color="0.4", markersize=11, label="last EM mean")
    axes.set_title(f"{plain(m.problem.label)}: {m.run.steps} steps of EM and of the layers", fontsize=10)
    first, second = ("first coordinate", "second coordinate") if view is None else view[0][:2]
    axes.set_xlabel(plain(first))
    axes.set_ylabel(plain(second))
    if view is not None:
        _move(axes, view[1])
    axes.set_aspect("equal")
    axes.legend(fontsize=8)
    caption = (
        "The first task in its first two coordinates: every circle, a state of the layers, should lie on the "
        "line of EM."
    )
    if m.em_covariances is not None:
        caption += (
            " Ellipses: covariances of the last step, one standard deviation around the mean; those of the "
            "layers (dashed) should lie on those of EM."
        )
    return [Picture("paths", caption, figure)]


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
                axes.plot(*drawn, color=f"C{k}", **style)
    axes.plot([], [], "-", color="0.4", linewidth=3, alpha=0.4, label="1 standard deviation, EM")
    axes.plot([], [], "--", color="0.4", linewidth=1.2, label="1 standard deviation, layers")


def ellipse(centre: Tensor, S: Tensor) -> np.ndarray | None:
    """(2, n) points of ``(x - centre)^T S^-1 (x - centre) = 1`` for (2,), (2, 2); None of what is none."""
    root, info = torch.linalg.cholesky_ex(S.to(torch.float64))
    if int(info) or not bool(root.isfinite().all()):
        return None
    return centre.double().numpy()[:, None] + root.numpy() @ np.stack([np.cos(AROUND), np.sin(AROUND)])
