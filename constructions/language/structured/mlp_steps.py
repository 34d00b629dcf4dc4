"""Parts of an MLP evaluated from their formulas: a function reads one column, a carry copies exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from constructions.language.gates import ApplyWhere, Gated
from constructions.language.mlp import Apply, Carry, MLPPart, PartSum
from constructions.language.stream import Block
from constructions.language.structured.arithmetic import Arithmetic, spread
from constructions.language.structured.partitions import Numbers, Partition, Places, Value

Step = Callable[[Mapping[Block, Value], Places], Value]
"""(what the blocks hold after attention, the tokens) -> what is added to the block that the part writes."""


def step_of(part: MLPPart, arithmetic: Arithmetic) -> tuple[Block, Step] | None:
    """The block that a part writes, and how; None where it only clears."""
    if isinstance(part, Apply):
        return part.write, _apply(part, arithmetic)
    if isinstance(part, ApplyWhere):
        return part.write, _apply_where(part, arithmetic)
    if isinstance(part, Gated):
        return part.write, _gated(part, arithmetic)
    if isinstance(part, PartSum):
        return part.writes[0], _sum(part, arithmetic)
    return None if part.write is None else (part.write, _carry(part, arithmetic))


def _apply(part: Apply, arithmetic: Arithmetic) -> Step:
    function = arithmetic.function(part.function)
    scale = None if part.scale == 1 else arithmetic.constants(np.array(part.scale))

    def step(values: Mapping[Block, Value], places: Places) -> Value:
        value = values[part.read.whole]
        partition, x = value.partition, _columns(value.numbers, part.read)
        if part.minus is not None:
            partition = places.join(partition, values[part.minus.whole].partition)
            x, y = (_spread_columns(values, block, partition, places, arithmetic) for block in part.reads)
            B, _, C = y.shape
            x = (x[:, None] - y.reshape(B, -1, part.read.width, C)).reshape(B, -1, C)
        found = function(x)
        if part.summed > 1:
            found = found.reshape(found.shape[0], part.write.width, part.summed, -1).sum(2)
        return Value(partition, found if scale is None else found * scale)

    return step


def _apply_where(part: ApplyWhere, arithmetic: Arithmetic) -> Step:
    function = arithmetic.function(part.function)
    factors = arithmetic.constants(np.array(part.factors)[:, None])

    def step(values: Mapping[Block, Value], places: Places) -> Value:
        partition = places.join(*(values[block.whole].partition for block in part.reads))
        x, e = (_spread_columns(values, block, partition, places, arithmetic) for block in part.reads)
        B, _, C = e.shape
        gates = (e.reshape(B, -1, len(part.factors), C) * factors).sum(2)
        return Value(partition, (gates[:, :, None] * function(x)[:, None]).reshape(B, part.write.width, C))

    return step


def _sum(part: PartSum, arithmetic: Arithmetic) -> Step:
    steps = [found[1] for one in part.parts if (found := step_of(one, arithmetic)) is not None]

    def step(values: Mapping[Block, Value], places: Places) -> Value:
        terms = [one(values, places) for one in steps]
        partition = places.join(*(term.partition for term in terms))
        total, *others = (spread(term, partition, arithmetic, places) for term in terms)
        for other in others:
            total = total + other
        return Value(partition, total)

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

    n, m, w = part.sizes

    def step(values: Mapping[Block, Value], places: Places) -> Value:
        partition = places.join(*(values[block.whole].partition for block in part.reads))
        x, e = (_spread_columns(values, block, partition, places, arithmetic) for block in part.reads)
        B, _, C = e.shape
        shut = (e * bound - bound).reshape(B, n, m, 1, C)
        x = x.reshape(B, 1, m, w, C)
        found = arithmetic.relu(shut + x) - arithmetic.relu(shut - x)
        return Value(partition, found.sum(2).reshape(B, n * w, C))

    return step


def _spread_columns(
    values: Mapping[Block, Value], block: Block, partition: Partition, places: Places, arithmetic: Arithmetic
) -> Numbers:
    return _columns(spread(values[block.whole], partition, arithmetic, places), block)


def _columns(numbers: Numbers, block: Block) -> Numbers:
    """The columns of a block within those of the whole block."""
    if block.part_of is None:
        return numbers
    first = block.start - block.whole.start
    return numbers[:, first : first + block.width]
