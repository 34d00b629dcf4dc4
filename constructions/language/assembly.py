"""Layers written as formulas, checked as a whole, and compiled into dense matrices."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch

from constructions.language.heads import Attention, Head, HeadSum
from constructions.language.mlp import MLPPart
from constructions.language.program import Order, Times, flat, outline
from constructions.language.resources import Resources, count_resources
from constructions.language.shown import short_repr
from constructions.language.stream import Block, Stream
from constructions.language.tables import text_table
from constructions.language.transformer import (
    LayerShape,
    SelfAttention,
    Transformer,
    TransformerLayer,
    TransformerShape,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class AssemblyError(ValueError):
    """Formulas that do not fit together; says which layer and block."""


@dataclass(frozen=True)
class Layer:
    """One attention sub-layer and one MLP sub-layer, as formulas.

    Attributes:
        name: how it is called in tables.
        heads: each a head, or several that on purpose add into one block; all of one kind of attention.
        mlp: parts of the MLP, all reading the state after attention.
        unit_output: what the attention adds is divided by its Euclidean norm, token by token: an RMS norm
            with gain ``1/sqrt(D)``.
    """

    name: str
    heads: tuple[Head | HeadSum, ...] = ()
    mlp: tuple[MLPPart, ...] = ()
    unit_output: bool = False

    __repr__ = short_repr

    @property
    def all_heads(self) -> tuple[Head, ...]:
        """The heads one by one."""
        return tuple(h for part in self.heads for h in (part.heads if isinstance(part, HeadSum) else (part,)))

    @property
    def kind(self) -> Attention | None:
        """Softmax or ReLU; None without heads.

        Raises:
            AssemblyError: heads of both kinds.
        """
        kinds: set[Attention] = {head.attention for head in self.all_heads}
        if len(kinds) > 1:
            raise AssemblyError(f"{self.name}: a layer has one kind of attention, got {sorted(kinds)}")
        return next(iter(kinds), None)

    @property
    def shape(self) -> LayerShape:
        """Number of heads, their common dimension, hidden units."""
        heads = self.all_heads
        hidden = sum(len(u.reads) for part in self.mlp for u in part.units())
        # A part can be a constant alone, which takes no unit but still the layer's second bias.
        hidden = max(hidden, 1 if self.mlp else 0)
        size = max((head.size for head in heads), default=0)
        return LayerShape(len(heads), size, hidden, self.unit_output)


@dataclass(frozen=True)
class Construction:
    """A transformer written down: stream, layers, how often they are applied, and where it comes from.

    Assembling it follows every block through the layers. A block is live while it holds a value.

    Attributes:
        name, source: for people; the source names the theorem.
        stream: the residual stream.
        inputs: the blocks that hold a value when the first layer starts.
        layers: applied one after another, or in ``order``.
        loops: how many times the list of layers is applied.
        divide_by_tokens: ReLU attention divides by the number of real tokens.
        order: of one pass, with loops within it; see :func:`constructions.language.program.in_order`.
        kind: of attention, softmax or relu; mixed where layers differ in it.

    Raises:
        AssemblyError: a block is read before it holds a value; a block that holds a value is written
            without being cleared; two parts of one sub-layer write one block; part of a block is written or
            cleared; an empty block is cleared; a key-only score term without a constant block ``one`` of
            width 1; heads of different kinds in one layer; no head in any layer; a norm without heads;
            softmax heads that divide by the number of tokens; a loop whose end does not leave the blocks its
            start needs; an order that leaves out a layer or names one that is not there.
    """

    name: str
    source: str
    stream: Stream
    inputs: tuple[Block, ...]
    layers: tuple[Layer, ...]
    loops: int = 1
    divide_by_tokens: bool = False
    order: Order | None = None
    kind: Literal["softmax", "relu", "mixed"] = field(init=False)

    __repr__ = short_repr

    def __post_init__(self) -> None:
        kinds = {kind for layer in self.layers if (kind := layer.kind) is not None}
        if not kinds:
            raise AssemblyError(f"{self.name}: a head is needed in some layer, got no head")
        object.__setattr__(self, "kind", "mixed" if len(kinds) > 1 else kinds.pop())
        if self.divide_by_tokens and self.kind != "relu":
            raise AssemblyError(
                f"{self.name}: softmax weights sum to 1, there is no number of tokens to divide by"
            )
        for block in self.inputs:
            if block not in self.stream.blocks:
                raise AssemblyError(f"{self.name}: the input {block!r} is not a block of this stream")
        if set(self.sequence) != set(range(len(self.layers))):
            raise AssemblyError(
                f"{self.name}: the order names layers {sorted({n + 1 for n in self.sequence})}, "
                f"and there are {len(self.layers)}"
            )
        live = set(self.inputs)
        self._follow(self._order, live)
        if self.loops != 1 and live != set(self.inputs):
            differ = sorted(map(repr, live ^ set(self.inputs)))
            raise AssemblyError(
                f"{self.name}: after one pass the live blocks differ from the inputs in {differ}"
            )

    @property
    def _order(self) -> Order:
        return tuple(range(len(self.layers))) if self.order is None else self.order

    @functools.cached_property
    def sequence(self) -> tuple[int, ...]:
        """The numbers, from 0 on, of the layers that one pass applies, one after another."""
        return flat(self._order)

    def _follow(self, order: Order, live: set[Block]) -> None:
        """The blocks that are live after the layers; a loop must leave those that it found."""
        for part in order:
            if isinstance(part, Times):
                before = set(live)
                self._follow(part.order, live)
                if part.times != 1 and live != before:
                    differ = sorted(map(repr, live ^ before))
                    raise AssemblyError(
                        f"{self.name}: the loop {outline((part,))} changes the live blocks in {differ}"
                    )
            else:
                self._follow_attention(self.layers[part], live)
                self._follow_mlp(self.layers[part], live)

    def _follow_attention(self, layer: Layer, live: set[Block]) -> None:
        if layer.unit_output and not layer.heads:
            raise AssemblyError(f"{layer.name}: a norm of what the attention writes, and no head")
        for head in layer.all_heads:
            if head.score.has_key_only_terms:
                if "one" not in self.stream or self.stream.one.width != 1:
                    raise AssemblyError(f"{layer.name}: a key-only term needs a block 'one' of width 1")
                self._need(layer, "attention", (self.stream.one,), live)
            self._need(layer, "attention", (*head.score.reads, head.read), live)
        targets = [part.write for part in layer.heads]
        self._own_whole(layer, targets)
        self._refuse_twice(layer, targets)
        for block in targets:
            if block in live:
                raise AssemblyError(f"{layer.name}: attention writes {block!r}, which still holds a value")
        live.update(targets)

    def _follow_mlp(self, layer: Layer, live: set[Block]) -> None:
        cleared: list[Block] = [block for part in layer.mlp for block in part.clears]
        written: list[Block] = [block for part in layer.mlp for block in part.writes]
        self._own_whole(layer, cleared + written)
        self._refuse_twice(layer, cleared)
        self._refuse_twice(layer, written)
        for part in layer.mlp:
            self._need(layer, "the MLP", part.reads, live)
        for block in cleared:
            if block not in live:
                raise AssemblyError(f"{layer.name}: {block!r} is cleared but holds nothing")
        for block in written:
            if block in live and block not in cleared:
                raise AssemblyError(
                    f"{layer.name}: the MLP writes {block!r}, which still holds a value; "
                    "say overwrite or clear it"
                )
        live.difference_update(cleared)
        live.update(written)

    def _need(self, layer: Layer, who: str, blocks: tuple[Block, ...], live: set[Block]) -> None:
        self._own(layer, blocks)
        for block in blocks:
            if block.whole not in live:
                raise AssemblyError(f"{layer.name}: {who} reads {block!r} before anything is written there")

    def _own(self, layer: Layer, blocks: Sequence[Block]) -> None:
        for block in blocks:
            if block.whole not in self.stream.blocks:
                raise AssemblyError(f"{layer.name}: {block!r} is not a block of this stream")

    def _own_whole(self, layer: Layer, blocks: Sequence[Block]) -> None:
        self._own(layer, blocks)
        for block in blocks:
            if block.part_of is not None:
                raise AssemblyError(
                    f"{layer.name}: {block!r} is part of a block; only whole blocks are written"
                )

    @staticmethod
    def _refuse_twice(layer: Layer, blocks: list[Block]) -> None:
        for block in blocks:
            if blocks.count(block) > 1:
                raise AssemblyError(f"{layer.name}: {block!r} has two writers in one sub-layer")

    def shape(self, looped: bool = True) -> TransformerShape:
        """The shape of the compiled transformer; unlooped, the layers are repeated instead.

        Layers with heads name their kind of attention where the construction is mixed, and only there.
        """
        written, loops = (self.layers, self.loops) if looped else (self._unrolled, 1)
        mixed = self.kind == "mixed"
        return TransformerShape(
            width=self.stream.width,
            layers=tuple(
                dataclasses.replace(layer.shape, attention=layer.kind) if mixed else layer.shape
                for layer in written
            ),
            loops=loops,
            attention="softmax" if self.kind == "mixed" else self.kind,
            divide_by_tokens=self.divide_by_tokens,
            order=None if self.order is None or not looped else self.sequence,
        )

    @property
    def _unrolled(self) -> tuple[Layer, ...]:
        """Every layer that a token passes through, as often as it does."""
        return tuple(self.layers[number] for number in self.sequence) * self.loops

    def to_transformer(
        self, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu", looped: bool = True
    ) -> Transformer:
        """The dense weights, as the plain runtime transformer.

        Args:
            dtype, device: of the parameters.
            looped: one copy of every layer, however often it is applied; otherwise a copy for each time.
        """
        transformer = Transformer(self.shape(looped), dtype, drawn=False)
        written = self.layers if looped else self._unrolled
        with torch.no_grad():
            for parameter in transformer.parameters():
                parameter.zero_()
            for layer, module in zip(written, transformer.layers, strict=True):
                self._fill(layer, module)  # pyright: ignore[reportArgumentType]
        return transformer.to(device)

    def _fill(self, layer: Layer, module: TransformerLayer) -> None:
        if module.attention is not None:
            self._fill_heads(layer.all_heads, module.attention)
            if isinstance(module.attention.norm, torch.nn.RMSNorm):
                module.attention.norm.weight.fill_(self.stream.width**-0.5)
        if module.mlp is not None:
            start = 0
            for units in (u for part in layer.mlp for u in part.units()):
                at = torch.arange(start, start + len(units.reads))
                dtype = module.mlp.w1.dtype
                module.mlp.w1[torch.as_tensor(units.reads), at] = torch.as_tensor(units.gains).to(dtype)
                if len(units.second_reads):
                    gains = torch.as_tensor(units.second_gains).to(dtype)
                    module.mlp.w1[torch.as_tensor(units.second_reads), at] = gains
                module.mlp.b1[at] = torch.as_tensor(units.biases).to(dtype)
                module.mlp.w2[at, torch.as_tensor(units.writes)] = torch.as_tensor(units.weights).to(dtype)
                for column, amount in units.offsets.items():
                    module.mlp.b2[column] += amount
                start += len(units.reads)

    def _fill_heads(self, heads: tuple[Head, ...], weights: SelfAttention) -> None:
        """Every weight at once: indexing costs more than the numbers."""
        queries, keys, values, outputs = ([] for _ in range(4))
        for index, head in enumerate(heads):
            at = 0
            for term in head.score.terms:
                query = self.stream.one if term.query is None else term.query
                places = range(at, at + term.rank)
                queries += [(index, c, place, 1.0) for c, place in zip(query.columns, places, strict=True)]
                keys += [
                    (index, c, place, term.coefficient)
                    for c, place in zip(term.key.columns, places, strict=True)
                ]
                at += term.rank
            values += [(index, c, place, 1.0) for place, c in enumerate(head.read.columns)]
            outputs += [(index, place, c, head.scale) for place, c in enumerate(head.write.columns)]
        for weight, entries in (
            (weights.query, queries),
            (weights.key, keys),
            (weights.value, values),
            (weights.output, outputs),
        ):
            if entries:  # a score of no terms is 0
                *places, numbers = zip(*entries, strict=True)
                weight[tuple(map(torch.tensor, places))] = torch.tensor(numbers, dtype=torch.float64).to(
                    weight
                )

    def resources(self) -> Resources:
        """Layers, heads, widths, parameters and weight norms of the compiled transformer."""
        return count_resources(self.to_transformer())

    def explain(self) -> str:
        """The layers as a table: layer, part, formula, what is read and written, approximation error."""
        rows: list[tuple[str, ...]] = []
        for number, layer in enumerate(self.layers, 1):
            label = f"{number} {layer.name}"
            for index, head in enumerate(layer.all_heads, 1):
                constant = ("one",) if head.score.has_key_only_terms else ()
                names = (*(b.name for b in (*head.score.reads, head.read)), *constant)
                reads = " ".join(dict.fromkeys(names))
                rows.append(
                    (label, f"head {index}", f"{head.write.name} += {head}", reads, repr(head.write), "exact")
                )
                label = ""
            if layer.unit_output:
                names = " ".join(dict.fromkeys(repr(head.write) for head in layer.all_heads))
                rows.append((label, "norm", "the heads' sum / its Euclidean norm", "", names, "exact"))
            for part in layer.mlp:
                targets = part.writes or part.clears
                names = " ".join(repr(block) for block in targets)
                error = f"{part.approximation_error:.1e}" if part.approximation_error else "exact"
                sign = "=" if not part.writes or set(part.writes) <= set(part.clears) else "+="
                formula = f"{targets[0].name} {sign} {part}"
                rows.append((label, "MLP", formula, " ".join(b.name for b in part.reads), names, error))
                label = ""
        passes = f", applied {self.loops} times" if self.loops != 1 else ""
        order = "" if self.order is None else f"\nlayers in the order {outline(self.order)}"
        head = f"{self.name}: {self.source}\nstream of width {self.stream.width}{passes}{order}\n"
        return head + text_table(("layer", "part", "formula", "reads", "writes", "error"), rows)

    def plot_weights(self) -> list[Figure]:
        """One figure a layer: each dense matrix with the named blocks on its axes. Needs matplotlib."""
        from constructions.language import plotting  # the rest of the room works without matplotlib

        names = [layer.name for layer in self.layers]
        return plotting.plot_weights(self.name, self.stream, names, self.to_transformer())
