"""The pictures of `adaptation`: error and distance against EM steps, and what the network is worth."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.figure import Figure

from console.output import Picture
from training.comparison.common.regimes import SHUFFLED

START_LABELS = {
    "learned": "the network",
    "random-points": "random points",
    "k-means++": "k-means++",
    "normal": "N(0, I)",
    "k-means": "k-means",
    "untrained": "control: untrained network",
    SHUFFLED: "control: another task's output",
}
STYLES = {
    "learned": ("#d62728", "-", "o"),
    "random-points": ("#9467bd", "-", "v"),
    "k-means++": ("#1f77b4", "-", "s"),
    "normal": ("#ff7f0e", "-", "^"),
    "k-means": ("#8c564b", "-", "P"),
    "untrained": ("0.6", ":", "+"),
    SHUFFLED: ("0.35", "--", "x"),
}


def pictures(values: dict[str, Any]) -> list[Picture]:
    """Error, distance to converged EM, worth."""
    about = (
        f"Network {values['name']}, d = {values['d']}, {values['regimes'][0]['tasks']} tasks of each K, "
        f"seed {values['seed']}."
    )
    return [_error(values, about), _distance(values, about), _worth(values, about)]


def _finite(value: float | None) -> float:
    return math.nan if value is None else value


def _error(values: dict[str, Any], about: str) -> Picture:
    """Above: means over all tasks. Below: over the tasks that each start solves."""
    regimes = values["regimes"]
    figure = Figure(figsize=(4.2 * len(regimes) + 1.2, 8.2), layout="constrained")
    figure.suptitle(f"Total error after t EM steps. {about}", fontsize=11)
    grid = figure.subplots(2, len(regimes), squeeze=False, sharey="row")
    for column, regime in enumerate(regimes):
        for row, key in enumerate(("mean", "solved")):
            panel = grid[row][column]
            for name, curve in regime["curves"].items():
                _line(panel, name, curve[key])
            floor = regime["floor"]
            panel.axhspan(
                _finite(floor[1]), _finite(floor[2]), color="0.8", zorder=0, label="EM from the truth"
            )
            panel.axhline(
                _finite(regime["curves"]["learned"][key][0][0]), color="#d62728", linewidth=0.8, linestyle=":"
            )
            panel.set_yscale("log")
            panel.grid(alpha=0.3)
        grid[0][column].set_title(regime["title"], fontsize=10)
        grid[1][column].set_xlabel("EM steps t (two constructed layers each)")
    grid[0][0].set_ylabel("mean total error, all tasks")
    grid[1][0].set_ylabel("mean total error, tasks the start solves")
    _legend(figure, grid[0])
    caption = (
        f"{about} Mean total error (the paper's metric) after t exact EM steps from the network's "
        "output and from other starts, with 95 % bands over tasks; t = 0 is the start itself. The "
        "dotted red line is the network alone: where another start's curve crosses it is what the "
        "network is worth. Grey band: EM from the truth. Above all tasks, where a start that ends in "
        "bad optima levels off; below only the tasks that the same start ends up solving. Controls: EM "
        "from an untrained network's output and from another task's output."
    )
    return Picture("adaptation-error", caption, figure)


def _line(panel: Any, name: str, rows: list[list[float | None]]) -> None:
    colour, line, marker = STYLES[name]
    y, low, high = ([_finite(row[i]) for row in rows] for i in range(3))
    panel.plot(
        range(len(rows)),
        y,
        color=colour,
        linestyle=line,
        marker=marker,
        markersize=5 if name == "learned" else 3.5,
        linewidth=2.2 if name == "learned" else 1.2,
        label=START_LABELS[name],
        zorder=4 if name == "learned" else 3,
    )
    panel.fill_between(range(len(rows)), low, high, color=colour, alpha=0.13, linewidth=0)


def _legend(figure: Figure, panels: Any) -> None:
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=9)


def _distance(values: dict[str, Any], about: str) -> Picture:
    regimes = values["regimes"]
    figure = Figure(figsize=(4.2 * len(regimes) + 1.2, 5.0), layout="constrained")
    figure.suptitle(f"Distance to converged EM after t EM steps. {about}", fontsize=11)
    panels = figure.subplots(1, len(regimes), squeeze=False, sharey=True)[0]
    for panel, regime in zip(panels, regimes, strict=True):
        for name, curve in regime["curves"].items():
            _line(panel, name, curve["distance"])
        panel.set_yscale("log")
        lowest = min(_finite(row[0]) for row in regime["curves"]["learned"]["distance"])
        if lowest < 1e-8:
            panel.set_ylim(bottom=1e-8)
        panel.set_title(regime["title"], fontsize=10)
        panel.set_xlabel("EM steps t (two constructed layers each)")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("mean distance to EM from the truth, converged")
    _legend(figure, panels)
    caption = (
        f"{about} Mean distance (the paper's metric) to EM from the truth run until it stops, after t "
        "exact steps from each start, with 95 % bands over tasks. A line that falls straight converges "
        "to the same optimum in every task; one that levels off has tasks in other optima. Values "
        "below 1e-8 are not drawn."
    )
    return Picture("adaptation-distance", caption, figure)


def _worth(values: dict[str, Any], about: str) -> Picture:
    regimes, limit = values["regimes"], values["steps"]
    starts = list(regimes[0]["worth"]["learned"])
    never = limit + 2
    figure = Figure(figsize=(10.5, 5.2), layout="constrained")
    figure.suptitle(f"How many EM steps the network alone is worth. {about}", fontsize=11)
    panels = figure.subplots(1, 2, sharey=True)

    def place(value: float | None) -> float:
        return never if value is None or value == math.inf else value

    for panel, key, title in zip(
        panels, ("mean", "median"), ("by the mean error", "by the median error"), strict=True
    ):
        for i, start in enumerate(starts):
            x = [k + 0.16 * (i - (len(starts) - 1) / 2) for k in range(len(regimes))]
            found = [[place(v) for v in r["worth"]["learned"][start][key]] for r in regimes]
            y = [f[0] for f in found]
            bars = [[max(0.0, f[0] - f[1]) for f in found], [max(0.0, f[2] - f[0]) for f in found]]
            colour, _, marker = STYLES[start]
            panel.errorbar(
                x,
                y,
                bars,
                color=colour,
                marker=marker,
                capsize=3,
                linestyle="none",
                label=START_LABELS[start],
            )
            controls = [place(r["worth"]["untrained"][start][key][0]) for r in regimes]
            panel.plot(
                x,
                controls,
                "+",
                color="0.4",
                markersize=8,
                label="control: untrained network" if i == 0 else None,
            )
        panel.set_xticks(range(len(regimes)), [f"K = {r['K']}" for r in regimes])
        panel.set_yticks([0, 5, 10, limit, never], ["0", "5", "10", f"{limit}", "never"])
        panel.axhline(limit + 1, color="0.8", linewidth=1)
        panel.axhline(values["layers"] / 2, color="0.6", linewidth=1.2, linestyle="--")
        panel.set_title(title, fontsize=10)
        panel.grid(alpha=0.3, axis="y")
    panels[0].set_ylabel("EM steps t")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=5, fontsize=9, title="EM steps counted from"
    )
    caption = (
        f"{about} The smallest number of EM steps from each start after which EM is no worse than the "
        f"network without EM layers, with 95 % intervals over tasks; 'never' within {limit} steps. "
        "Dashed: the steps that constructed layers of the network's depth would hold. The control, an "
        "untrained network, is worth 0 steps."
    )
    return Picture("adaptation-worth", caption, figure)
