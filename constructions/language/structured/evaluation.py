"""Two ways to run the same weights step by step.

Dense: the compiled transformer, the definition. Structured: from the formulas, without the zeros.

    a function of one column      no product over the stream; the piece is found, one multiply-add
    heads                         at the rank of their score; pairs of ReLU heads as linear maps
    equal keys, equal queries     once each: n equal keys of score s get n e^s together
    T slices                      contracted where they stand

Both compute one function: that of the formulas, exactly in exact arithmetic (dense weights store the slopes
of the functions of the MLP rounded), and in floating point the structured one stays within the rounding that
the bounds allow the dense one. Source: paper_notes/structured_evaluation.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar, get_args

from torch import Tensor

from constructions.language.assembly import Construction, Layer
from constructions.language.shown import short_repr
from constructions.language.stream import Block
from constructions.language.structured.arithmetic import Arithmetic, spread
from constructions.language.structured.head_groups import groups_of
from constructions.language.structured.mlp_steps import step_of
from constructions.language.structured.partitions import Places, Pooled, Tokens, Value
from constructions.language.transformer import Transformer

Evaluation = Literal["structured", "dense"]


def check_evaluation(evaluation: object) -> None:
    """Refuse what is no evaluation.

    Raises:
        ValueError: with the value and what is accepted.
    """
    if evaluation not in get_args(Evaluation):
        raise ValueError(f"evaluation is {evaluation!r}; it is {' or '.join(get_args(Evaluation))}")


class State(Protocol):
    """The residual stream between two layers."""

    def read(self, block: Block, first: int | None = None) -> Tensor:
        """(B, N, width) what the tokens hold in a live block, or the first tokens alone."""
        ...

    def pooled(self, blocks: tuple[Block, ...]) -> Pooled:
        """Rows that hold these blocks."""
        ...


S = TypeVar("S", bound=State)


class Evaluator(Protocol[S]):
    """Runs layers on tokens."""

    def start(self, tokens: Tokens) -> S:
        """The state that the first layer sees."""
        ...

    def block(self, state: S) -> list[S]:
        """The state after each layer of one pass."""
        ...

    def states(self, state: S) -> Iterator[S]:
        """The same one by one: a long pass need not hold them all."""
        ...


@dataclass(frozen=True, eq=False)
class DenseState:
    """h (B, N, D); ``mask`` (B, N) or None where all tokens are real."""

    h: Tensor
    mask: Tensor | None

    __repr__ = short_repr

    def read(self, block: Block, first: int | None = None) -> Tensor:
        """(B, N, width)."""
        return self.h[:, :first, block.slice]

    def pooled(self, blocks: tuple[Block, ...]) -> Pooled:
        """The tokens as they are, whatever the blocks."""
        return Pooled(self.h, self.mask, None)


class DenseEvaluator:
    """The compiled transformer."""

    def __init__(self, transformer: Transformer) -> None:
        self.transformer = transformer

    def start(self, tokens: Tokens) -> DenseState:
        """The dense stream."""
        mask = tokens.places.mask
        return DenseState(tokens.dense(), None if bool(mask.all()) else mask)

    def block(self, state: DenseState) -> list[DenseState]:
        """As :meth:`Transformer.block`."""
        return list(self.states(state))

    def states(self, state: DenseState) -> Iterator[DenseState]:
        """As :meth:`Transformer.states`."""
        for h in self.transformer.states(state.h, state.mask):
            yield DenseState(h, state.mask)


class StructuredEvaluator:
    """A construction in an arithmetic, block by block and class by class."""

    def __init__(self, construction: Construction, arithmetic: Arithmetic) -> None:
        self.construction, self.arithmetic = construction, arithmetic
        self.layers = [StructuredLayer(layer, construction, arithmetic) for layer in construction.layers]

    def start(self, tokens: Tokens) -> Tokens:
        """The tokens themselves, padding emptied."""
        values = {block: _emptied(value, self.arithmetic) for block, value in tokens.values.items()}
        return Tokens(tokens.stream, tokens.places, values)

    def block(self, state: Tokens) -> list[Tokens]:
        """The tokens after each layer of one pass."""
        return list(self.states(state))

    def states(self, state: Tokens) -> Iterator[Tokens]:
        """The same one by one."""
        for number in self.construction.sequence:
            layer = self.layers[number]
            state = layer.feed(layer.attend(state))
            yield state


class StructuredLayer:
    """One layer: groups of heads, then parts of the MLP."""

    def __init__(self, layer: Layer, construction: Construction, arithmetic: Arithmetic) -> None:
        self.arithmetic = arithmetic
        self._width, self._divide = construction.stream.width, construction.divide_by_tokens
        self._unit_output = layer.unit_output
        self._groups = [g for part in layer.heads for g in groups_of(part, construction.stream, arithmetic)]
        self._steps = [step for part in layer.mlp if (step := step_of(part, arithmetic)) is not None]
        self._cleared = {block for part in layer.mlp for block in part.clears}

    def attend(self, before: Tokens) -> Tokens:
        """The tokens after attention, which writes blocks that held nothing."""
        places, written = before.places, {}
        for group in self._groups:
            found = group(before.values, places, self._divide)
            written[group.write] = self._sum(written.get(group.write), found, places)
        if self._unit_output:
            partition = places.join(*(value.partition for value in written.values()))
            parts = [spread(value, partition, self.arithmetic, places) for value in written.values()]
            unit = self.arithmetic.unit(parts, self._width, partition.counts)
            written = {b: Value(partition, part) for b, part in zip(written, unit, strict=True)}
        emptied = {block: _emptied(value, self.arithmetic) for block, value in written.items()}
        return Tokens(before.stream, places, before.values | emptied)

    def feed(self, before: Tokens) -> Tokens:
        """The tokens after the MLP, whose parts all read the state after attention."""
        added = [(block, step(before.values, before.places)) for block, step in self._steps]
        values = {block: value for block, value in before.values.items() if block not in self._cleared}
        values |= {
            block: _emptied(value, self.arithmetic) for block, value in added
        }  # one writer, nothing left
        return Tokens(before.stream, before.places, values)

    def _sum(self, one: Value | None, other: Value, places: Places) -> Value:
        if one is None:
            return other
        partition = places.join(one.partition, other.partition)
        a, b = (spread(value, partition, self.arithmetic, places) for value in (one, other))
        return Value(partition, a + b)


def _emptied(value: Value, arithmetic: Arithmetic) -> Value:
    """The value with 0 in the classes that no real token has."""
    partition = value.partition
    if not partition.has_empty or partition.counts is None:
        return value
    return Value(partition, arithmetic.emptied(value.numbers, partition.counts))
