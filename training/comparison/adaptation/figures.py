"""The pictures of `adaptation`: error and distance against EM steps, and what the network is worth."""

from __future__ import annotations

import math
from collections.abc import Callable

from matplotlib.axes import Axes

from console.drawing import band, error_bars, legend, sheet
from console.marks import NETWORK
from console.output import Picture
from console.phrases import Interval
from training.comparison.adaptation.measure import AdaptationResult, ComponentResult, Curve, Worth
from training.comparison.common.regimes import SHUFFLED, STYLES

STEPS_AXIS = "EM steps t (two constructed layers each)"
START_LABELS = {
    "learned": "the network",
    "random-points": "random points",
    "k-means++": "k-means++",
    "normal": "N(0, I)",
    "k-means": "k-means",
    "untrained": "control: untrained network",
    SHUFFLED: "control: another task's output",
}


def pictures(values: AdaptationResult) -> list[Picture]:
    """Error, distance to converged EM, worth."""
    tasks = f"{values.regimes[0].tasks} tasks of each K"
    about = values.caption(tasks)
    return [_error(values, about), _distance(values, about), _worth(values, about)]


def _curves(panel: Axes, regime: ComponentResult, of: Callable[[Curve], list[Interval]]) -> None:
    """One line a start."""
    for name, curve in regime.curves.items():
        colour, line, marker = STYLES[name]
        size, width, order = (5, 2.2, 4) if name == "learned" else (3.5, 1.2, 3)
        band(
            panel, of(curve), colour, 0.13, linestyle=line, marker=marker, markersize=size, linewidth=width,
            label=START_LABELS[name], zorder=order,
        )  # fmt: skip
    panel.set_yscale("log")
    panel.grid(alpha=0.3)


def _error(values: AdaptationResult, about: str) -> Picture:
    """Above: means over all tasks. Below: over the tasks that each start solves."""
    regimes = values.regimes
    figure = sheet((4.2 * len(regimes) + 1.2, 8.2), f"Total error after t EM steps. {about}")
    grid = figure.subplots(2, len(regimes), squeeze=False, sharey="row")
    for line, of in zip(grid, (lambda curve: curve.mean, lambda curve: curve.solved), strict=True):
        for panel, regime in zip(line, regimes, strict=True):
            _curves(panel, regime, of)
            floor, own = regime.floor, of(regime.curves["learned"])[0].value
            panel.axhspan(floor.low, floor.high, color="0.8", zorder=0, label="EM from the truth")
            panel.axhline(own, color=NETWORK.colour, linewidth=0.8, linestyle=":", label="the network alone")
    for (top, bottom), regime in zip(grid.T, regimes, strict=True):
        top.set_title(regime.title, fontsize=10)
        bottom.set_xlabel(STEPS_AXIS)
    grid[0][0].set_ylabel("mean total error, all tasks")
    grid[1][0].set_ylabel("mean total error, tasks the start solves")
    legend(figure, grid[0], 4)
    caption = (
        f"{about} Mean total error (the paper's metric) after t exact EM steps from the network's "
        "output and from other starts, with 95 % bands over tasks; t = 0 is the start itself. The "
        "dotted red line is the network alone: where another start's curve crosses it is what the "
        "network is worth. Grey band: EM from the truth. Above all tasks, where a start that ends in "
        "bad optima levels off; below only the tasks that the same start ends up solving. Controls: EM "
        "from an untrained network's output and from another task's output."
    )
    return Picture("adaptation-error", caption, figure)


def _distance(values: AdaptationResult, about: str) -> Picture:
    regimes = values.regimes
    title = f"Distance to converged EM after t EM steps. {about}"
    figure = sheet((4.2 * len(regimes) + 1.2, 5.0), title)
    panels = figure.subplots(1, len(regimes), squeeze=False, sharey=True)[0]
    for panel, regime in zip(panels, regimes, strict=True):
        _curves(panel, regime, lambda curve: curve.distance)
        if min(row.value for row in regime.curves["learned"].distance) < 1e-8:
            panel.set_ylim(bottom=1e-8)
        panel.set_title(regime.title, fontsize=10)
        panel.set_xlabel(STEPS_AXIS)
    panels[0].set_ylabel("mean distance to EM from the truth, converged")
    legend(figure, panels, 4)
    caption = (
        f"{about} Mean distance (the paper's metric) to EM from the truth run until it stops, after t "
        "exact steps from each start, with 95 % bands over tasks. A line that falls straight converges "
        "to the same optimum in every task; one that levels off has tasks in other optima. Values "
        "below 1e-8 are not drawn."
    )
    return Picture("adaptation-distance", caption, figure)


def _worth(values: AdaptationResult, about: str) -> Picture:
    regimes, limit = values.regimes, values.steps
    starts = list(regimes[0].worth["learned"])
    never = limit + 2
    figure = sheet((10.5, 5.2), f"How many EM steps the network alone is worth. {about}")
    panels = figure.subplots(1, 2, sharey=True)

    for panel, by in zip(panels, ("mean", "median"), strict=True):

        def of(worth: Worth, by: str = by) -> Interval:
            return Interval(*(value if math.isfinite(value) else never for value in getattr(worth, by)))

        for i, start in enumerate(starts):
            x = [k + 0.16 * (i - (len(starts) - 1) / 2) for k in range(len(regimes))]
            colour, _, marker = STYLES[start]
            style = {"color": colour, "marker": marker, "capsize": 3, "linestyle": "none"}
            found = [of(r.worth["learned"][start]) for r in regimes]
            error_bars(panel, x, found, **style, label=START_LABELS[start])
            label = "control: untrained network" if i == 0 else None
            controls = [of(r.worth["untrained"][start]).value for r in regimes]
            panel.plot(x, controls, "+", color="0.4", markersize=8, label=label)
        panel.set_xticks(range(len(regimes)), [f"K = {r.K}" for r in regimes])
        panel.set_yticks([0, 5, 10, limit, never], ["0", "5", "10", f"{limit}", "never"])
        panel.axhline(limit + 1, color="0.8", linewidth=1, label="above: never")
        held = {
            "color": "0.6",
            "linewidth": 1.2,
            "linestyle": "--",
            "label": "steps that its depth could hold",
        }
        panel.axhline(values.layers / 2, **held)
        panel.set_title(f"by the {by} error", fontsize=10)
        panel.grid(alpha=0.3, axis="y")
    panels[0].set_ylabel("EM steps t")
    legend(figure, panels[:1], 5, title="EM steps counted from")
    caption = (
        f"{about} The smallest number of EM steps from each start after which EM is no worse than the "
        f"network without EM layers, with 95 % intervals over tasks; 'never' within {limit} steps. "
        "Dashed: the steps that constructed layers of the network's depth would hold. The control, an "
        "untrained network, is worth 0 steps."
    )
    return Picture("adaptation-worth", caption, figure)
