"""The pictures of the EM check."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from console.drawing import name_marks, slope_guide
from console.marks import APRIORI, COVARIANCE, INSTANCE, MEASURED, ONE_STEP
from console.output import Picture
from constructions.em.weights import em_construction
from verify.em.measure import Measurement
from verify.em.path_picture import View, draw_paths, in_the_plane, path_picture
from verify.em.records import pieces_mean
from verify.em.sweep import SweepPoint, fitted_slope
from verify.engine.drawing import (
    BELOW,
    curve,
    finish,
    named_groups,
    panels,
    picture,
    scatter,
    weight_pictures,
)
from verify.engine.record import quotient

MOST_STORED = 11
"""Layers that a construction stores, of every kind of covariance."""

FEW_LAYERS = 4
"""Of which all are drawn."""

NAMES = (
    *("at_a_glance", "error_against_pieces", "split_of_pieces", "error_against_steps"),
    *("bound_against_error", "paths"),
    *(f"weights_layer_{number}" for number in range(1, MOST_STORED + 1)),
)
"""Of every picture that may be made."""

PIECES, DISTANCE = "pieces a function (on average)", "|mean, layers - mean, EM|"


def pictures(
    measurements: list[Measurement],
    sweeps: dict[str, list[SweepPoint]],
    equal: dict[str, list[SweepPoint]],
    view: View | None = None,
) -> list[Picture]:
    """Every figure of the check, in the order of the report; ``view`` as of path_picture."""
    found = _at_a_glance(measurements, sweeps or equal, view)
    if sweeps or equal:
        found.append(_error_against_pieces(sweeps or equal))
    if sweeps:
        found.append(_split(sweeps, equal))
    found.append(_error_against_steps(measurements))
    found.append(_bound_against_error(measurements))
    found.extend(path_picture(measurements, view))
    found.extend(_weights(measurements))
    return found


def _at_a_glance(
    measurements: list[Measurement], sweeps: dict[str, list[SweepPoint]], view: View | None
) -> list[Picture]:
    """The theorem in two panels, of one problem; none where it has no sweep or no plane."""
    m = in_the_plane([m for m in measurements if m.problem.label in sweeps])
    if m is None:
        return []
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_paths(left, m, view)
    points = sweeps[m.problem.label]
    against_pieces(right, points, f"one step, median over {points[-1].components} components")
    right.set_ylabel(DISTANCE)
    caption = (
        "The theorem at a glance: hand-built layers on the path of EM, and the error of one step below both "
        "bounds, which falls with the square of the pieces."
    )
    return [picture("at_a_glance", caption, figure)]


def _error_against_pieces(sweeps: dict[str, list[SweepPoint]]) -> Picture:
    figure, axes_of = panels(len(sweeps))
    for axes, (name, points) in zip(axes_of, sweeps.items(), strict=True):
        against_pieces(axes, points, f"{name}, fitted slope {fitted_slope(points):.2f}")
    caption = (
        "Error of one step against the number of linear pieces, median over the components that overlap "
        "with others, with both bounds. The error falls with the square of the pieces (slope -2)."
    )
    return picture("error_against_pieces", caption, figure)


def against_pieces(axes: Axes, points: list[SweepPoint], title: str) -> None:
    """Error of one step with both bounds, and the slope that is claimed."""
    pieces = [p.pieces for p in points]
    curve(axes, pieces, (p.apriori for p in points), APRIORI)
    curve(axes, pieces, (p.instance for p in points), INSTANCE)
    curve(axes, pieces, (p.error for p in points), MEASURED)
    if points[0].error > 0:
        slope_guide(axes, pieces, -2, BELOW * points[0].error)
    finish(axes, PIECES, DISTANCE, title)
    _mark_pieces(axes, pieces)


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
        curve(bound_axes, pieces, [quotient(q.rho, p.rho) for p, q in both], APRIORI, color)
        curve(error_axes, pieces, [quotient(q.error, p.error) for p, q in both], MEASURED, color)
    name_marks(bound_axes, named_groups(sweeps), (APRIORI, MEASURED))
    for axes, what in ((bound_axes, "a-priori bound (rho)"), (error_axes, "measured error")):
        axes.axhline(1, color="0.5", linewidth=0.8, label="no difference")
        title = f"{what}: equal split / best split"
        finish(axes, PIECES, "ratio, above 1 the best split wins", title, scale="linear")
        _mark_pieces(axes, pieces)
    caption = (
        "What the split that minimises the bound buys over giving each function the same number of pieces. "
        "The bound gains by construction; the measured error need not, and at large d loses: the bound adds "
        "up the worst cases of d squares, which do not all come at once."
    )
    return picture("split_of_pieces", caption, figure)


def _error_against_steps(measurements: list[Measurement]) -> Picture:
    # One panel a problem, at its largest number of pieces, which comes last.
    last = {m.problem.label: m for m in measurements}
    figure, axes_of = panels(len(last))
    for axes, (name, m) in zip(axes_of, last.items(), strict=True):
        steps, paths = [r.step for r in m.records], [r.path for r in m.records]
        curve(axes, steps, (p.bound.median for p in paths), INSTANCE)
        curve(axes, steps, (p.largest_mean_error.median for p in paths), MEASURED)
        curve(axes, steps, (r.one_step.mean_error.median for r in m.records), ONE_STEP)
        found = [p.largest_covariance_error for p in paths if p.largest_covariance_error is not None]
        if found:
            curve(axes, steps, (spread.median for spread in found), COVARIANCE)
        finish(axes, "EM step", DISTANCE, f"{name}, {pieces_mean(m.em)} pieces", steps=True)
    caption = (
        "Largest error of a mean against the EM path from the same start, step by step (median), with the "
        "bound over all steps (median over the tasks in which it is below the data's diameter). Where the "
        "Lipschitz factors stay below 1 errors do not build up."
    )
    if measurements[0].em.covariance_type != "unit":
        caption = (
            "Largest error of a mean and of a covariance (Frobenius norm) against the EM path from the same "
            "start, step by step. The bound is over all steps so far (median over the tasks in which it is "
            "below the data's diameter); it uses no contraction, so it grows from step to step."
        )
    return picture("error_against_steps", caption, figure)


def _bound_against_error(measurements: list[Measurement]) -> Picture:
    pairs: dict[str, list[torch.Tensor]] = {}
    for m in sorted(measurements, key=lambda m: m.problem.sizes[0]):
        for step in m.steps:
            both = torch.stack([step.mean_error, step.bound.mean_instance], -1)[step.defined]
            pairs.setdefault(f"d = {m.problem.sizes[0]}", []).append(both)
    return scatter(pairs, "Instance bound against measured error, one step", "component at a step")


def _weights(measurements: list[Measurement]) -> list[Picture]:
    """Of a small construction of the kind; where it stores many layers, those of E and M steps alone."""
    em, sizes = measurements[0].em, (2, 3, 1, 4)
    if em.eigenvalues is None:
        small = em_construction(*sizes, radius=em.radius)
    else:
        kind = {"radius": em.radius, "covariance_type": em.covariance_type, "eigenvalues": em.eigenvalues}
        small = em_construction(*sizes, **kind)
    what = "a small construction (d0 = 2, K0 = 3, 4 pieces a function)"
    layers, drawn = small.construction.layers, weight_pictures(small.plot_weights(), what)
    few = len(layers) <= FEW_LAYERS
    return [picture for layer, picture in zip(layers, drawn, strict=True) if few or layer.name in ("E", "M")]
