"""The pictures of `failures`."""

from __future__ import annotations

import math

from console.drawing import error_bars, legend, sheet
from console.marks import KMEANS_PLUS_PLUS, NETWORK
from console.output import Picture
from console.phrases import Interval
from training.comparison.common.regimes import SHUFFLED, START_NAMES, STYLES
from training.comparison.failures.kinds import KIND_NAMES, KINDS
from training.comparison.failures.measure import FailuresResult

METHOD_NAMES = {
    "network": "the network",
    **{f"em {name}": f"EM once from {START_NAMES[name]}" for name in START_NAMES},
    "k-means": "k-means",
    "spectral": "spectral",
    "untrained": "control: untrained network",
    "reference": "EM from N(0, I) with EM from random points",
}
BIN_NAMES = METHOD_NAMES | {SHUFFLED: "control: network, another task's failures"}
SCORE_NAMES = {
    "closest": "two true means are close",
    "least": "few points in the smallest component",
    "moment": "small K-th eigenvalue of the second moment, true",
    "sample": "small K-th eigenvalue of the second moment, of the points",
    "floor": "large error of EM from the truth",
    "em": "EM from random points fails often",
}
AXES = {
    "closest": "smallest distance of two true means, standard deviations",
    "least": "N times the smallest weight, points",
    "floor": "total error of EM from the truth",
}


def pictures(values: FailuresResult) -> list[Picture]:
    """Where, together with whom, of what kind."""
    tasks = f"{sum(s.tasks for s in values.strata)} tasks"
    about = values.caption(tasks)
    return [_where(values, about), _together(values, about), _kinds(values, about)]


def _where(values: FailuresResult, about: str) -> Picture:
    found = values.bins
    title = f"Share of failed tasks against what may make a task hard. {about}"
    figure = sheet((5.0 * len(found), 5.2), title)
    panels = figure.subplots(1, len(found), squeeze=False)[0]
    for panel, (score, bins) in zip(panels, found.items(), strict=True):
        for name, shares in bins.shares.items():
            colour, line, marker = STYLES["learned" if name == "network" else name.removeprefix("em ")]
            style = {"color": colour, "linestyle": line, "marker": marker, "capsize": 2, "elinewidth": 0.8}
            style["linewidth"] = 2.2 if name == "network" else 1.2
            found_percent = [Interval(*(100 * value for value in share)) for share in shares]
            error_bars(panel, bins.centres, found_percent, **style, label=BIN_NAMES[name])
        panel.set_xlabel(AXES[score])
        panel.set_yscale("symlog", linthresh=1.0)
        panel.set_yticks([0, 1, 3, 10, 30, 100], ["0", "1", "3", "10", "30", "100"])
        panel.set_ylim(-0.1, 130)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("failed tasks, % (linear below 1)")
    legend(figure, panels[:1], 4)
    caption = (
        f"{about} Tasks of every K in {len(next(iter(found.values())).centres)} groups of equal size "
        "by each property, hardest at the left in the first two panels and at the right in the last; "
        "share that fails, with 95 % intervals. Controls: the untrained network fails all alike, and "
        "the network's failures of another task must give a flat line. A line that is no steeper than "
        "that control does not depend on the property."
    )
    return Picture("failures-where", caption, figure)


def _together(values: FailuresResult, about: str) -> Picture:
    names = [name for name, pair in values.pairs.items() if math.isfinite(pair.odds.low)]
    title = f"Does the network fail where others fail? {about}"
    figure = sheet((9.5, 0.75 * max(3, len(names)) + 1.9), title)
    panel = figure.subplots()
    for place, name in enumerate(reversed(names)):
        pair, own = values.pairs[name], KMEANS_PLUS_PLUS.colour if name == "reference" else NETWORK.colour
        for shift, found, colour, marker, label in (
            (
                0.12,
                pair.odds,
                own,
                "o",
                "same task, two runs of EM" if name == "reference" else "same task, the network",
            ),
            (-0.12, pair.shuffled.odds, "0.5", "x", "control: the failures of another task"),
        ):
            style = {"color": colour, "marker": marker, "capsize": 3, "linestyle": "none"}
            style["label"] = label
            error_bars(panel, [place + shift], [found], across=True, **style)
    panel.axvline(1.0, color="0.3", linewidth=1, label="unrelated")
    panel.set_xscale("log")
    ticks = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20]
    panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    panel.set_yticks(
        range(len(names)),
        [METHOD_NAMES[n] if n == "reference" else f"network with {METHOD_NAMES[n]}" for n in reversed(names)],
    )
    panel.set_xlabel("odds ratio of failing on the same task, K fixed (1: unrelated)")
    panel.set_ylim(-0.6, max(len(names), 1) - 0.4)
    panel.grid(alpha=0.3)
    legend(figure, [panel], 2)
    caption = (
        f"{about} Mantel-Haenszel odds ratio of two failures on one task, with 95 % intervals; right of "
        "1: both fail the same tasks. Grey: the same with the failures of another task, which must lie "
        "about 1. Blue, for scale: two runs of EM from different random starts. Pairs with too few "
        "failures are left out."
    )
    return Picture("failures-together", caption, figure)


def _kinds(values: FailuresResult, about: str) -> Picture:
    counts = {name: c for name, c in values.kinds.counts.items() if sum(c.values())}
    figure = sheet((9.5, 0.55 * max(2, len(counts)) + 1.9), f"Of what kind the failures are. {about}")
    panel = figure.subplots()
    names = list(reversed(counts))
    left = [0.0] * len(names)
    for kind, colour in zip(KINDS, ("0.4", "#d62728", "#2ca02c", "#1f77b4"), strict=True):
        widths = [100 * counts[name][kind] / sum(counts[name].values()) for name in names]
        panel.barh(range(len(names)), widths, left=left, color=colour, label=KIND_NAMES[kind])
        left = [a + b for a, b in zip(left, widths, strict=True)]
    panel.set_yticks(
        range(len(names)), [f"{METHOD_NAMES[name]} ({sum(counts[name].values())})" for name in names]
    )
    panel.set_xlabel("share of the failures, % (their number beside the name)")
    panel.set_xlim(0, 100)
    legend(figure, [panel], 2)
    caption = (
        f"{about} Failures by where the estimated means stand. Red is the signature of a bad optimum of EM, "
        "as the failed fits of EM show; the untrained network is the control that has no idea of the task."
    )
    return Picture("failures-kinds", caption, figure)
