"""What each head and each group of hidden units of a construction is there for, taken from its formulas.

    head    write_i += scale sum_j A_ij read_j,  A the softmax (or ReLU) of a score of query and key blocks
    units   hidden units first .. stop - 1 of the MLP, which add one formula to the blocks that they write

Whether weights have these roles: role_checks.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from constructions.language.assembly import Construction, Layer
from constructions.language.heads import Attention, Head
from constructions.language.mlp import MLPPart
from constructions.language.shown import short_repr
from constructions.language.stream import Block, Stream


@dataclass(frozen=True)
class Columns:
    """Columns ``start .. stop - 1`` of the stream; the name of a block, or of a part of one as in "mu.2"."""

    name: str
    start: int
    stop: int

    def __contains__(self, column: int) -> bool:
        return self.start <= column < self.stop


@dataclass(frozen=True)
class HeadRole:
    """One head.

    role        in words.
    attention   softmax or relu, of the score.
    score       as a formula, q. the attending token and k. the attended one.
    query, key  what the score reads of either; empty for the score 0.
    value       what is read of the attended tokens.
    writes      where the result is added, times `scale`.
    """

    role: str
    attention: Attention
    score: str
    query: tuple[Columns, ...]
    key: tuple[Columns, ...]
    value: Columns
    writes: Columns
    scale: float


@dataclass(frozen=True)
class UnitsRole:
    """Hidden units ``first .. stop - 1`` of a layer; none where a constant alone is added.

    formula  what they compute.
    reads    blocks whose value is used. writes: blocks that get the result. clears: blocks set to 0.
    """

    formula: str
    reads: tuple[Columns, ...]
    writes: tuple[Columns, ...]
    clears: tuple[Columns, ...]
    first: int
    stop: int


@dataclass(frozen=True)
class LayerRoles:
    """One layer: its name, its heads in their order, its hidden units in theirs.

    unit_output  what the heads add is divided by its Euclidean norm.
    """

    name: str
    heads: tuple[HeadRole, ...]
    units: tuple[UnitsRole, ...]
    unit_output: bool

    __repr__ = short_repr


def roles_of(construction: Construction) -> tuple[LayerRoles, ...]:
    """Of every layer, in the order in which they are written down."""
    return tuple(_layer(layer, construction.stream) for layer in construction.layers)


def blocks_of(stream: Stream) -> tuple[Columns, ...]:
    """The whole blocks, from the first column to the last."""
    return tuple(map(_columns, stream.blocks))


def _layer(layer: Layer, stream: Stream) -> LayerRoles:
    units, first = [], 0
    for part in layer.mlp:
        stop = first + sum(len(unit.reads) for unit in part.units())
        units.append(_units(part, first, stop))
        first = stop
    heads = tuple(_head(head, stream) for head in layer.all_heads)
    return LayerRoles(layer.name, heads, tuple(units), layer.unit_output)


def _head(head: Head, stream: Stream) -> HeadRole:
    terms = head.score.terms
    query = dict.fromkeys(_columns(stream.one if term.query is None else term.query) for term in terms)
    key = dict.fromkeys(_columns(term.key) for term in terms)
    read, write = _columns(head.read), _columns(head.write)
    what = "average" if head.attention == "softmax" else "sum"
    weights = f"weights {head.attention}({head.score})" if terms else "equal weights"
    scale = "" if head.scale == 1 else f"{head.scale:g} times "
    role = f"adds to {write.name} {scale}the {what} of {read.name} over tokens, {weights}"
    return HeadRole(
        role, head.attention, str(head.score), tuple(query), tuple(key), read, write, float(head.scale)
    )


def _units(part: MLPPart, first: int, stop: int) -> UnitsRole:
    reads, writes, clears = (
        tuple(map(_columns, blocks)) for blocks in (part.reads, part.writes, part.clears)
    )
    targets = writes or clears
    sign = "=" if not writes or set(writes) <= set(clears) else "+="
    return UnitsRole(f"{targets[0].name} {sign} {part}", reads, writes, clears, first, stop)


def _columns(block: Block) -> Columns:
    return Columns(block.name, block.start, block.start + block.width)
