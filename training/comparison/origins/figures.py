"""Pictures of "one architecture, two origins"; everything from the figures that were computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import cycle

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import ColorType

from console.drawing import error_bars, legend, legend_below, sheet, slope_guide
from console.output import Picture
from console.phrases import Interval
from training.comparison.origins.em_problem import Target
from training.comparison.origins.measure import OriginsResult, RunResult
from training.comparison.origins.training_runs import Measurement

BLOCKS = "origins_blocks"
NAMES = (
    *("origins_loss", "origins_distance", "origins_noise", "origins_lines"),
    *(f"{BLOCKS}_{layer}" for layer in (1, 2)),
)

TARGET_TITLES: dict[Target, str] = {
    "em": "loss: distance to L-step EM",
    "truth": "loss: distance to the truth",
}


Styles = dict[str, tuple[ColorType, str]]
"""Colour and marker of each start."""


def grouped(runs: Sequence[RunResult], target: Target) -> dict[str, list[RunResult]]:
    """Runs of one loss by their label: the construction first, then noise ascending, then random."""
    order = {"constructed": 0, "noise": 1, "random": 2}
    chosen = [run for run in runs if run.plan.target == target]
    chosen.sort(key=lambda run: (order[run.plan.start], run.plan.noise, run.plan.learning_rate))
    found: dict[str, list[RunResult]] = {}
    for run in chosen:
        found.setdefault(run.plan.label, []).append(run)
    return found


def pictures(data: OriginsResult) -> list[Picture]:
    """Losses, distances, the sweep of noise, and lines."""
    return [_losses(data), _distances(data), _noise(data), _lines(data)]


def _about(data: OriginsResult) -> str:
    p, s = data.problem, data.settings
    return (
        f"Transformers of the EM construction's shape (d = {p.n_features}, K = {p.n_components}, "
        f"N = {p.n_samples}, L = {p.steps} EM steps, {p.pieces} pieces), {s.tasks} held-out tasks"
    )


def _colours(groups: dict[str, list[RunResult]]) -> dict[str, ColorType]:
    """Blues for the construction, a ramp for noise, black for random."""
    blues = iter(cycle(("#08306b", "#2171b5", "#6baed6", "#9ecae1")))
    noisy = [name for name, runs in groups.items() if runs[0].plan.start == "noise"]
    ramp = matplotlib.colormaps["autumn_r"]
    found: dict[str, ColorType] = {}
    for name, runs in groups.items():
        if runs[0].plan.start == "noise":
            found[name] = ramp(0.35 + 0.65 * noisy.index(name) / max(1, len(noisy) - 1))
        else:
            found[name] = next(blues) if runs[0].plan.start == "constructed" else "black"
    return found


def _styles(data: OriginsResult) -> Styles:
    """The same for a start in every panel, whatever the loss."""
    both = grouped(data.runs, "em") | grouped(data.runs, "truth")
    colours = _colours(both)
    return {name: (colours[name], marker) for name, marker in zip(both, cycle("osv^DP*X"), strict=False)}


def _draw(
    panel: Axes,
    groups: dict[str, list[RunResult]],
    styles: Styles,
    points: Callable[[RunResult], Iterable[tuple[int, float]]],
    marked: bool = True,
) -> None:
    """The mean over seeds as a line, smallest to largest as a band; a step that a run lacks is left out."""
    for name, runs in groups.items():
        colour, marker = styles[name]
        by_step: dict[int, list[float]] = {}
        for run in runs:
            for step, y in points(run):
                if math.isfinite(y):
                    by_step.setdefault(step, []).append(y)
        steps = [step for step in sorted(by_step) if len(by_step[step]) == len(runs)]
        low, high = ([pick(by_step[step]) for step in steps] for pick in (min, max))
        mean = [sum(by_step[step]) / len(runs) for step in steps]
        dashed = "--" if runs[0].plan.start == "random" else "-"
        style = {"marker": marker if marked else None, "markersize": 4.5, "label": name}
        panel.plot(steps, mean, dashed, color=colour, **style)
        panel.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
    panel.set_xscale("symlog", linthresh=1)
    panel.set(xlim=(0, None), yscale="log", xlabel="training step")
    panel.grid(alpha=0.25)


def _measured(run: RunResult, of: Callable[[Measurement], float]) -> list[tuple[int, float]]:
    """Step and value; a 0 has no place on a logarithmic axis."""
    return [(point.step, of(point) or math.nan) for point in run.curve]


def _losses(data: OriginsResult) -> Picture:
    figure = sheet((13, 7.2), "Training from the construction, from near it, and from random weights", 12)
    for panel, target in zip(figure.subplots(1, 2), TARGET_TITLES, strict=True):
        _draw(panel, grouped(data.runs, target), _styles(data), lambda run: run.watched, marked=False)
        levels = data.levels
        constructed = levels.construction.of(target)
        panel.axhline(constructed, color="0.2", linestyle=":", label="construction, untrained")
        if target == "em":
            panel.axhspan(0, 2 * constructed, color="green", alpha=0.06, label="at most twice that")
        panel.axhline(levels.start.of(target), color="0.6", linestyle="-.", label="EM's start returned")
        panel.set_ylim(bottom=0.3 * constructed, top=10 * levels.start.of(target))
        up = "mean loss on held-out tasks, squared units of the data"
        panel.set(title=TARGET_TITLES[target], ylabel=up)
        legend_below(panel, 2)
    caption = (
        f"{_about(data)}. Mean held-out loss against training steps, from each start; line: mean over seeds, "
        "band: smallest to largest. Dotted: the hand-built weights; dash-dotted: a network that returns its "
        "input start (the control that knows nothing). Curves above the frame start there."
    )
    return Picture("origins_loss", caption, figure)


def _distances(data: OriginsResult) -> Picture:
    figure = sheet((13, 11), "How far training moves from the construction", 12)
    rows = figure.subplots(2, 2)
    for column, target in enumerate(TARGET_TITLES):
        groups = grouped(data.runs, target)
        _draw(rows[0, column], groups, _styles(data), lambda run: _measured(run, lambda point: point.weights))
        rows[0, column].axhline(
            data.unrelated_distance, color="0.6", linestyle="-.", label="unrelated weights of equal norm"
        )
        rows[0, column].set_ylabel(
            "distance of weights modulo symmetries,\nrelative to the construction's norm"
        )
        _draw(
            rows[1, column], groups, _styles(data), lambda run: _measured(run, lambda point: point.function)
        )
        rows[1, column].set_ylabel(
            "distance of functions: root mean square of\nthe difference of outputs, units of the data"
        )
        top = data.levels.start.em**0.5
        rows[1, column].set_ylim(top=50 * top)
        rows[0, column].set_title(TARGET_TITLES[target])
        handle, name = rows[0, column].lines[-1], "unrelated weights of equal norm"
        rows[1, column].plot([], [], color=handle.get_color(), linestyle="-.", label=name)
        legend_below(rows[1, column], 2)
    caption = (
        f"{_about(data)}. Top: distance of the weights to the construction's after the best alignment of "
        "slots, heads, bases and hidden units (at the construction itself: float32 rounding); dash-dotted, "
        "the control: unrelated weights of the same norms. Bottom: distance of the two functions on "
        "held-out tasks. A network can return in function without returning in weights."
    )
    return Picture("origins_distance", caption, figure)


def _noise(data: OriginsResult) -> Picture:
    figure = Figure(figsize=(8, 5.6), layout="constrained")
    panel = figure.subplots()
    constructed = data.levels.construction.em
    groups = [runs for runs in grouped(data.runs, "em").values() if runs[0].plan.start == "noise"]
    for when, place, style in (("before training", 0, "o--"), ("after training", -1, "s-")):
        found = {}
        for runs in groups:
            ratios = [run.curve[place].loss / constructed for run in runs]
            if all(map(math.isfinite, ratios)):
                mean = sum(ratios) / len(ratios)
                found[runs[0].plan.noise] = Interval(mean, min(ratios), max(ratios))
        error_bars(panel, list(found), list(found.values()), fmt=style, capsize=3, label=when)
    panel.axhline(2, color="green", linestyle=":", label="twice the constructed loss")
    panel.axhline(1, color="0.4", linestyle=":", label="the constructed loss")
    across = "size of the noise, relative to the norm of each tensor"
    up = "loss (distance to L-step EM) / constructed loss"
    panel.set(xscale="log", yscale="log", xlabel=across, ylabel=up)
    panel.set_title("From how far does training return?")
    panel.grid(alpha=0.25)
    before = {runs[0].plan.noise: runs[0].curve[0].loss / constructed for runs in groups}
    if len(before) > 1 and all(map(math.isfinite, before.values())):
        slope_guide(panel, list(before), 2, 3 * before[min(before)])
    legend(figure, [panel])
    s = data.settings
    caption = (
        f"{_about(data)}. Loss before and after {s.steps:,} steps at rate {s.noise_rate:g}, in units "
        f"of the construction's own; mean over {s.seeds} seeds a size, bars from smallest to largest. "
        "Noise is added to every entry, so also where the theorem has zeros."
    )
    return Picture("origins_noise", caption, figure)


def _lines(data: OriginsResult) -> Picture:
    figure = sheet((13, 6.6), "Loss along straight lines from the construction", 12)
    panels = figure.subplots(1, 2, sharey=True)
    ramp = matplotlib.colormaps["tab10"]
    for panel, when in zip(panels, ("before", "after"), strict=True):
        for place, row in enumerate(data.lines):
            colour, style = (ramp(place % 10), "-") if place else ("black", "--")
            losses = row.line.before if when == "before" else row.line.after
            panel.plot(row.line.t, losses, style, color=colour, label=row.to)
        across = "t: 0 the construction, 1 the other network"
        panel.set(title=f"{when} alignment", yscale="log", xlabel=across)
        panel.grid(alpha=0.25)
    panels[0].set_ylabel("mean loss (distance to L-step EM)")
    legend(figure, panels[:1], 2, 8)
    caption = (
        f"{_about(data)}; here {data.settings.curvature_tasks} of them. Weights (1 - t) a + t b, a the "
        "balanced construction, b another network, on the left as it stands, on the right after alignment. "
        "Dashed, the control: b is the construction itself under random symmetries, so the right line must "
        "be flat; where a trained network's line still climbs there, the two lie in different basins."
    )
    return Picture("origins_lines", caption, figure)
