"""Pictures of the dense weights, with the named blocks on the axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure

from constructions.stream import Block

if TYPE_CHECKING:
    from constructions.construction import Construction

MAX_DRAWN = 400
"""Hidden units drawn at most: of a wider MLP, every so many-th."""


def plot_weights(construction: Construction) -> list[Figure]:
    """One figure a layer: ``W_Q K-side products`` and ``W_V W_O`` of every head, ``W_1`` and ``W_2``.

    Colours are on a signed logarithmic scale, white is exactly 0.
    """
    blocks = construction.stream.blocks
    figures = []
    for number, (layer, module) in enumerate(
        zip(construction.layers, construction.to_transformer().layers, strict=True), 1
    ):
        names = dict(module.named_parameters())
        panels: list[tuple[str, torch.Tensor, Sequence[Block], Sequence[Block] | None]] = []
        for index in range(len(layer.all_heads)):
            q, k, v, o = (
                names[f"attention.{n}"].detach()[index] for n in ("query", "key", "value", "output")
            )
            panels.append((f"head {index + 1}: $W_Q W_K^T$", q @ k.T, blocks, blocks))
            panels.append((f"head {index + 1}: $W_V W_O$", v @ o, blocks, blocks))
        if layer.mlp:
            w1, w2 = names["mlp.w1"].detach(), names["mlp.w2"].detach()
            step = max(1, -(-w1.shape[1] // MAX_DRAWN))
            note = "" if step == 1 else f", every {step}th of {w1.shape[1]:,} units"
            panels.append((f"$W_1${note}", w1[:, ::step], blocks, None))
            panels.append((f"$W_2^T${note}", w2.T[:, ::step], blocks, None))
        rows = len(panels) // 2
        figure = Figure(figsize=(13, 5.2 * rows), layout="constrained")
        figure.suptitle(f"{construction.name}: layer {number}, {layer.name}")
        for axes, panel in zip(figure.subplots(rows, 2, squeeze=False).flat, panels, strict=True):
            _heat_map(axes, *panel)
        figures.append(figure)
    return figures


def _heat_map(
    axes: Axes, title: str, matrix: torch.Tensor, rows: Sequence[Block], columns: Sequence[Block] | None
) -> None:
    sizes = matrix.abs()[matrix != 0]
    smallest, largest = (float(sizes.min()), float(sizes.max())) if len(sizes) else (1.0, 1.0)
    norm = SymLogNorm(linthresh=smallest, linscale=0.5, vmin=-largest, vmax=largest)
    image = axes.imshow(matrix.numpy(), norm=norm, cmap="RdBu_r", aspect="auto", interpolation="nearest")
    axes.set_title(title)
    axes.set_yticks([b.start + (b.width - 1) / 2 for b in rows], [b.name for b in rows], fontsize=8)
    for block in rows:
        axes.axhline(block.start - 0.5, color="0.8", linewidth=0.5)
    if columns is None:
        axes.set_xlabel("hidden unit")
    else:
        centres = [b.start + (b.width - 1) / 2 for b in columns]
        axes.set_xticks(centres, [b.name for b in columns], rotation=60, ha="right", fontsize=8)
        for block in columns:
            axes.axvline(block.start - 0.5, color="0.8", linewidth=0.5)
    figure = axes.get_figure()
    if isinstance(figure, Figure):
        figure.colorbar(image, ax=axes, shrink=0.8)
