"""What a construction takes, counted from its formulas: no matrix is made, however large it would be."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from constructions.language.assembly import Construction, Layer
from constructions.language.heads import Head


@dataclass(frozen=True)
class Counts:
    """Counts of one construction.

    Attributes:
        layers: layers that a token passes through, loops counted. heads: the largest number in a layer.
        head_dim, width, hidden: largest head dimension, stream width, largest hidden width.
        parameters: numbers stored; loops share them. nonzeros: of them not 0.
        largest: largest absolute weight. spectral_norm: largest of a matrix; in attention, of one head's.
    """

    layers: int
    heads: int
    head_dim: int
    width: int
    hidden: int
    parameters: int
    nonzeros: int
    largest: float
    spectral_norm: float


def count(construction: Construction) -> Counts:
    """The counts of ``construction``, equal to those of the compiled transformer."""
    width = construction.stream.width
    shapes = [layer.shape for layer in construction.layers]
    parameters = sum(
        4 * s.heads * width * s.head_dim
        + s.output_norm * width
        + (2 * width + 1) * s.hidden
        + width * (s.hidden > 0)
        for s in shapes
    )
    each = [_weights(layer, width) for layer in construction.layers]
    heads = [head for layer in construction.layers for head in layer.all_heads]
    return Counts(
        layers=len(construction.sequence) * construction.loops,
        heads=max(s.heads for s in shapes),
        head_dim=max(s.head_dim for s in shapes),
        width=width,
        hidden=max(s.hidden for s in shapes),
        parameters=parameters,
        nonzeros=sum(nonzeros for nonzeros, _ in each),
        largest=max(largest for _, largest in each),
        spectral_norm=max(
            max(_head_norm(head) for head in heads),
            max(_mlp_norm(layer, width) for layer in construction.layers),
        ),
    )


def _weights(layer: Layer, width: int) -> tuple[int, float]:
    """Weights of a layer that are not 0, and the largest of them."""
    sizes = [1.0]
    nonzeros = width if layer.unit_output else 0
    for head in layer.all_heads:
        nonzeros += sum(term.rank * (1 + (term.coefficient != 0)) for term in head.score.terms)
        nonzeros += head.read.width * (1 + (head.scale != 0))
        sizes += [abs(head.scale), *(abs(term.coefficient) for term in head.score.terms)]
    offsets: dict[int, float] = {}
    for units in (u for part in layer.mlp for u in part.units()):
        for values in (units.gains, units.second_gains, units.biases, units.weights):
            nonzeros += int(np.count_nonzero(values))
            sizes.append(float(np.abs(values).max(initial=0.0)))
        for column, amount in units.offsets.items():
            offsets[column] = offsets.get(column, 0.0) + amount
    nonzeros += sum(amount != 0 for amount in offsets.values())
    return nonzeros, max(sizes + [abs(amount) for amount in offsets.values()])


def _head_norm(head: Head) -> float:
    """Every column of W_Q, W_K, W_V and every row of W_O has one entry, so the Gram matrices are diagonal."""
    queries: dict[int, float] = defaultdict(float)
    keys: dict[int, float] = defaultdict(float)
    for term in head.score.terms:
        for place, column in enumerate(term.key.columns):
            queries[-1 if term.query is None else term.query.start + place] += 1.0  # -1: the block `one`
            keys[column] += term.coefficient**2
    return max(1.0, abs(head.scale), *(value**0.5 for value in (*queries.values(), *keys.values())))


def _mlp_norm(layer: Layer, width: int) -> float:
    """The larger of |W_1|_2 and |W_2|_2: units write one column, and read one or two."""
    gram = {"reads": np.zeros(width), "writes": np.zeros(width)}
    crossed: dict[tuple[int, int], float] = defaultdict(float)
    for u in (u for part in layer.mlp for u in part.units()):
        np.add.at(gram["reads"], u.reads, u.gains**2)
        np.add.at(gram["writes"], u.writes, u.weights**2)
        if len(u.second_reads):
            np.add.at(gram["reads"], u.second_reads, u.second_gains**2)
            for a, b, size in zip(u.reads, u.second_reads, u.gains * u.second_gains, strict=True):
                crossed[int(a), int(b)] += float(size)
    largest = max(entries.max() for entries in gram.values())
    pairs = {pair: size for pair, size in crossed.items() if size}
    if pairs:  # only columns that one unit reads together have products: their part of W_1 W_1^T
        columns = sorted({column for pair in pairs for column in pair})
        place = {column: index for index, column in enumerate(columns)}
        products = np.diag(gram["reads"][columns])
        for (a, b), size in pairs.items():
            products[place[a], place[b]] += size
            products[place[b], place[a]] += size
        largest = max(largest, np.linalg.eigvalsh(products)[-1])
    return float(largest**0.5)
