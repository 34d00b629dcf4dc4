"""The pictures of the EM check."""

from __future__ import annotations

import math
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from console.figures import on_log_axis, plain
from console.output import Picture
from constructions.em.weights import em_construction
from verify.em.measure import Measurement
from verify.em.sweep import SweepPoint, fitted_slope
from verify.engine.record import quotient

NAMES = (
    *("error_against_pieces", "split_of_pieces", "error_against_steps", "bound_against_error", "paths"),
    *("weights_layer_1", "weights_layer_2"),
)
"""Of every picture that may be made."""

MAX_SCATTERED = 4000
"""Components drawn at most in the scatter of bound against error, evenly spaced among all."""


def pictures(
    measurements: list[Measurement], sweeps: dict[str, list[SweepPoint]], equal: dict[str, list[SweepPoint]]
) -> list[Picture]:
    """Every figure of the check, in the order of the report."""
    found = []
    if sweeps:
        found.append(_error_against_pieces(sweeps))
        found.append(_split(sweeps, equal))
    found.append(_error_against_steps(measurements))
    found.append(_bound_against_error(measurements))
    found.extend(_path_picture(measurements))
    found.extend(_weights(measurements))
    return found


def _grid(panels: int, width: float = 4.6, height: float = 3.8) -> tuple[Figure, list[Axes]]:
    columns = min(3, panels)
    rows = math.ceil(panels / columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[panels:]:
        unused.set_axis_off()
    return figure, axes[:panels]


def _error_against_pieces(sweeps: dict[str, list[SweepPoint]]) -> Picture:
    figure, panels = _grid(len(sweeps))
    for axes, (name, points) in zip(panels, sweeps.items(), strict=True):
        pieces = [p.pieces for p in points]
        axes.loglog(pieces, on_log_axis(p.apriori for p in points), "^:", label="a-priori bound")
        axes.loglog(pieces, on_log_axis(p.instance for p in points), "s--", label="instance bound")
        axes.loglog(pieces, on_log_axis(p.error for p in points), "o-", label="measured")
        axes.set_title(f"{plain(name)}, slope {fitted_slope(points):.2f}", fontsize=10)
        _mark_pieces(axes, pieces)
        axes.set_ylabel("|mean, layers - mean, EM|")
        axes.grid(alpha=0.3)
    panels[0].legend(fontsize=8)
    caption = (
        "Error of one step against the number of linear pieces, median over the components that overlap "
        "with others, with both bounds. The error falls with the square of the pieces (slope -2)."
    )
    return Picture("error_against_pieces", caption, figure)


def _mark_pieces(axes: Axes, pieces: list[int]) -> None:
    axes.set_xlabel("pieces a function (mean of the three)")
    axes.set_xticks(pieces, [str(p) for p in pieces], fontsize=8)
    axes.xaxis.set_minor_locator(NullLocator())


def _split(sweeps: dict[str, list[SweepPoint]], equal: dict[str, list[SweepPoint]]) -> Picture:
    figure, (bound_axes, error_axes) = _grid(2, 6.4)
    pieces: list[int] = []
    for name, points in sweeps.items():
        others = {p.pieces: p for p in equal[name]}
        both = [(p, others[p.pieces]) for p in points if p.pieces in others]
        pieces = [p.pieces for p, _ in both]
        bound_axes.semilogx(pieces, [quotient(q.rho, p.rho) for p, q in both], "o-", label=plain(name))
        error_axes.semilogx(pieces, [quotient(q.error, p.error) for p, q in both], "o-", label=plain(name))
    for axes, what in ((bound_axes, "a-priori bound (rho)"), (error_axes, "measured error")):
        axes.axhline(1, color="0.5", linewidth=0.8)
        axes.set_title(f"{what}: equal split / best split", fontsize=10)
        _mark_pieces(axes, pieces)
        axes.set_ylabel("ratio, above 1 the best split wins")
        axes.grid(alpha=0.3)
    bound_axes.legend(fontsize=8)
    caption = (
        "What the split that minimises the bound buys over giving each function the same number of pieces. "
        "The bound gains by construction; the measured error need not, and at large d loses: the bound adds "
        "up the worst cases of d squares, which do not all come at once."
    )
    return Picture("split_of_pieces", caption, figure)


def _error_against_steps(measurements: list[Measurement]) -> Picture:
    # One panel a problem, at its largest number of pieces, which comes last.
    last = {m.problem.label: m for m in measurements}
    figure, panels = _grid(len(last))
    for axes, (name, m) in zip(panels, last.items(), strict=True):
        steps = [r["step"] for r in m.records]

        def values(*keys: str, m: Measurement = m) -> list[float]:
            found: list[float | None] = []
            for record in m.records:
                value: Any = record
                for key in keys:
                    value = value[key]
                found.append(value)
            return on_log_axis(found)

        axes.semilogy(
            steps, values("path", "bound", "median"), "s--", label="bound over all steps so far, median"
        )
        axes.semilogy(steps, values("path", "largest_mean_error", "median"), "o-", label="measured, median")
        axes.semilogy(
            steps, values("one_step", "mean_error", "median"), ".-", label="of that step alone, median"
        )
        axes.set_title(f"{plain(name)}, {m.em.pieces.total // 3} pieces", fontsize=10)
        axes.set_xlabel("EM step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel("|mean, layers - mean, EM|")
        axes.grid(alpha=0.3)
    panels[0].legend(fontsize=8)
    caption = (
        "Largest error of a mean against the EM path from the same start, step by step, with the bound over "
        "all steps (median over the tasks in which it is below the data's diameter). Where the Lipschitz "
        "factors stay below 1 errors do not build up."
    )
    return Picture("error_against_steps", caption, figure)


def _bound_against_error(measurements: list[Measurement]) -> Picture:
    figure, (axes,) = _grid(1, 6.4, 5.2)
    pairs: dict[int, list[torch.Tensor]] = {}
    for m in measurements:
        for step in m.steps:
            both = torch.stack([step.mean_error, step.bound.mean_instance], -1)[step.defined]
            pairs.setdefault(m.problem.sizes[0], []).append(both[(both > 0).all(-1)])
    total = sum(len(part) for parts in pairs.values() for part in parts)
    every = max(1, total // MAX_SCATTERED)
    for dim, parts in sorted(pairs.items()):
        drawn = torch.cat(parts)[::every]
        axes.loglog(drawn[:, 0], drawn[:, 1], ".", markersize=3, alpha=0.5, label=f"d = {dim}")
    low, high = axes.get_xlim()
    axes.loglog([low, high], [low, high], color="black", linewidth=1, label="bound = error")
    axes.set_title("Instance bound against measured error, one step", fontsize=10)
    axes.set_xlabel("measured |mean, layers - mean, EM|")
    axes.set_ylabel("instance bound")
    axes.legend(fontsize=8, markerscale=3)
    axes.grid(alpha=0.3)
    shown = "every one" if every == 1 else f"one in {every}"
    caption = (
        f"Each dot is a component at a step ({total:,} in all, {shown} drawn). A dot below the line would "
        "be a broken bound."
    )
    return Picture("bound_against_error", caption, figure)


def _path_picture(measurements: list[Measurement]) -> list[Picture]:
    flat = [m for m in measurements if m.problem.sizes[0] >= 2]
    if not flat:
        return []
    m = min(flat, key=lambda m: (m.problem.sizes[0], -m.em.pieces.total))
    figure, (axes,) = _grid(1, 6.4, 5.6)
    X = m.problem.X[0]
    axes.plot(X[:, 0], X[:, 1], ".", color="0.7", markersize=4, label="points")
    layers = m.run.path_means[0].cpu()
    for k in range(m.problem.sizes[1]):
        axes.plot(m.em_means[0, :, k, 0], m.em_means[0, :, k, 1], "-", color=f"C{k}", linewidth=3, alpha=0.4)
        axes.plot(layers[:, k, 0], layers[:, k, 1], "o", color=f"C{k}", markersize=4, markerfacecolor="none")
        axes.plot(*m.em_means[0, -1, k, :2], "*", color=f"C{k}", markersize=13)
    axes.plot([], [], "-", color="0.4", linewidth=3, alpha=0.4, label="path of EM")
    axes.plot(
        [], [], "o", color="0.4", markersize=4, markerfacecolor="none", label="after each pair of layers"
    )
    axes.plot([], [], "*", color="0.4", markersize=11, label="last EM mean")
    axes.set_title(f"{plain(m.problem.label)}: {m.run.steps} steps of EM and of the layers", fontsize=10)
    axes.set_xlabel("first coordinate")
    axes.set_ylabel("second coordinate")
    axes.set_aspect("equal")
    axes.legend(fontsize=8)
    caption = (
        "The first task in its first two coordinates: every circle, a state of the layers, should lie on the "
        "line of EM."
    )
    return [Picture("paths", caption, figure)]


def _weights(measurements: list[Measurement]) -> list[Picture]:
    small = em_construction(2, 3, 1, 4, radius=measurements[0].em.radius)
    figures = small.construction.plot_weights()
    caption = (
        "Dense weights of layer {} of a small construction (d0 = {}, K0 = {}, 4 pieces a function), with the "
        "named blocks on the axes. White is exactly 0."
    )
    return [
        Picture(f"weights_layer_{n}", caption.format(n, small.max_dim, small.max_components), figure)
        for n, figure in enumerate(figures, 1)
    ]
