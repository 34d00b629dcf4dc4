"""Figures of the attention part: every head as a heat map, and the attention of one head in one task."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from console.drawing import number_heads, sheet, write_cells
from console.output import Picture
from training.comparison.attention.measure import LEVEL, AttentionResult, HeadStatistic, RegimeResult
from training.comparison.common.em_answers import HeadGrid
from training.comparison.common.regimes import about_tasks

PICTURES = ("attention_heads_K3", "attention_heads", "attention_example_K3", "attention_example")
"""Of the first K and of the largest K."""

EVENNESS = ("uniform", "share")
"""What permutations do not change."""
SHORT = {
    "points": "points to points\n$c_{ij}$",
    "points, distance out": "points to points\n$-|x_i-x_j|^2$ out",
    "points, like distance": "points to points\nat like distance",
    "E": "points to tokens\n(E layer) $w_{ik}$",
    "M": "tokens to points\n(M layer) $w_{ik}/\\Sigma_i w_{ik}$",
    "M, like distance": "tokens to points\nat like distance",
    "uniform": "tokens to points\nentropy / log N",
    "share": "tokens' attention\nshare on points",
}


def heads_figure(answer: AttentionResult, regime: RegimeResult, name: str) -> Picture:
    networks = regime.networks
    shown = [key for key in SHORT if key in networks["learned"]]
    about = about_tasks(answer.d, regime.K, regime.N, regime.tasks, answer.seed)
    title = f"Correlation of log attention with responsibilities. {about}"
    figure = sheet((2.05 * len(shown) + 0.9, 7.4), title, 12)
    panels = figure.subplots(2, len(shown), squeeze=False)
    correlations = sum(key not in EVENNESS for key in shown)
    image = even = None
    for row, (network, found) in zip(panels, networks.items(), strict=True):
        for panel, key in zip(row, shown, strict=True):
            heads = found[key]
            if key in EVENNESS:
                even = _heads(panel, heads, "viridis", 0.0)
            else:
                image = _heads(panel, heads, "RdBu_r", -1.0)
            if network == "learned":
                panel.set_title(SHORT[key], fontsize=10)
        row[0].set_ylabel(f"{network} network\nlayer", fontsize=11)
    for panel in panels[1]:
        panel.set_xlabel("head", fontsize=10)
    if image is not None:
        figure.colorbar(
            image, ax=panels[:, :correlations], location="bottom", shrink=0.5, aspect=40,
            label="correlation; *: told from permuted responsibilities, and from 0",
        )  # fmt: skip
    if even is not None:
        figure.colorbar(
            even, ax=panels[:, correlations:], location="bottom", aspect=18, label="entropy, share; *: told"
        )
    caption = (
        f"{about}. Every head of the learned network (top) and of its untrained "
        "control (bottom): the correlation, inside each query's row, of log attention with the "
        "target named above the column, mean over tasks. A star: told from permuted responsibilities "
        f"(p < {LEVEL}, {regime.permutations} permutations, corrected for the number of heads; and "
        "0 outside the 95 % interval over tasks). Red: attends where the responsibility is; blue: "
        "away from it. Columns 'out' and 'at like distance' ask what is left beyond distance. Last "
        "columns: entropy of the tokens' attention over points, 1 = uniform, and how much of their "
        "attention falls on points. Stars in the bottom row show what the untrained geometry does by "
        "itself: only what stands above it was learned. " + _distance_alone(regime)
    )
    return Picture(name, caption, figure)


def _distance_alone(regime: RegimeResult) -> str:
    """What heads that attend by distance alone reach in these columns."""
    reached = "; ".join(
        f"{' '.join(SHORT[name].split())} {both(found)}"
        for name, found in regime.distance.items()
        if name in regime.networks["learned"]
    )
    return f"Heads of distance r alone, exp(-r^2 / 2) and exp(-r), reach: {reached}."


def both(heads: HeadGrid) -> str:
    """Of the two heads of distance alone."""
    return f"{heads.mean[0][0]:.2f}, {heads.mean[0][1]:.2f}"


def _heads(panel: Axes, heads: HeadStatistic, colours: str, lowest: float) -> AxesImage:
    image = panel.imshow(heads.mean, cmap=colours, vmin=lowest, vmax=1.0, aspect="auto")
    told = heads.told

    def text(layer: int, head: int, value: float) -> str:
        return f"{value:.2f}{'*' if told[layer, head] else ''}"

    write_cells(panel, heads.mean, text, lambda v: abs(v) > 0.65 if lowest < 0 else v < 0.5, 7.5)
    number_heads(panel, *told.shape, fontsize=9)
    return image


def example_figure(answer: AttentionResult, regime: RegimeResult, name: str) -> Picture:
    example = regime.example
    about = f"d = {answer.d}, K = {regime.K}, N = {regime.N}, seed {answer.seed}"
    where = f"layer {example.layer}, head {example.head}"
    title = f"Attention among points of one task, {where}, beside co-responsibility. {about}"
    figure = sheet((13.5, 5.4), title, 12)
    panels = figure.subplots(1, 3)
    maps = {key: np.array(values, dtype=float) for key, values in example.maps.items()}
    edges = np.cumsum(example.sizes)[:-1] - 0.5
    titles = {
        "learned": "learned network\nN x attention (1 = uniform)",
        "untrained": "untrained network, the same head\nN x attention (1 = uniform)",
        "c": "co-responsibility\n" + r"$c_{ij} = \Sigma_k w_{ik} w_{jk}$ of converged EM",
    }
    figure.supxlabel("white lines: from one component to the next", fontsize=9)
    for panel, (key, title) in zip(panels, titles.items(), strict=True):
        top = 1.0 if key == "c" else float(np.quantile(maps[key], 0.98))
        image = panel.imshow(maps[key], cmap="viridis", vmin=0.0, vmax=top)
        figure.colorbar(image, ax=panel, shrink=0.75, extend="neither" if key == "c" else "max")
        for edge in edges:
            panel.axhline(edge, color="white", linewidth=0.9)
            panel.axvline(edge, color="white", linewidth=0.9)
        panel.set_title(title, fontsize=11)
        panel.set_xlabel("point attended to, sorted by component", fontsize=10)
    panels[0].set_ylabel("attending point, sorted by component", fontsize=10)
    caption = (
        f"The first task of {about}; its first "
        f"{len(maps['c'])} points, sorted by the component that converged EM gives them (white lines). The "
        f"head is the learned one with the largest mean correlation (rho = {example.rho:.2f}), so it was "
        "chosen to look well; the middle panel is the control. Attending by responsibility would show the "
        "blocks of the right panel. Colours end at the 98 % quantile of each attention map."
    )
    return Picture(name, caption, figure)
