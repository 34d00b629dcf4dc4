"""Blocks and layers of a construction as the player shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from constructions.language.assembly import Construction, Layer
from constructions.language.heads import Head
from constructions.language.stream import Stream
from verify.player.formulas import Symbols, head_formula, math, norm_formula, part_formula, symbol
from verify.player.scene import BlockShown, HeadShown, LayerShown


@dataclass(frozen=True)
class Words:
    """What a theorem calls its blocks and layers.

    Attributes:
        symbols: of blocks, as MathML. holds: what blocks hold. does: what layers do. steps: the algorithm's
            own formula that a layer stands for. Each by name; what is missing is left out.
        ends: where the picture ends the lines of a head.
    """

    symbols: Symbols
    holds: Mapping[str, str]
    does: Mapping[str, str]
    steps: Mapping[str, str]
    ends: Callable[[Head], str]


def blocks_shown(stream: Stream, words: Words) -> list[BlockShown]:
    """All blocks, in the order of the stream."""
    return [
        BlockShown(b.name, math(symbol(b, "i", words.symbols)), b.width, words.holds.get(b.name, ""))
        for b in stream.blocks
    ]


def layers_shown(construction: Construction, words: Words) -> list[LayerShown]:
    """All layers that are stored."""
    return [_layer(layer, words) for layer in construction.layers]


def _layer(layer: Layer, words: Words) -> LayerShown:
    heads = [HeadShown(h.write.name, head_formula(h, words.symbols), words.ends(h)) for h in layer.all_heads]
    mlp = [formula for part in layer.mlp if (formula := part_formula(part, words.symbols)) is not None]
    by_mlp = {block.name for part in layer.mlp for block in part.writes}
    emptied = {block.name for part in layer.mlp for block in part.clears} - by_mlp
    written = by_mlp | {head.write.name for head in layer.all_heads} - emptied
    return LayerShown(
        layer.name,
        words.does.get(layer.name, ""),
        words.steps.get(layer.name, ""),
        heads,
        norm_formula(layer, words.symbols) if layer.unit_output else "",
        mlp,
        sorted(written),
        sorted(emptied),
    )
