"""Pictures of the rule: functions in place, error against steps, what blocks carry."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from console.drawing import error_bars, legend, sheet
from console.marks import CONSTRUCTION, EM, NETWORK, Mark
from console.output import Picture
from training.comparison.rule.curves import Curve
from training.comparison.rule.measure import CONSTRUCTED, TRAINED, RuleResult
from training.comparison.rule.settings import (
    EM_NAME,
    FITTED_NAME,
    MODE_NAME,
    NETWORK_NAME,
    READ_NAME,
    TRUTH_NAME,
)
from training.comparison.rule.update_rule import UpdateRule

NAMES = ("rule_functions", "rule_steps", "rule_blocks")

MARKS = {
    EM_NAME: EM,
    MODE_NAME: Mark("MAP-EM", "#9467bd", "v", "-."),
    NETWORK_NAME: Mark("networks", NETWORK.colour, "D", "-"),
    READ_NAME: Mark(READ_NAME, "#8c564b", "P", ":"),
    FITTED_NAME: Mark(FITTED_NAME, "#2ca02c", "s", "--"),
    TRUTH_NAME: Mark(TRUTH_NAME, "#ff7f0e", "^", "--"),
}

PANELS = {
    "log_resp": ("E layer: log of responsibilities", "responsibility r", "block log_resp, shifted"),
    "shares": (
        "M layer: weight of a point in a mean",
        "responsibility r",
        "log weight, largest of a task at 0",
    ),
    "log_pi": ("M layer: log of weights", "weight: mean responsibility", "block log_pi, shifted"),
    "half_norm2": ("M layer: half squared norm", "|mu|^2 / 2 of the new mean", "block half_norm2"),
}


def pictures(data: RuleResult) -> list[Picture]:
    """All three."""
    return [_functions(data), _steps(data), _blocks(data)]


def about(data: RuleResult) -> str:
    """Begins captions."""
    p, s = data.problem, data.settings
    return (
        f"d = {p.n_features}, K = {p.n_components}, N = {p.n_samples}, L = {p.steps} looped steps, means in "
        f"[-{p.box:g}, {p.box:g}]^d; networks: {s.seeds}, trained {s.training_steps:,} steps from the "
        f"construction on the distance to the truth; {s.tasks:,} fresh tasks, seed {s.seed}"
    )


def _functions(data: RuleResult) -> Picture:
    figure = sheet((11, 8.4), "Functions of one number, as the networks have them in place", 12)
    panels = figure.subplots(2, 2).flatten()
    styles = {
        CONSTRUCTED: {**CONSTRUCTION.style(), "label": "construction"},
        TRAINED: {"color": NETWORK.colour, "marker": "D", "label": "trained on the truth, first network"},
    }
    for panel, (function, (title, across, up)) in zip(panels, PANELS.items(), strict=True):
        for curve in (one for one in data.curves if one.function == function):
            style = {"markersize": 4, "capsize": 2} | styles[curve.network]
            panel.errorbar(curve.x, curve.y, curve.spread, **style)
        if function == "shares":
            _rule_curve(panel, data.networks[0].fitted, data.curves)
        if function != "half_norm2":
            panel.set_xscale("log")
            panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set(title=title, xlabel=across, ylabel=up)
        panel.grid(alpha=0.25)
    legend(figure, panels)
    caption = (
        f"{about(data)}. Means in bins, bars one standard deviation over points or components, both loops. "
        "Softmax sees no shift of a whole curve: both logs are set to log x in the last bin. Where a bar is "
        "wide the block holds more than this: cross terms that the theorem has not. Control: the "
        "construction, whose curves are log r, log r, log pi and the diagonal, cut at the floor."
    )
    return Picture("rule_functions", caption, figure)


def _rule_curve(panel: Axes, rule: UpdateRule, curves: list[Curve]) -> None:
    """sharpness max(log r, log floor), at 0 for r = 1."""
    x = sorted({place for one in curves if one.function == "shares" for place in one.x} | {rule.floor, 1.0})
    x = [place for place in x if place > 0]
    y = [rule.sharpness * math.log(max(place, rule.floor)) for place in x]
    panel.plot(x, y, color="#2ca02c", linestyle="--", label="fitted rule: sharpness log max(r, floor)")


def _steps(data: RuleResult) -> Picture:
    figure = sheet((11, 5), "Error to the truth after equal numbers of steps", 12)
    panels = figure.subplots(1, 2)
    at = data.settings.at_steps
    for row in data.steps:
        mark = MARKS[row.method]
        style = {**mark.style(), "markersize": 4.5, "capsize": 2, "label": mark.name}
        error_bars(panels[0], at, row.errors, **style)
        if row.method != EM_NAME:
            error_bars(panels[1], at, row.less_em, **style)
    panels[0].set(yscale="log", title="mean error", ylabel="mean total error, the paper's metric")
    panels[1].set(title="less EM's on the same tasks", ylabel="mean difference to EM; below 0 is better")
    panels[1].axhline(0, color="0.5", linewidth=0.8)
    for panel in panels:
        panel.axvline(data.problem.steps, color="0.6", linestyle=":", label="steps trained for")
        panel.set(xlabel="steps (two layers each)", xscale="log")
        panel.set_xticks(at, [str(step) for step in at])
        panel.minorticks_off()
        panel.grid(alpha=0.25)
    legend(figure, panels[:1])
    caption = (
        f"{about(data)}. All from the same starts, K different points of the data; bars are 95 % intervals "
        "of means over tasks. MAP-EM knows the prior. Networks and rules were made for the dotted number of "
        "steps; beyond it they are run on, for which they were not made. Where a network has a rule of its "
        "own, errors are averaged over the networks."
    )
    return Picture("rule_steps", caption, figure)


def _blocks(data: RuleResult) -> Picture:
    names = [one.name for one in data.networks[0].shares.groups]
    figure = sheet((10, 0.34 * len(names) + 1.6), "What the changed weights carry of the gain", 12)
    panel = figure.subplots()
    for offset, of, colour, label in (
        (-0.18, "alone", "#1f77b4", "only these changed"),
        (0.18, "without", "#ff7f0e", "lost when these are put back"),
    ):
        for place in range(len(names)):
            values = [getattr(one.shares.groups[place], of) for one in data.networks]
            mean = sum(values) / len(values)
            panel.barh(place + offset, mean, height=0.34, color=colour, label=label)
            panel.plot(values, [place + offset] * len(values), "k.", markersize=3)
    panel.axvline(0, color="0.3", linewidth=0.8)
    panel.set_yticks(range(len(names)), names)
    panel.invert_yaxis()
    panel.set_xlabel("share of the gain in error")
    panel.grid(alpha=0.25, axis="x")
    legend(figure, [panel])
    caption = (
        f"{about(data)}; here the first {data.settings.share_tasks} tasks. Blue: the construction with the "
        "changes of one group alone. Orange: the trained network with that group put back. Bars: mean over "
        "networks, dots: each. Small orange beside large blue: several groups can do the same."
    )
    return Picture("rule_blocks", caption, figure)
