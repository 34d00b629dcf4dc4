"""The picture of the directions: the network's cosine beside all controls', reference by reference."""

from __future__ import annotations

import math

from matplotlib.axes import Axes

from console import marks
from console.drawing import error_bars, grid, legend, sheet
from console.output import Picture
from console.phrases import UNKNOWN, Interval
from training.comparison.behaviour.directions import CONTROLS, Direction, leaning, shown
from training.comparison.behaviour.measure import BehaviourResult, RegimeResult
from training.comparison.behaviour.names import CONTROL_NAMES, DIRECTION_NAMES
from training.comparison.common.regimes import SHUFFLED

DRAWN = ("map-em", "posterior-mean", "truth", "shrunk")
STYLES = {
    "learned": (marks.NETWORK.colour, marks.NETWORK.marker),
    "k-means": (marks.KMEANS.colour, marks.KMEANS.marker),
    "early 3": (marks.KMEANS_PLUS_PLUS.colour, marks.KMEANS_PLUS_PLUS.marker),
    "em noise": ("#ff7f0e", "p"),
    "truth noise": (marks.TRUTH.colour, marks.TRUTH.marker),
    SHUFFLED: (marks.SHUFFLED.colour, marks.SHUFFLED.marker),
    "untrained": (marks.UNTRAINED.colour, marks.UNTRAINED.marker),
}
LABELS = {"learned": "the network"} | {key: f"control: {CONTROL_NAMES[key]}" for key in CONTROLS}


def directions_figure(values: BehaviourResult) -> list[Picture]:
    """One panel a reference, one line a regime; no picture without a direction to show."""
    regimes = values.regimes
    drawn = [name for name in DRAWN if any(name in shown(regime.directions) for regime in regimes)]
    if not drawn:
        return []
    about = values.caption()
    columns = min(2, len(drawn))
    rows = math.ceil(len(drawn) / columns)
    size = (7.2 * columns, rows * (0.78 * len(regimes) + 1.2) + 1.4)
    figure = sheet(size, f"Does the network lean from EM towards a reference? {about}", 12)
    panels = grid(figure, len(drawn), columns)
    for panel, name in zip(panels, drawn, strict=True):
        _panel(panel, name, regimes)
    star = {"color": marks.NETWORK.colour, "marker": "$*$", "markersize": 8, "linestyle": ""}
    panels[0].plot([], [], **star, label="above 0 and above all controls")
    legend(figure, panels, 4, 10)
    caption = (
        f"{about} Average cosine of (network less EM) and (reference less EM) with 95 % intervals over "
        "the tasks whose number stands behind the regime. Both differences share EM, so that "
        "estimators that know no prior (in colour) have positive cosines too: the network leans to a "
        "reference only where its interval (red) lies above 0 and above those of all controls, marked "
        "by a star. Grey: another task's direction and the untrained network, which break the link. An "
        "empty line: the reference is not measured there, or has too few such tasks."
    )
    return [Picture("behaviour-directions", caption, figure)]


def _panel(panel: Axes, name: str, regimes: list[RegimeResult]) -> None:
    ticks = []
    for place, regime in enumerate(reversed(regimes)):
        found = shown(regime.directions).get(name)
        if found is None:
            ticks.append(regime.title)
            continue
        ticks.append(f"{regime.title} ({found.n})")
        for i, (key, (colour, marker)) in enumerate(STYLES.items()):
            cosine = _cosine(found, key)
            if math.isnan(cosine.value):
                continue
            style = {
                "color": colour,
                "marker": marker,
                "capsize": 2,
                "linestyle": "none",
                "label": LABELS[key],
            }
            style["markersize"] = 6 if key == "learned" else 5
            error_bars(panel, [place + 0.33 - 0.11 * i], [cosine], across=True, **style)
        if leaning(found) == "towards":
            panel.text(1.0, place, "*", transform=panel.get_yaxis_transform(), ha="right", va="center",
                       fontsize=18, color=marks.NETWORK.colour)  # fmt: skip
    for line in range(1, len(regimes)):
        panel.axhline(line - 0.5, color="0.85", linewidth=0.8)
    panel.axvline(0.0, color="0.3", linewidth=1, label="no direction in common")
    panel.set_yticks(range(len(regimes)), ticks, fontsize=9)
    panel.set_ylim(-0.5, len(regimes) - 0.5)
    panel.set_title(f"towards {DIRECTION_NAMES[name]}", fontsize=11)
    panel.set_xlabel("cosine")
    panel.grid(axis="x", alpha=0.3)


def _cosine(found: Direction, key: str) -> Interval:
    """Of the network or of a control; unknown where there is none."""
    one = found.learned if key == "learned" else found.controls.get(key)
    return UNKNOWN if one is None else one.cosine
