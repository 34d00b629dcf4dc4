"""Pictures of the dense weights, with the named blocks on the axes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from constructions.language.stream import Block, Stream
from constructions.language.transformer import Transformer

MAX_DRAWN = 400
"""Hidden units drawn at most: of a wider MLP, every so many-th."""

MOST_BLOCKS = 24
"""Of a stream with more, a layer's figure shows those that it touches: the names would not be legible."""


def plot_weights(title: str, stream: Stream, layers: Sequence[str], transformer: Transformer) -> list[Figure]:
    """One figure a layer, under its name: ``W_Q``, ``W_K``, ``W_V``, ``W_O^T`` of every head, and the MLP.

    Rows are the columns of the stream, under the names of their blocks. ``W_1`` has ``b_1`` as its last row,
    ``W_2^T`` has ``b_2`` as its first column. Of a stream of many blocks those are shown that the layer
    touches. Colours are on a signed logarithmic scale, white is exactly 0.
    """
    figures = []
    for number, (layer, module) in enumerate(zip(layers, transformer.layers, strict=True), 1):
        names = {name: p.detach() for name, p in module.named_parameters()}
        blocks, columns = _shown(stream, names)
        heads = len(names.get("attention.query", ()))
        rows = heads + ("mlp.w1" in names)
        figure = Figure(figsize=(14, 4.6 * rows), layout="constrained")
        figure.suptitle(f"{title}: layer {number}, {layer}")
        grid = figure.add_gridspec(rows, 4)
        for index in range(heads):
            q, k, v = (names[f"attention.{n}"][index][columns] for n in ("query", "key", "value"))
            o = names["attention.output"][index].T[columns]
            for column, (name, matrix) in enumerate((("W_Q", q), ("W_K", k), ("W_V", v), ("W_O^T", o))):
                axes = figure.add_subplot(grid[index, column])
                _heat_map(axes, f"head {index + 1}: ${name}$", matrix, blocks, "head dimension")
        if "mlp.w1" in names:
            first = torch.cat([names["mlp.w1"][columns], names["mlp.b1"][None]])
            second = torch.cat([names["mlp.b2"][None], names["mlp.w2"]]).T[columns]
            step = max(1, -(-first.shape[1] // MAX_DRAWN))
            unit = "hidden unit" if step == 1 else f"every {step}th of {first.shape[1]:,} hidden units"
            bias = Block("b_1", len(columns), 1)
            _heat_map(
                figure.add_subplot(grid[-1, :2]), "$W_1$, $b_1$", first[:, ::step], (*blocks, bias), unit
            )
            _heat_map(figure.add_subplot(grid[-1, 2:]), "$b_2$, $W_2^T$", second[:, ::step], blocks, unit)
        figures.append(figure)
    return figures


def _shown(stream: Stream, names: dict[str, torch.Tensor]) -> tuple[tuple[Block, ...], list[int]]:
    """The blocks that are drawn, one after another, and their columns in the stream."""
    blocks = stream.blocks
    if len(blocks) > MOST_BLOCKS:
        touched = torch.zeros(stream.width, dtype=torch.bool)
        for name, p in names.items():
            if name.startswith("mlp.b1") or "norm" in name:
                continue
            at = p if name in ("attention.output", "mlp.w2", "mlp.b2") else p.transpose(-1, -2)
            touched |= (at != 0).reshape(-1, stream.width).any(0)
        blocks = tuple(b for b in blocks if bool(touched[b.slice].any()))
    columns = [column for block in blocks for column in block.columns]
    starts = [0]
    for block in blocks:
        starts.append(starts[-1] + block.width)
    return tuple(Block(b.name, at, b.width) for b, at in zip(blocks, starts, strict=False)), columns


def _heat_map(axes: Axes, title: str, matrix: torch.Tensor, rows: Sequence[Block], across: str) -> None:
    sizes = matrix.abs()[matrix != 0]
    smallest, largest = (float(sizes.min()), float(sizes.max())) if len(sizes) else (1.0, 1.0)
    norm = SymLogNorm(linthresh=smallest, linscale=0.5, vmin=-largest, vmax=largest)
    image = axes.imshow(matrix.numpy(), norm=norm, cmap="RdBu_r", aspect="auto", interpolation="nearest")
    axes.set_title(title)
    axes.set_yticks([b.start + (b.width - 1) / 2 for b in rows], [b.name for b in rows], fontsize=8)
    edges = [block.start - 0.5 for block in rows]
    axes.hlines(edges, 0, 1, transform=axes.get_yaxis_transform(), color="0.8", linewidth=0.5)
    axes.set_xlabel(across)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure = axes.get_figure()
    if isinstance(figure, Figure):
        ends = [-largest, 0.0, largest]
        figure.colorbar(image, ax=axes, shrink=0.8, ticks=ends, format="%.3g").minorticks_off()
