"""The pictures of `adaptation`: error and distance against EM steps, and what the network is worth."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from console.drawing import band, error_bars, legend
from console.output import Picture
from console.phrases import Interval
from training.comparison.adaptation.measure import AdaptationResult, Curve, Worth
from training.comparison.common.regimes import SHUFFLED, STYLES, about_network

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
    about = about_network(values.name, values.d, values.seed, tasks)
    return [_error(values, about), _distance(values, about), _worth(values, about)]


def _error(values: AdaptationResult, about: str) -> Picture:
    """Above: means over all tasks. Below: over the tasks that each start solves."""
    regimes = values.regimes
    figure = Figure(figsize=(4.2 * len(regimes) + 1.2, 8.2), layout="constrained")
    figure.suptitle(f"Total error after t EM steps. {about}", fontsize=11)
    grid = figure.subplots(2, len(regimes), squeeze=False, sharey="row")
    for column, regime in enumerate(regimes):
        for panel, of in zip(grid[:, column], (_all, _solved), strict=True):
            for name, curve in regime.curves.items():
                _line(panel, name, of(curve))
            floor = regime.floor
            panel.axhspan(floor.low, floor.high, color="0.8", zorder=0, label="EM from the truth")
            own = of(regime.curves["learned"])[0].value
            panel.axhline(own, color="#d62728", linewidth=0.8, linestyle=":")
            panel.set_yscale("log")
            panel.grid(alpha=0.3)
        grid[0][column].set_title(regime.title, fontsize=10)
        grid[1][column].set_xlabel("EM steps t (two constructed layers each)")
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


def _all(curve: Curve) -> list[Interval]:
    return curve.mean


def _solved(curve: Curve) -> list[Interval]:
    return curve.solved


def _line(panel: Axes, name: str, found: list[Interval]) -> None:
    colour, line, marker = STYLES[name]
    own = name == "learned"
    size, width, order = (5, 2.2, 4) if own else (3.5, 1.2, 3)
    band(
        panel, found, colour, 0.13, linestyle=line, marker=marker, markersize=size, linewidth=width,
        label=START_LABELS[name], zorder=order,
    )  # fmt: skip


def _distance(values: AdaptationResult, about: str) -> Picture:
    regimes = values.regimes
    figure = Figure(figsize=(4.2 * len(regimes) + 1.2, 5.0), layout="constrained")
    figure.suptitle(f"Distance to converged EM after t EM steps. {about}", fontsize=11)
    panels = figure.subplots(1, len(regimes), squeeze=False, sharey=True)[0]
    for panel, regime in zip(panels, regimes, strict=True):
        for name, curve in regime.curves.items():
            _line(panel, name, curve.distance)
        panel.set_yscale("log")
        if min(row.value for row in regime.curves["learned"].distance) < 1e-8:
            panel.set_ylim(bottom=1e-8)
        panel.set_title(regime.title, fontsize=10)
        panel.set_xlabel("EM steps t (two constructed layers each)")
        panel.grid(alpha=0.3)
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
    figure = Figure(figsize=(10.5, 5.2), layout="constrained")
    figure.suptitle(f"How many EM steps the network alone is worth. {about}", fontsize=11)
    panels = figure.subplots(1, 2, sharey=True)

    def placed(found: Interval) -> Interval:
        return Interval(*(value if math.isfinite(value) else never for value in found))

    for panel, by_mean in zip(panels, (True, False), strict=True):

        def of(worth: Worth, by_mean: bool = by_mean) -> Interval:
            return placed(worth.mean if by_mean else worth.median)

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
        panel.axhline(limit + 1, color="0.8", linewidth=1)
        panel.axhline(values.layers / 2, color="0.6", linewidth=1.2, linestyle="--")
        panel.set_title(f"by the {'mean' if by_mean else 'median'} error", fontsize=10)
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
