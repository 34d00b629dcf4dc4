"""The pictures of the EM check."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from console.figures import plain
from console.output import Picture
from constructions.em.weights import em_construction
from verify.em.measure import Measurement
from verify.em.sweep import SweepPoint, fitted_slope
from verify.engine.drawing import curve, finish, panels, scatter, weight_pictures
from verify.engine.record import quotient

NAMES = (
    *("error_against_pieces", "split_of_pieces", "error_against_steps", "bound_against_error", "paths"),
    *("weights_layer_1", "weights_layer_2"),
)
"""Of every picture that may be made."""

PIECES, DISTANCE = "pieces a function (mean of the three)", "|mean, layers - mean, EM|"


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


def _error_against_pieces(sweeps: dict[str, list[SweepPoint]]) -> Picture:
    figure, axes_of = panels(len(sweeps))
    for axes, (name, points) in zip(axes_of, sweeps.items(), strict=True):
        pieces = [p.pieces for p in points]
        curve(axes, pieces, (p.apriori for p in points), "^:", 0, "a-priori bound")
        curve(axes, pieces, (p.instance for p in points), "s--", 1, "instance bound")
        curve(axes, pieces, (p.error for p in points), "o-", 2, "measured")
        finish(axes, PIECES, DISTANCE, f"{name}, slope {fitted_slope(points):.2f}")
        _mark_pieces(axes, pieces)
    caption = (
        "Error of one step against the number of linear pieces, median over the components that overlap "
        "with others, with both bounds. The error falls with the square of the pieces (slope -2)."
    )
    return Picture("error_against_pieces", caption, figure)


def _mark_pieces(axes: Axes, pieces: list[int]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(pieces, [str(p) for p in pieces], fontsize=8)
    axes.xaxis.set_minor_locator(NullLocator())


def _split(sweeps: dict[str, list[SweepPoint]], equal: dict[str, list[SweepPoint]]) -> Picture:
    figure, (bound_axes, error_axes) = panels(2, 6.4)
    pieces: list[int] = []
    for color, (name, points) in enumerate(sweeps.items()):
        others = {p.pieces: p for p in equal[name]}
        both = [(p, others[p.pieces]) for p in points if p.pieces in others]
        pieces = [p.pieces for p, _ in both]
        curve(bound_axes, pieces, [quotient(q.rho, p.rho) for p, q in both], "o-", color, name)
        curve(error_axes, pieces, [quotient(q.error, p.error) for p, q in both], "o-", color, name)
    for axes, what in ((bound_axes, "a-priori bound (rho)"), (error_axes, "measured error")):
        axes.axhline(1, color="0.5", linewidth=0.8)
        title = f"{what}: equal split / best split"
        finish(axes, PIECES, "ratio, above 1 the best split wins", title, scale="linear")
        _mark_pieces(axes, pieces)
    caption = (
        "What the split that minimises the bound buys over giving each function the same number of pieces. "
        "The bound gains by construction; the measured error need not, and at large d loses: the bound adds "
        "up the worst cases of d squares, which do not all come at once."
    )
    return Picture("split_of_pieces", caption, figure)


def _error_against_steps(measurements: list[Measurement]) -> Picture:
    # One panel a problem, at its largest number of pieces, which comes last.
    last = {m.problem.label: m for m in measurements}
    figure, axes_of = panels(len(last))
    for axes, (name, m) in zip(axes_of, last.items(), strict=True):
        steps, paths = [r.step for r in m.records], [r.path for r in m.records]
        curve(axes, steps, (p.bound.median for p in paths), "s--", 0, "bound over all steps so far, median")
        curve(axes, steps, (p.largest_mean_error.median for p in paths), "o-", 1, "measured, median")
        alone = (r.one_step.mean_error.median for r in m.records)
        curve(axes, steps, alone, ".-", 2, "of that step alone, median")
        finish(axes, "EM step", DISTANCE, f"{name}, {m.em.pieces.total // 3} pieces", steps=True)
    caption = (
        "Largest error of a mean against the EM path from the same start, step by step, with the bound over "
        "all steps (median over the tasks in which it is below the data's diameter). Where the Lipschitz "
        "factors stay below 1 errors do not build up."
    )
    return Picture("error_against_steps", caption, figure)


def _bound_against_error(measurements: list[Measurement]) -> Picture:
    pairs: dict[str, list[torch.Tensor]] = {}
    for m in sorted(measurements, key=lambda m: m.problem.sizes[0]):
        for step in m.steps:
            both = torch.stack([step.mean_error, step.bound.mean_instance], -1)[step.defined]
            pairs.setdefault(f"d = {m.problem.sizes[0]}", []).append(both)
    return scatter(pairs, "Instance bound against measured error, one step", "component at a step")


def _path_picture(measurements: list[Measurement]) -> list[Picture]:
    flat = [m for m in measurements if m.problem.sizes[0] >= 2]
    if not flat:
        return []
    m = min(flat, key=lambda m: (m.problem.sizes[0], -m.em.pieces.total))
    figure, (axes,) = panels(1, 6.4, 5.6)
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
    return weight_pictures(small.plot_weights(), "a small construction (d0 = 2, K0 = 3, 4 pieces a function)")
