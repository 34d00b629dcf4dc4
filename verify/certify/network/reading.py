"""The nonzero weights of a transformer, as lists: what an interpreter runs and what two readings agree on.

    score_ij = sum_e <query form e, h_i> <key form e, h_j>,   read_ie = sum_j A_ij <value form e, h_j>
    h_i += sum_e read_ie output form e,                       h += sum_m relu(<reads m, h> + b_m) writes m

A form is a sparse vector over the columns of the stream. Weights are floats, so they are read exactly.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from constructions.language.heads import Attention
from constructions.language.transformer import MLP, SelfAttention, Transformer, TransformerLayer

Form = tuple[tuple[int, float], ...]
"""(column, weight), columns increasing, no weight 0."""

Pair = tuple[Form, Form]
"""One head dimension: what it reads on one side and on the other."""


class HeadWeights(NamedTuple):
    """``scores``: (query form, key form) a head dimension; ``reads``: (value form, output form)."""

    scores: tuple[Pair, ...]
    reads: tuple[Pair, ...]


class Unit(NamedTuple):
    """``relu(<reads, h> + bias)``, written times ``writes``."""

    reads: Form
    bias: float
    writes: Form


@dataclass(frozen=True)
class LayerWeights:
    """One layer.

    Attributes:
        kind: of attention; None without heads. heads, units: in the order in which they stand.
        gain: of the norm of what the attention writes; None without.
        offsets: the second bias of the MLP.
    """

    kind: Attention | None
    heads: tuple[HeadWeights, ...]
    gain: Form | None
    units: tuple[Unit, ...]
    offsets: Form


@dataclass(frozen=True)
class NetworkWeights:
    """A whole transformer: what ``sequence`` names is one pass, applied ``loops`` times."""

    width: int
    layers: tuple[LayerWeights, ...]
    sequence: tuple[int, ...]
    loops: int
    divide_by_tokens: bool
    score_scale: float


def read_weights(transformer: Transformer) -> NetworkWeights:
    """From the dense weights, of any floating-point type.

    Raises:
        ValueError: GELU, a norm before the sub-layers, causal attention, or a weight that is not finite.
    """
    shape = transformer.shape
    for name, value, accepted in (
        ("activation", shape.activation, "relu"),
        ("norm", shape.norm, "none"),
        ("causal", shape.causal, False),
    ):
        if value != accepted:
            raise ValueError(f"{name} is {value!r}; balls interpret {accepted!r} alone")
    for name, weight in transformer.named_parameters():
        if not bool(weight.isfinite().all()):
            raise ValueError(f"{name} holds a number that is not finite")
    layers: list[TransformerLayer] = list(transformer.layers)  # pyright: ignore[reportAssignmentType]
    return NetworkWeights(
        width=shape.width,
        layers=tuple(_layer(layer) for layer in layers),
        sequence=shape.sequence,
        loops=shape.loops,
        divide_by_tokens=shape.divide_by_tokens,
        score_scale=shape.score_scale,
    )


def _layer(layer: TransformerLayer) -> LayerWeights:
    attention = layer.attention
    units, offsets = ((), ()) if layer.mlp is None else _mlp(layer.mlp)
    if attention is None:
        return LayerWeights(None, (), None, units, offsets)
    gain = _vector(attention.norm.weight) if isinstance(attention.norm, torch.nn.RMSNorm) else None
    return LayerWeights(attention.kind, _heads(attention), gain, units, offsets)


def _heads(weights: SelfAttention) -> tuple[HeadWeights, ...]:
    into = [_rows(weight.mT.flatten(0, 1)) for weight in (weights.query, weights.key, weights.value)]
    query, key, value, output = (*into, _rows(weights.output.flatten(0, 1)))
    size = weights.layer.head_dim
    heads = (range(head * size, (head + 1) * size) for head in range(weights.layer.heads))
    return tuple(HeadWeights(_pairs(query, key, places), _pairs(value, output, places)) for places in heads)


def _pairs(one: dict[int, Form], other: dict[int, Form], places: range) -> tuple[Pair, ...]:
    """Of the head dimensions at which a weight stands on either side."""
    return tuple((one.get(e, ()), other.get(e, ())) for e in places if e in one or e in other)


def _mlp(mlp: MLP) -> tuple[tuple[Unit, ...], Form]:
    reads, writes, biases = _rows(mlp.w1.mT), _rows(mlp.w2), mlp.b1.detach().double().tolist()
    units = (Unit(reads.get(m, ()), bias, writes.get(m, ())) for m, bias in enumerate(biases))
    return tuple(unit for unit in units if any(unit)), _vector(mlp.b2)


def _rows(weight: Tensor) -> dict[int, Form]:
    """Each row of a matrix that is not 0, by its number."""
    weight = weight.detach()
    rows, columns = weight.nonzero(as_tuple=True)
    entries = list(zip(columns.tolist(), weight[rows, columns].double().tolist(), strict=True))
    found, sizes = (x.tolist() for x in rows.unique_consecutive(return_counts=True))
    ends = itertools.accumulate(sizes)
    return {row: tuple(entries[end - size : end]) for row, size, end in zip(found, sizes, ends, strict=True)}


def _vector(weight: Tensor) -> Form:
    return tuple((c, x) for c, x in enumerate(weight.detach().double().tolist()) if x)
