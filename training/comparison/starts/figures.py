"""Learning curves of "the theorem as a start", side by side; everything from what was computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes

from console import marks
from console.drawing import legend, sheet
from console.figures import on_log_axis
from console.output import Picture
from training.comparison.starts.learning.arms import ARMS, Arm, Change
from training.comparison.starts.learning.design import CHANGED_ARMS, CHANGED_FEATURES
from training.comparison.starts.learning.levels import EM_STEPS, overall
from training.comparison.starts.learning.runs import CurvePoint, RunResult
from training.comparison.starts.measure import StartsResult
from training.comparison.starts.references import CONVERGED, ORACLE, SHIPPED, UNTRAINED, shipped_name

CURVES, CHANGED = "starts_curves", "starts_changes"
NAMES = (CURVES, CHANGED)

ARM_NAMES: dict[Arm, str] = {
    "constructed": "construction",
    "noise": "construction + noise",
    "random": "random",
    "normed": "random, LayerNorm",
}
CHANGE_NAMES: dict[Change, str] = {
    "none": "nothing changed",
    "tied": "one block, three times",
    "path": "a loss after every step",
    "images": "four images of each task",
    "muon": "Muon",
}
ARM_STYLES: dict[Arm, tuple[str, str]] = {
    "constructed": ("#08306b", "-"),
    "noise": ("#6baed6", "-"),
    "random": ("0.45", "--"),
    "normed": (marks.NETWORK.colour, "--"),
}
CHANGE_STYLES: dict[Change, tuple[str, str]] = {
    "none": ("black", "-"),
    "tied": ("#1f77b4", "-"),
    "path": ("#2ca02c", "-."),
    "images": ("#ff7f0e", ":"),
    "muon": ("#9467bd", "--"),
}
ALONE, WITH_EM = "network alone", f"network, then {EM_STEPS} EM steps"

Styled = dict[str, tuple[Sequence[RunResult], tuple[str, str]]]
"""Runs that differ in the seed alone, with colour and line, by their name."""


def pictures(data: StartsResult) -> list[Picture]:
    """Arms at every d; what is changed at the d where it was."""
    found = [_curves(data)]
    return found + ([_changes(data)] if data.settings.changes and _has_changes(data) else [])


def _has_changes(data: StartsResult) -> bool:
    return any(run.plan.change != "none" for run in data.runs)


def _draw(
    panel: Axes,
    groups: Styled,
    along: Callable[[CurvePoint], float],
    of: Callable[[CurvePoint], float],
) -> None:
    """The mean over seeds as a line, smallest to largest as a band, as far as every run came."""
    for name, (runs, (colour, line)) in groups.items():
        points = list(zip(*(run.curve for run in runs), strict=False))
        across = [sum(map(along, at)) / len(at) for at in points]
        values = [[of(point) for point in at] for at in points]
        mean = on_log_axis(sum(at) / len(at) for at in values)
        panel.plot(across, mean, line, color=colour, label=name, marker="o", markersize=2.5)
        panel.fill_between(
            across,
            [min(at) for at in values],
            [max(at) for at in values],
            color=colour,
            alpha=0.15,
            linewidth=0,
        )
    panel.set(yscale="log")
    panel.grid(alpha=0.25, which="both")


def _levels(panel: Axes, data: StartsResult, d: int, with_em: bool) -> list[float]:
    """Horizontal lines of what was not trained here; their heights."""
    shipped = SHIPPED.get(d, ())[:1]
    lines = [
        (UNTRAINED, "#08306b", ":"),
        (CONVERGED, marks.KMEANS_PLUS_PLUS.colour, "-."),
        (ORACLE, marks.TRUTH.colour, "-."),
        *((shipped_name(name), marks.NETWORK.colour, ":") for name in shipped),
    ]
    heights = []
    for name, colour, line in lines:
        heights.append(overall(data.reference(d, name).watched, with_em))
        label = "the network that ships" if name in map(shipped_name, shipped) else name
        panel.axhline(heights[-1], color=colour, linestyle=line, linewidth=1.2, label=label)
    return heights


def _frame(panel: Axes, heights: Sequence[float], groups: Styled, with_em: bool) -> None:
    """From below the lowest line to above all curves, but for what lies far beyond every line."""
    ends = [
        point.with_em if with_em else point.alone
        for runs, _ in groups.values()
        for run in runs
        for point in run.curve[1:]
    ]
    known = [value for value in ends if math.isfinite(value)] or list(heights)
    top = min(max([*known, *heights]), 20 * max(heights))
    panel.set_ylim(0.8 * min([*known, *heights]), 1.3 * top)


def _curves(data: StartsResult) -> Picture:
    every = sorted(data.settings.n_features)
    figure = sheet((15, 4.6 * len(every)), "The constructed EM as the start of meta-training", 12)
    rows = figure.subplots(len(every), 3, squeeze=False)
    for row, d in zip(rows, every, strict=True):
        groups: Styled = {
            ARM_NAMES[arm]: (runs, ARM_STYLES[arm]) for arm in ARMS if (runs := data.chosen(d, arm))
        }
        _draw(row[0], groups, lambda point: point.step, lambda point: point.alone)
        _draw(row[1], groups, lambda point: point.step, lambda point: point.with_em)
        _draw(row[2], groups, lambda point: point.seconds, lambda point: point.alone)
        for panel, with_em in zip(row, (False, True, False), strict=True):
            _frame(panel, _levels(panel, data, d, with_em), groups, with_em)
            panel.set_title(f"d = {d}: {WITH_EM if with_em else ALONE}")
        row[0].set(xlabel="training step", ylabel="mean error on held-out tasks")
        row[1].set(xlabel="training step")
        row[2].set(xlabel="seconds of training, one core")
    legend(figure, [rows[0, 0]])
    s = data.settings
    caption = (
        f"Networks of one shape ({_shape(data)}), {s.steps:,} steps of {s.tasks_per_step} tasks of the "
        "paper, each arm at the best of three rates. Mean error over K = 2 to 5, "
        f"{s.watched_tasks} tasks of each; line: mean over {s.seeds} seeds, band: smallest to largest. "
        "Horizontal lines: what was not trained here, on the same tasks. The network that ships has no start "
        "in its tokens, and learned from far more tasks."
    )
    return Picture(CURVES, caption, figure)


def _changes(data: StartsResult) -> Picture:
    d = CHANGED_FEATURES
    figure = sheet((13, 9), f"What changes the curves, d = {d}", 12)
    rows = figure.subplots(2, len(CHANGED_ARMS), squeeze=False)
    for column, arm in enumerate(CHANGED_ARMS):
        groups: Styled = {
            CHANGE_NAMES[change]: (runs, CHANGE_STYLES[change])
            for change in ("none", *data.settings.changes)
            if (runs := data.chosen(d, arm, change))
        }
        for panel, with_em in zip(rows[:, column], (False, True), strict=True):
            of = (lambda point: point.with_em) if with_em else (lambda point: point.alone)
            _draw(panel, groups, lambda point: point.step, of)
            _frame(panel, _levels(panel, data, d, with_em), groups, with_em)
            panel.set(title=f"{ARM_NAMES[arm]}: {WITH_EM if with_em else ALONE}", xlabel="training step")
    for row in rows:
        row[0].set_ylabel("mean error on held-out tasks")
    legend(figure, [rows[0, 0]])
    s = data.settings
    caption = (
        f"d = {d}, one thing changed at a time, {s.change_seeds} seeds ({s.seeds} where nothing is changed); "
        f"otherwise as in the learning curves. {CHANGE_NAMES['tied']}: the same two layers, a third of the "
        f"weights. {CHANGE_NAMES['path']}: the streams after the earlier steps are to hold EM's states. "
        f"{CHANGE_NAMES['images']}: a quarter as many tasks a step, each in four signed permutations of the "
        "coordinates."
    )
    return Picture(CHANGED, caption, figure)


def _shape(data: StartsResult) -> str:
    z = data.sizes
    return f"6 layers, width {z.width}, {z.heads} heads of {z.head_dim}, {z.hidden} hidden units"
