"""The weights that a construction's formulas say, read from heads and MLP parts one number at a time.

This is a second reading: nothing of what compiles them (``Units``, dense matrices) is used. A number is the
float64 that the formula gives, rounded to the dtype asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from constructions.language.assembly import Construction, Layer
from constructions.language.gates import ApplyWhere, Gated
from constructions.language.heads import Head
from constructions.language.mlp import Apply, Carry, MLPPart, PartSum
from constructions.language.stream import Block
from verify.certify.network.reading import Form, HeadWeights, LayerWeights, NetworkWeights, Pair, Unit

Round = Callable[[float], float]


def read_formulas(construction: Construction, dtype: torch.dtype = torch.float64) -> NetworkWeights:
    """What :func:`verify.certify.network.reading.read_weights` finds in the transformer compiled from it."""
    known: dict[float, float] = {}

    def rounded(x: float) -> float:
        if x not in known:
            known[x] = torch.tensor(x, dtype=torch.float64).to(dtype).item()
        return known[x]

    return NetworkWeights(
        width=construction.stream.width,
        layers=tuple(_layer(construction, layer, rounded, dtype) for layer in construction.layers),
        sequence=construction.sequence,
        loops=construction.loops,
        divide_by_tokens=construction.divide_by_tokens,
        score_scale=1.0,
    )


def _layer(construction: Construction, layer: Layer, rounded: Round, dtype: torch.dtype) -> LayerWeights:
    width = construction.stream.width
    root = rounded(width**-0.5)
    written = [unit for part in layer.mlp for unit in _part(part)]
    units = (
        Unit(_form(unit.reads, rounded), rounded(unit.bias), _form(unit.writes, rounded)) for unit in written
    )
    return LayerWeights(
        kind=layer.kind,
        heads=tuple(_head(construction, head, rounded) for head in layer.all_heads),
        gain=tuple((column, root) for column in range(width)) if layer.unit_output else None,
        units=tuple(unit for unit in units if any(unit)),
        offsets=_offsets(layer, dtype),
    )


def _form(entries: Form, rounded: Round) -> Form:
    return tuple(sorted((column, number) for column, x in entries if (number := rounded(x))))


def _head(construction: Construction, head: Head, rounded: Round) -> HeadWeights:
    scores: list[Pair] = []
    for term in head.score.terms:
        query: Block = construction.stream.one if term.query is None else term.query
        for one, other in zip(query.columns, term.key.columns, strict=True):
            scores.append((((one, 1.0),), _form(((other, term.coefficient),), rounded)))
    reads = (
        (((one, 1.0),), _form(((other, head.scale),), rounded))
        for one, other in zip(head.read.columns, head.write.columns, strict=True)
    )
    return HeadWeights(tuple(scores), tuple(reads))


def _part(part: MLPPart) -> Iterator[Unit]:
    if isinstance(part, PartSum):
        for one in part.parts:
            yield from _part(one)
    elif isinstance(part, Carry):
        if part.write is not None:
            yield from _carried(part.read, part.write, part.scale)
        for block in part.clears:
            yield from _carried(block, block, -1.0)
    elif isinstance(part, Apply):
        yield from _applied(part)
        for block in part.clears:
            yield from _carried(block, block, -1.0)
    elif isinstance(part, ApplyWhere):
        yield from _applied_where(part)
    else:
        yield from _gated(part)


def _hinges(part: Apply | ApplyWhere) -> list[tuple[float, float, float]]:
    """(t, s, c) of ``f(x) = offset + sum c relu(s (x - t))``."""
    f = part.function
    numbers = (f.hinge_knots.tolist(), f.hinge_signs.tolist(), f.hinge_weights.tolist())
    return list(zip(*numbers, strict=True))


def _carried(read: Block, write: Block, scale: float) -> Iterator[Unit]:
    """``scale relu(x) - scale relu(-x)``."""
    for one, other in zip(read.columns, write.columns, strict=True):
        yield Unit(((one, 1.0),), 0.0, ((other, scale),))
        yield Unit(((one, -1.0),), 0.0, ((other, -scale),))


def _applied(part: Apply) -> Iterator[Unit]:
    """``scale c relu(s (x - y - t))``, y of ``minus``."""
    for entry in range(part.entries):
        x = part.read.start + entry % part.read.width
        target = part.write.start + entry // part.summed
        for t, s, c in _hinges(part):
            less = () if part.minus is None else ((part.minus.start + entry, -s),)
            yield Unit(((x, s), *less), -s * t, ((target, part.scale * c),))


def _applied_where(part: ApplyWhere) -> Iterator[Unit]:
    """``factor c relu(s (x - t) + B e - B)`` and ``factor offset relu(e)``; B closes the hinge at e = 0."""
    f, factors, width = part.function, part.factors, part.read.width
    low, high = f.inputs
    for gate in range(part.by.width):
        e, factor = part.by.start + gate, factors[gate % len(factors)]
        for entry in range(width):
            target = part.write.start + gate // len(factors) * width + entry
            for t, s, c in _hinges(part):
                shut = max(t - low if s < 0 else high - t, 0.0)
                reads = ((part.read.start + entry, s), (e, shut))
                yield Unit(reads, -s * t - shut, ((target, factor * c),))
            yield Unit(((e, 1.0),), 0.0, ((target, factor * f.offset),))


def _gated(part: Gated) -> Iterator[Unit]:
    """``relu(x + B e - B) - relu(-x + B e - B)`` for ``write_(n, q) += by_(n, m) read_(m, q)``."""
    rows, inner, columns = part.sizes
    for n in range(rows):
        for m in range(inner):
            for q in range(columns):
                x, e = part.read.start + m * columns + q, part.by.start + n * inner + m
                for s in (1.0, -1.0):
                    target = part.write.start + n * columns + q
                    yield Unit(((x, s), (e, part.bound)), -part.bound, ((target, s),))


def _offsets(layer: Layer, dtype: torch.dtype) -> Form:
    """The second bias: of a part in float64, parts added up in the dtype, as compiling does."""
    total: dict[int, torch.Tensor] = {}
    parts = (one for part in layer.mlp for one in (part.parts if isinstance(part, PartSum) else (part,)))
    for part in parts:
        if isinstance(part, Apply):
            for column in part.write.columns:
                amount = 0.0
                for _ in range(part.summed):
                    amount += part.scale * part.function.offset
                total[column] = total.get(column, torch.zeros((), dtype=dtype)) + amount
    return tuple(sorted((column, x) for column, number in total.items() if (x := number.double().item())))
