"""Parts of an MLP evaluated from their formulas: a function reads one column, a carry copies exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from constructions.language.mlp import Apply, Carry, Gated, MLPPart, Pick
from constructions.language.stream import Block
from constructions.language.structured.arithmetic import Arithmetic, spread
from constructions.language.structured.partitions import Numbers, Places, Value

Step = Callable[[Mapping[Block, Value], Places], Value]
"""(what the blocks hold after attention, the tokens) -> what is added to the block that the part writes."""


def step_of(part: MLPPart, arithmetic: Arithmetic) -> tuple[Block, Step] | None:
    """The block that a part writes, and how; None where it only clears."""
    if isinstance(part, Apply):
        return part.write, _apply(part, arithmetic)
    if isinstance(part, Gated):
        return part.write, _gated(part, arithmetic)
    return None if part.write is None else (part.write, _carry(part, arithmetic))


def _apply(part: Apply, arithmetic: Arithmetic) -> Step:
    function = arithmetic.function(part.function)
    summed = part.write.width != part.read.width
    scale = None if part.scale == 1 else arithmetic.constants(np.array(part.scale))

    def step(values: Mapping[Block, Value], places: Places) -> Value:
        value = values[part.read.whole]
        found = function(_columns(value.numbers, part.read))
        found = found.sum(1, keepdims=True) if summed else found
        return Value(value.partition, found if scale is None else found * scale)

    return step


def _carry(part: Carry, arithmetic: Arithmetic) -> Step:
    scale = None if part.scale == 1 else arithmetic.constants(np.array(part.scale))

    def step(values: Mapping[Block, Value], places: Places) -> Value:
        value = values[part.read.whole]
        numbers = _columns(value.numbers, part.read)
        return Value(value.partition, numbers if scale is None else numbers * scale)

    return step


def _gated(part: Gated, arithmetic: Arithmetic) -> Step:
    """``relu(x + (B e - B)) - relu(-x + (B e - B))``, the function of its units wherever x and e lie."""
    bound = arithmetic.constants(np.array(part.bound))

    def step(values: Mapping[Block, Value], places: Places) -> Value:
        both = values[part.read.whole], values[part.by.whole]
        partition = places.join(*(value.partition for value in both))
        x, e = (
            _columns(spread(value, partition, arithmetic, places), block)
            for value, block in zip(both, (part.read, part.by), strict=True)
        )
        shut = e * bound - bound
        B, _, C = e.shape
        picks = isinstance(part, Pick)
        shut = shut.reshape(B, -1, part.read.width if picks else 1, C)
        found = arithmetic.relu(shut + x[:, None]) - arithmetic.relu(shut - x[:, None])
        return Value(partition, found.sum(2) if picks else found.reshape(B, part.write.width, C))

    return step


def _columns(numbers: Numbers, block: Block) -> Numbers:
    """The columns of a block within those of the whole block."""
    if block.part_of is None:
        return numbers
    first = block.start - block.whole.start
    return numbers[:, first : first + block.width]
