"""What a construction takes, counted from its formulas: no matrix is made, however large it would be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from constructions.construction import Construction, Layer


@dataclass(frozen=True)
class Counts:
    """Counts of one construction.

    Attributes:
        layers: layers that a token passes through, loops counted. heads: the largest number in a layer.
        head_dim, width, hidden: largest head dimension, stream width, largest hidden width.
        parameters: numbers stored; loops share them. nonzeros: of them not 0.
        largest: largest absolute weight.
    """

    layers: int
    heads: int
    head_dim: int
    width: int
    hidden: int
    parameters: int
    nonzeros: int
    largest: float


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
    return Counts(
        layers=len(shapes) * construction.loops,
        heads=max(s.heads for s in shapes),
        head_dim=max(s.head_dim for s in shapes),
        width=width,
        hidden=max(s.hidden for s in shapes),
        parameters=parameters,
        nonzeros=sum(nonzeros for nonzeros, _ in each),
        largest=max(largest for _, largest in each),
    )


def _weights(layer: Layer, width: int) -> tuple[int, float]:
    """Weights of a layer that are not 0, and the largest of them."""
    sizes = [1.0]
    nonzeros = width if layer.unit_output else 0
    for head in layer.all_heads:
        nonzeros += 2 * head.score.rank + 2 * head.read.width
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
