"""The pictures of the spectral check."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from matplotlib.ticker import NullLocator

from console.drawing import name_marks, slope_guide
from console.figures import on_log_axis, plain
from console.marks import APPROXIMATION, CONSTRUCTION, INSTANCE, MEASURED, POINTS, SPECTRAL
from console.output import Picture
from verify.engine.drawing import BELOW, colour, curve, finish, panels, picture, scatter
from verify.spectral.measure import Measurement
from verify.spectral.sweeps import Point, fitted

NAMES = ("error_against_loops", "spectrum", "power_paths", "bound_against_error", "plane")
"""Of every picture that may be made."""

LEAST = 1e-17
"""Of a drawn error: below it is nothing but the absence of rounding."""

LABELS = {"rounds": "rounds of subspace iteration", "pieces": "pieces of a square", "N": "points N"}
DISTANCE = "|mean, layers - mean, baseline| / largest |mean|"


def pictures(
    measured: list[Measurement], points: list[Point], columns: Sequence[str] | None = None
) -> list[Picture]:
    """Every figure of the check, in the order of the report; ``columns``: names of a person's coordinates."""
    found = [_sweeps(points)] if points else []
    found += [_spectrum(measured), _paths(measured), _scatter(measured)]
    plane = next((m for m in measured if m.problem.X.shape[2] >= 2 and bool(m.covered.any())), None)
    return found if plane is None else [*found, _plane(plane, columns)]


def _sweeps(points: list[Point]) -> Picture:
    names = list(dict.fromkeys(p.sweep for p in points))
    figure, axes_of = panels(len(names))
    for axes, name in zip(axes_of, names, strict=True):
        chosen = [p for p in points if p.sweep == name]
        at = [p.at for p in chosen]
        curve(axes, at, (p.bound for p in chosen), INSTANCE)
        curve(axes, at, (p.approximation for p in chosen), APPROXIMATION)
        curve(axes, at, (p.error for p in chosen), MEASURED)
        first = chosen[0].error
        if name == "pieces" and first:
            slope_guide(axes, at, -2, BELOW * first)
        slope = fitted(points, name) if name == "pieces" else None
        finish(axes, LABELS[name], DISTANCE, "" if slope is None else f"fitted slope {slope:.2f}")
        axes.set_xscale("log")
        axes.set_xticks(at, [str(n) for n in at], fontsize=8)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_ylim(bottom=LEAST)
    caption = (
        "Median error of the worst mean, with its bounds. Rounds: it falls like the ratio of the eigenvalues "
        "K + 1 and K of M2 to their number, down to rounding. Pieces: with their square. Against N the "
        "error is rounding, whose worst case grows with N, while the eigenvalues' ratio shrinks."
    )
    return picture("error_against_loops", caption, figure)


def _spectrum(measured: list[Measurement]) -> Picture:
    figure, axes_of = panels(len(measured))
    for axes, m in zip(axes_of, measured, strict=True):
        K = m.problem.n_components
        for index, values in enumerate(m.spectrum.eigenvalues[:10].tolist()):
            at = range(1, len(values) + 1)
            label = ("kept", "beyond") if index == 0 else ("_", "_")
            axes.plot(at[:K], values[:K], "o", color="C0", markersize=4, alpha=0.7, label=label[0])
            axes.plot(at[K:], values[K:], "x", color="C1", markersize=4, alpha=0.7, label=label[1])
        finish(axes, "number", "eigenvalue of M2", m.name, steps=True, scale="symlog")
        axes.axhline(0, color="0.6", linewidth=0.8, label="0, in the population")
    caption = (
        "Eigenvalues of the second moment less the variance, up to ten tasks. The K largest hold the means; "
        "what is beyond them would be 0 in the population."
    )
    return picture("spectrum", caption, figure)


def _paths(measured: list[Measurement]) -> Picture:
    several = [m for m in measured if m.problem.n_components > 1] or measured
    figure, axes_of = panels(len(several))
    for axes, m in zip(axes_of, several, strict=True):
        task = int(m.covered.to(torch.int64).argmax())
        path = m.run.path
        if path is not None:
            K, steps = m.problem.n_components, m.weights.plan.steps
            each = path[task].cpu().double().reshape(-1, 2 * steps + 1, *path.shape[2:])[:K]
            for k, vectors in enumerate(each):
                away = (vectors - vectors[-1, :1]).norm(dim=-1)
                for start in range(away.shape[1]):
                    axes.plot(on_log_axis(away[:, start].tolist()), "-", color=colour(k), linewidth=1.2)
            name_marks(axes, {f"component {k}": colour(k) for k in range(K)}, ())
        chosen = m.weights.plan.steps + 0.5
        axes.axvline(chosen, color="0.6", linestyle=":", linewidth=1, label="the best start is chosen")
        axes.set_ylim(bottom=LEAST)
        finish(axes, "step", "|v - v found|", m.name, steps=True)
    caption = (
        "One task of each problem: the distance of every start from the eigenvector that is found, a colour "
        "a component; starts that stay away run into another component. At the dotted line the best start is "
        "chosen, and all go on from it."
    )
    return picture("power_paths", caption, figure)


def _scatter(measured: list[Measurement]) -> Picture:
    pairs = {
        m.name: [torch.stack([m.error, m.bound], -1)[m.covered].flatten(0, 1)]
        for m in measured
        if m.covered.any()
    }
    return scatter(pairs, "Bound against measured error of a mean", "component of a task")


def _plane(m: Measurement, columns: Sequence[str] | None) -> Picture:
    figure, (axes,) = panels(1, 6.4, 5.6)
    task = int(m.covered.to(torch.int64).argmax())
    X = m.problem.X[task]
    axes.plot(X[:, 0], X[:, 1], ".", color=POINTS.colour, markersize=3, label=POINTS.name)
    means, ours = m.found.means[task], m.run.means[task].cpu()
    axes.plot(means[:, 0], means[:, 1], "*", color=SPECTRAL.colour, markersize=13, label="baseline")
    ring = {"color": CONSTRUCTION.colour, "markersize": 9, "markerfacecolor": "none"}
    axes.plot(ours[:, 0], ours[:, 1], CONSTRUCTION.marker, **ring, label=CONSTRUCTION.name)
    first, second = columns[:2] if columns else ("first coordinate", "second coordinate")
    finish(axes, plain(first), plain(second), m.name, scale="linear")
    axes.set_aspect("equal", adjustable="datalim")
    caption = "One task in its first two coordinates, with the means of the layers and of the baseline."
    return picture("plane", caption, figure)
