"""The pictures of `behaviour`: distance against EM steps, to every reference, and of the algorithms."""

from __future__ import annotations

import math

from matplotlib.axes import Axes

from console.drawing import band, error_bars, grid, legend, sheet, write_cells
from console.marks import GREY, NETWORK
from console.output import Picture
from training.comparison.behaviour.measure import BehaviourResult, RegimeResult
from training.comparison.behaviour.names import label, steps_of
from training.comparison.common.regimes import SHUFFLED, START_NAMES, STYLES

CONTROLS = {SHUFFLED: ("0.35", "--"), "untrained": ("0.6", ":")}
MOST_PANELS = 4
SAME = 1e-9
"""A distance below it is written as 0."""


def pictures(values: BehaviourResult) -> list[Picture]:
    """All three."""
    about = values.caption()
    regimes = values.regimes
    main = [regime for regime in regimes if regime.separation is None]
    chosen = main if len(main) <= MOST_PANELS else [main[0], main[1], main[3], main[4]]
    return [_steps(chosen, values.steps, about), _nearest(regimes, about), _matrix(regimes, about)]


def _steps(regimes: list[RegimeResult], steps: int, about: str) -> Picture:
    """Mean distance to EM after t steps, start by start, and converged at the right."""
    title = f"How far the network's output is from EM after t steps. {about}"
    figure = sheet((3.7 * len(regimes) + 1, 5.2), title)
    panels = figure.subplots(1, len(regimes), squeeze=False)[0]
    at_end = steps + 2
    for panel, regime in zip(panels, regimes, strict=True):
        learned = regime.curves["learned"]
        for start, curve in learned.items():
            colour = STYLES[start][0]
            band(panel, curve.mean, colour, 0.15, marker="o", markersize=3, label=START_NAMES[start])
            end = regime.kinds["learned"].distances[f"em {start}"].mean
            diamond = {"marker": "D", "markersize": 5, "linestyle": "none", "capsize": 2}
            error_bars(panel, [at_end], [end], color=colour, **diamond)
        panel.plot([], [], "D", color=GREY, markersize=5, label="run until it stops")
        for kind, (colour, line) in CONTROLS.items():
            curve = [row.value for row in regime.curves[kind]["k-means++"].mean]
            name = "another task's output" if kind == SHUFFLED else "untrained network"
            style = {"color": colour, "linestyle": line, "linewidth": 1.8}
            panel.plot(range(steps + 1), curve, **style, label=f"control: {name}, k-means++")
        panel.set_yscale("log")
        panel.set_xticks([0, 3, 6, 9, 12, at_end], ["0", "3", "6", "9", "12", "end"])
        panel.set_title(f"{regime.title}\n{regime.tasks} tasks", fontsize=10)
        panel.set_xlabel("EM steps t")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("mean distance, squared units a coordinate")
    legend(figure, panels, 4, title="EM started from")
    caption = (
        f"{about} Mean distance (the paper's metric) between the network's output and EM after t exact steps "
        "from five starts, with 95 % bands over tasks; diamonds: EM run until it stops. t = 0 is the start "
        "itself. Dashed and dotted: the same for another task's output and for an untrained network, against "
        "EM from k-means++: they must stay far away. A curve with its lowest point at a small t would mean "
        "that the network does so many EM steps from that start; one that falls and stays means converged EM."
    )
    return Picture("behaviour-steps", caption, figure)


def _nearest(regimes: list[RegimeResult], about: str) -> Picture:
    """Median distance to every reference of the contest, learned and controls."""
    columns = min(3, len(regimes))
    rows = math.ceil(len(regimes) / columns)
    figure = sheet((5.6 * columns, 3.3 * rows + 1.0), f"Distance to every reference. {about}")
    panels = grid(figure, len(regimes), columns)
    for panel, regime in zip(panels, regimes, strict=True):
        names = [*regime.slow, *regime.kinds["learned"].order[::-1]]
        for place, name in enumerate(names):
            found = regime.kinds["learned"].distances[name].median
            style = {"color": NETWORK.colour, "marker": NETWORK.marker, "capsize": 2, "linestyle": "none"}
            text = "the network" if place == 0 else None
            error_bars(panel, [place], [found], across=True, **style, label=text)
            for kind, mark, text in (
                (SHUFFLED, "x", "control: another task's output"),
                ("untrained", "+", "control: untrained network"),
            ):
                other = regime.kinds[kind].distances[name].median.value
                label_of = text if place == 0 else None
                panel.plot([other], [place], mark, color="0.4", markersize=7, label=label_of)
        panel.set_yticks(range(len(names)), [_short(name, regime) for name in names], fontsize=9)
        style = {"color": "0.75", "linewidth": 4, "zorder": 0}
        panel.axvline(regime.floor.value, **style, label="error of EM from the truth")
        panel.set_title(f"{regime.title}, {regime.tasks} tasks", fontsize=10)
        panel.set(xscale="log", xlabel="median distance, squared units a coordinate")
        panel.grid(alpha=0.3)
    legend(figure, panels, 4)
    caption = (
        f"{about} Median distance (the paper's metric) of the network's output to each reference, with 95 % "
        "intervals over tasks; nearest on average at the top, the methods that are measured on fewer tasks "
        "at the bottom. Crosses: the controls, which have no reason to be near any. Grey line: mean error of "
        "EM from the truth; references that differ by much less than it are one answer for this question."
    )
    return Picture("behaviour-nearest", caption, figure)


def _short(name: str, regime: RegimeResult) -> str:
    if name.startswith("early "):
        steps, start = steps_of(name, regime, "learned", "/")
        return f"EM, {steps} steps, {start}"
    text = {"em": "EM converged", "em truth": "EM from the truth"}.get(name, label(name, regime, "learned"))
    return f"{text} ({regime.slow[name]} tasks)" if name in regime.slow else text


def _matrix(regimes: list[RegimeResult], about: str) -> Picture:
    """Median distances of the references to each other in the regimes of the smallest and the largest K."""
    main = [r for r in regimes if r.separation is None]
    chosen = list({id(r): r for r in (main[0], max(main, key=lambda r: (r.K, r.N == 128)))}.values())
    title = f"Distances of the algorithms to each other and to the network. {about}"
    figure = sheet((8.2 * len(chosen), 7.6), title, 12)
    for panel, regime in zip(figure.subplots(1, len(chosen), squeeze=False)[0], chosen, strict=True):
        _heat(panel, regime)
    caption = (
        f"{about} Median over tasks of the distance between two answers (the paper's metric). Pairs of "
        "algorithms that are much nearer to each other than the network is to either are one answer as "
        "far as this comparison can see: distances alone cannot say which of them the network follows."
    )
    return Picture("behaviour-matrix", caption, figure)


def _heat(panel: Axes, regime: RegimeResult) -> None:
    names, values = regime.matrix.names, regime.matrix.values
    logs = [[math.log10(max(v, SAME)) for v in row] for row in values]
    known = [v for row in logs for v in row if not math.isnan(v)]
    low = max(min(known), max(known) - 6)
    panel.imshow(logs, cmap="viridis_r", vmin=low, vmax=max(known))
    ticks = [_short(name, regime) for name in names]
    panel.set_xticks(range(len(names)), ticks, rotation=40, ha="right", fontsize=9)
    panel.set_yticks(range(len(names)), ticks, fontsize=9)
    middle = (low + max(known)) / 2
    apart = [[math.nan if i == j else value for j, value in enumerate(row)] for i, row in enumerate(values)]
    write_cells(panel, apart, _cell, lambda value: math.log10(max(value, SAME)) > middle, 8)
    panel.set_title(f"{regime.title}: median distance, {regime.matrix.tasks} tasks", fontsize=11)


def _cell(row: int, column: int, value: float) -> str:
    return f"{value:.2g}" if value >= 1e-3 else f"{value:.0e}" if value > SAME else "0"
