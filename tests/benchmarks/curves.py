"""Cost of a constructed EM step against its sizes: the picture, and fitted exponents."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from console.drawing import legend_below, slope_guide
from console.output import Picture

Curves = dict[str, list[dict[str, float]]]
SIDES = {
    "structured": ("structured", "C0", "o-"),
    "em": ("batched EM", "C1", "s--"),
    "dense": ("dense", "C3", "^:"),
}
LABELS = {
    "N": "points N, one task",
    "pieces": "pieces a function",
    "d": "dimension d",
    "batch": "tasks at once",
}


def exponent(sizes: list[float], costs: list[float]) -> float:
    """Slope of log cost over log size, least squares over the larger half: fixed costs decide the smaller."""
    half = len(sizes) // 2
    x, y = ([math.log(value) for value in values[half:]] for values in (sizes, costs))
    mx, my = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / sum((a - mx) ** 2 for a in x)


def exponents(curves: Curves) -> dict[str, dict[str, float]]:
    """By what grows, by side."""
    found: dict[str, dict[str, float]] = {}
    for name, points in curves.items():
        found[name] = {}
        for side in SIDES:
            pairs = [(point[name], point[side]) for point in points if side in point]
            if len(pairs) >= 4:
                sizes, costs = map(list, zip(*pairs, strict=True))
                found[name][side] = exponent(sizes, costs)
    return found


def picture(curves: Curves) -> Picture:
    """A panel for each size that grows."""
    figure = Figure(figsize=(13, 4.6), layout="constrained")
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    grown = exponents(curves)
    for panel, (name, points) in zip(panels, curves.items(), strict=True):
        for side, (label, colour, style) in SIDES.items():
            pairs = [(point[name], point[side]) for point in points if side in point]
            if pairs:
                slope = grown[name].get(side)
                shown = label if slope is None else f"{label}, exponent {slope:.2f}"
                panel.loglog(*zip(*pairs, strict=True), style, color=colour, label=shown)
        panel.set_xlabel(LABELS[name])
        first = [(point[name], point["structured"]) for point in points if "structured" in point]
        if first:
            slope_guide(panel, [size for size, _ in first], 1, 0.5 * first[0][1])
        legend_below(panel, 1)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("ms of one processor for a step")
    caption = (
        "One EM step by constructed weights as one size grows, float64, one thread; the others are d = 8, "
        "K = 5, N = 128, 64 tasks, 128 pieces. Exponents over the larger half of the sizes."
    )
    return Picture("curves", caption, figure)
