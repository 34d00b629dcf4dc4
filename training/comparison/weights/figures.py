"""The pictures of a checkpoint's weights: how alike its layers are, and EM's score blocks head by head."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from console.drawing import number_heads, sheet, write_cells
from console.output import Picture
from training.comparison.weights.encoder_verdicts import LABELS, Verdicts
from training.comparison.weights.encoders import EncodedBlocks, LayerBlocks, LayerReading, Reading

LAYERS, SCORES, READS = "weight_space_layers", "weight_space_scores", "weight_space_reads"
TITLES = {
    "learned": "learned",
    "untrained": "control: untrained",
    "shuffled": "control: other tasks' variables",
    "random": "control: random directions",
}
SMALLEST = 0.01
"""Nats, where the colours of score blocks begin."""


def layers_picture(layers: dict[str, list[list[float]]]) -> Picture:
    """Heat maps of the cosines between layers."""
    figure = sheet((4.4 * len(layers) + 1.4, 4.4), "Cosine of two layers after alignment", 12)
    panels = list(figure.subplots(1, len(layers), squeeze=False)[0])
    norm = Normalize(0, 1)
    for panel, (name, matrix) in zip(panels, layers.items(), strict=True):
        _cells(panel, matrix, norm, "Greys", lambda x: f"{x:.2f}", 0.6)
        panel.set_title(TITLES[name], fontsize=11)
        panel.set(xlabel="layer", ylabel="layer")
    bar = "cosine (1: the same layer)"
    figure.colorbar(ScalarMappable(norm, "Greys"), ax=panels, shrink=0.85, label=bar)
    caption = (
        "Cosine between the forms of two layers of one network (scores and values of matched heads, matched "
        "hidden units), modulo the symmetries. Weights reused in a loop of two layers, as in the theorem, "
        "would give 1 at every other place off the diagonal. Matching leaves unrelated layers somewhat above "
        "0: the controls show how much, the last with the learned layers' sizes of heads and units."
    )
    return Picture(LAYERS, caption, figure)


def scores_picture(blocks: EncodedBlocks, verdicts: dict[str, Verdicts], seed: int) -> Picture:
    """A row of panels for each block, a column for each network; heads by layers."""
    names = next(iter(verdicts.values())).names
    heads = [head for layers in blocks.networks.values() for layer in layers for head in layer.heads]
    largest = max(head.blocks[label].size for head in heads for label in LABELS)
    norm = LogNorm(SMALLEST, max(largest, 10 * SMALLEST))

    def fill(panel: Axes, label: str, name: str) -> None:
        layers = blocks.networks[name]
        sizes, cosines = (
            [[getattr(head.blocks[label], of) for head in layer.heads] for layer in layers]
            for of in ("size", "cosine")
        )
        _cells(panel, sizes, norm, "Greys", None, 0)
        _texts(panel, cosines, sizes, norm, verdicts[name].heads[label])

    title = f"EM's score blocks, head by head {_sizes(blocks)}"
    bar = "shade: std of the block over the keys of a query, nats\n"
    bar += "number: cosine with EM's term; green: has the block"
    figure = _grid(title, {label: names[label] for label in LABELS}, blocks.networks, fill, norm, bar)
    caption = (
        f"{_about(blocks, seed)} Shade: size of each score block, found through linear encoders of the named "
        "variables (the network's own final estimate). Number: its cosine with EM's term; green and bold "
        "where the head has the block by the rules of the table. Columns: the learned network, an untrained "
        "one with the same variables, the learned one with variables of other tasks. E step: points attend "
        "to component tokens; M step: component tokens attend to points."
    )
    return Picture(SCORES, caption, figure)


def reads_picture(blocks: EncodedBlocks, seed: int) -> Picture:
    """Where attention goes, and how much of what tokens receive comes from x; each network by its own."""
    norm = Normalize(0, 1)
    rows: dict[str, Callable[[Reading], float]] = {
        "attention of points\non component tokens": lambda head: head.mass["E"],
        "attention of component\ntokens on points": lambda head: head.mass["M"],
        "share of what tokens\nreceive that is x": lambda head: max(head.read_x.share, 0.0),
    }

    def fill(panel: Axes, title: str, name: str) -> None:
        values = [[rows[title](head) for head in layer.heads] for layer in blocks.reads[name]]
        _cells(panel, values, norm, "Greys", lambda x: f"{x:.2f}", 0.6)

    title = f"What the heads attend to and read {_sizes(blocks)}"
    figure = _grid(title, {title: title for title in rows}, blocks.reads, fill, norm, "share")
    caption = (
        f"{_about(blocks, seed)} Columns: the learned network, an untrained one, and one of random "
        "directions with the learned sizes of heads and units, each with its own attention. Top and middle: "
        "mean attention weight. Bottom: of the variance over tasks of what a head writes at component tokens "
        "from the points, the share explained by the encoded x (0 also where it explains less than nothing). "
        "EM's E step needs attention of points on component tokens, its M step that of tokens on points, and "
        "x read there."
    )
    return Picture(READS, caption, figure)


def _sizes(blocks: EncodedBlocks) -> str:
    return f"(d = {blocks.about.d}, K = {blocks.about.K})"


def _about(blocks: EncodedBlocks, seed: int) -> str:
    about = blocks.about
    measured = about.tasks - about.fit
    return (
        f"{measured} tasks of {about.N} points, K = {about.K}, d = {about.d}, seed {seed}; encoders fitted "
        f"on {about.fit} others."
    )


def _grid(
    figure_title: str,
    rows: Mapping[str, str],
    networks: Mapping[str, Sequence[LayerReading | LayerBlocks]],
    fill: Callable[[Axes, str, str], None],
    norm: Normalize,
    bar: str,
) -> Figure:
    """A row of panels for each key of `rows`, titled, a column for each network: fill(panel, key, name)."""
    layers = next(iter(networks.values()))
    width, height = 1.6 + 0.55 * len(layers[0].heads), 1.1 + 0.3 * len(layers)
    size = (width * len(networks) + 1.6, height * len(rows) + 0.8)
    figure = sheet(size, figure_title, 12)
    grid = figure.subplots(len(rows), len(networks), squeeze=False)
    for panels, (key, title) in zip(grid, rows.items(), strict=True):
        for panel, name in zip(panels, networks, strict=True):
            fill(panel, key, name)
            panel.set_title(f"{title}\n{TITLES[name]}", fontsize=9)
        panels[0].set_ylabel("layer")
    for panel in grid[-1]:
        panel.set_xlabel("head")
    figure.colorbar(ScalarMappable(norm, "Greys"), ax=list(grid.flat), shrink=0.6, label=bar)
    return figure


def _cells(
    panel: Axes,
    values: list[list[float]],
    norm: Normalize,
    colours: str,
    text: Callable[[float], str] | None,
    dark: float,
) -> None:
    panel.imshow(values, norm=norm, cmap=colours, aspect="auto", interpolation="nearest")
    number_heads(panel, len(values), len(values[0]))
    if text is not None:
        write_cells(panel, values, lambda i, j, x: text(x), lambda x: norm(x) > dark, 8)


def _texts(
    panel: Axes,
    cosines: list[list[float]],
    sizes: list[list[float]],
    norm: Normalize,
    passed: list[tuple[int, int]],
) -> None:
    for i, row in enumerate(cosines):
        for j, x in enumerate(row):
            if math.isnan(x) or sizes[i][j] < SMALLEST:
                continue
            has = (i + 1, j + 1) in passed
            colour = "#1a7f37" if has else ("white" if norm(sizes[i][j]) > 0.6 else "black")
            weight = "bold" if has else "normal"
            mark = panel.text(j, i, f"{x:.1f}", ha="center", va="center", fontsize=8, weight=weight)
            mark.set_color(colour)
            if has:
                mark.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.8})
