"""A construction of linear ReLU pairs in softmax attention.

A pair ``relu(a) - relu(-a) = a`` applies its score. With a sink token, 1 in ``sink`` and 0 in every block of
the construction, the 2 p softmax heads with the scores ``+-k eps a + c sink``, k = 1..p, of scales
``+-e^c alpha_k / (2 eps)`` apply it up to two errors (constructions.tensor_power.sinh_pairs): for scores a_j,
values v_j at n tokens beside the sink, ``A = max |a_j|``, ``kappa = sum_k |alpha_k| k``, what is written is
off by at most

    approximation   |sum_j (D_p(a_j) - a_j) v_j|                                      O(eps^2p)
    leakage         kappa e^(2 p eps A - c) sum_j |v_j| (n |a_j| + sum_l |a_l|)
    rounding        sum_k |alpha_k| / eps e^(k eps A) (e^(2 w_k) - 1 + gamma) sum_j |v_j|

w_k the error of ``score - c`` and of exp. The MLPs stay as they are. The blocks of the construction keep
their columns; ``sink`` and ``one``, 1 at every token, come after them.

Source: lemmas 1 to 4 of paper_notes/softmax_is_enough.md.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.language.arguments import check_number
from constructions.language.assembly import Construction, Layer
from constructions.language.heads import Head, HeadSum, SoftmaxHead
from constructions.language.rounding import gamma, unit_roundoff
from constructions.language.scores import dot
from constructions.language.stream import Operand, Stream
from constructions.language.structured.partitions import Places, Tokens, Value
from constructions.tensor_power.sinh_pairs import pair_weights, product_error, weight_moment
from constructions.tensor_power.softmax_bounds import EXP_ULPS, Heads, score_rounding


def softmax_form(construction: Construction, heads: Heads) -> Construction:
    """The same layers with 2 p softmax heads for each pair of ReLU heads.

    Args:
        construction: every ReLU head is one of a linear pair; blocks named other than ``sink`` and ``one``.
        heads: eps, p and the score c of the sink.

    Raises:
        ValueError: softmax heads, a division by the number of tokens, a lone ReLU head, a block named sink
            or one, or numbers out of range.
    """
    _check(construction, heads)
    heads = in_float32(heads)
    stream = Stream(**{block.name: block.width for block in construction.stream.blocks}, sink=1, one=1)
    layers = tuple(
        dataclasses.replace(layer, heads=_layer_heads(layer, stream, heads)) for layer in construction.layers
    )
    return dataclasses.replace(
        construction,
        name=f"{construction.name}, softmax",
        stream=stream,
        inputs=(*construction.inputs, stream.sink, stream.one),
        layers=layers,
    )


def in_float32(heads: Heads) -> Heads:
    """With the score of the sink rounded to float32: the same number in every dtype."""
    return dataclasses.replace(heads, sink=float(torch.tensor(heads.sink, dtype=torch.float32)))


def linear_pairs(part: Head | HeadSum) -> list[Head]:
    """The first head of every pair ``relu(a) - relu(-a)``.

    Raises:
        ValueError: a head without its partner.
    """
    left = list(part.heads) if isinstance(part, HeadSum) else [part]
    found: list[Head] = []
    while left:
        head = left.pop(0)
        partner = dataclasses.replace(head, score=-head.score, scale=-head.scale)
        if partner not in left:
            raise ValueError(
                f"{head} writes {head.write!r} alone; softmax takes linear pairs relu(a) - relu(-a) only"
            )
        left.remove(partner)
        found.append(head)
    return found


def with_sink(stream: Stream, tokens: Tokens) -> Tokens:
    """The tokens of the construction with a sink before them, in the stream of its softmax form."""
    mask = tokens.places.mask
    places = Places(torch.cat([torch.ones_like(mask[:, :1]), mask], 1))
    values = {}
    for block in tokens.values:
        numbers = tokens.read(block).mT
        values[block] = Value(places.each, torch.cat([torch.zeros_like(numbers[..., :1]), numbers], -1))
    like = next(iter(values.values())).numbers
    real = places.mask[:, None].to(like)
    values[stream.one] = Value(places.each, real)
    values[stream.sink] = Value(places.each, torch.cat([real[..., :1], 0 * real[..., 1:]], -1))
    return Tokens(stream, places, values)


@dataclass(frozen=True, eq=False)
class PairError:
    """Parts of the error of what one pair writes, each (B, n, width)."""

    approximation: Tensor
    leakage: Tensor
    rounding: Tensor

    @property
    def total(self) -> Tensor:
        """Their sum."""
        return self.approximation + self.leakage + self.rounding


def pair_error(
    scores: Tensor,
    sizes: Tensor,
    values: Tensor,
    scale: float,
    heads: Heads,
    dtype: torch.dtype | None = None,
    rank: int = 1,
    in_layer: int = 2,
) -> PairError:
    """What the softmax form of one pair can be off by.

    Args:
        scores: (B, n, n) the a_ij. sizes: (B, n, n) the sums of the absolute values of their terms.
        values: (B, n, w) what is read. scale: of the pair. heads: eps, p, c.
        dtype: in which the layer runs; exact arithmetic with none.
        rank: terms of a score. in_layer: softmax heads that write the block.
    """
    heads = in_float32(heads)
    p, n = heads.pairs, scores.shape[-1]
    size = values.abs()
    series, tail = product_error(scores, heads.epsilon, p)
    approximation = (series @ values).abs() + tail @ size
    a = scores.abs()
    reach = a.amax(-1, keepdim=True)
    decay = torch.exp(2 * p * heads.epsilon * reach - heads.sink)
    leakage = weight_moment(p, 1) * decay * ((n * a + a.sum(-1, keepdim=True)) @ size)
    rounding = torch.zeros_like(leakage)
    if dtype is not None:
        top = sizes.amax(-1, keepdim=True)
        rounding = _rounding(top, size.sum(-2, keepdim=True), heads, dtype, n, rank, in_layer)
    return PairError(*(abs(scale) * part for part in (approximation, leakage, rounding)))


def _rounding(
    top: Tensor, mass: Tensor, heads: Heads, dtype: torch.dtype, n: int, rank: int, in_layer: int
) -> Tensor:
    """Every weight errs by ``e^(2 w) - 1`` (its own exp and that of the sum) and the operations after it.

    w: the score's terms, ``gamma_{rank+4}``; ``score - max`` rounded beside c; exp. Assumed as in lemma 4: a
    runtime that subtracts the largest score by one correctly rounded subtraction. What is lost to underflow
    of a weight is below the smallest normal number, times e^c.
    """
    u = unit_roundoff(dtype)
    after = gamma(2 * n + in_layer + 20, u)
    total = torch.zeros_like(top * mass)
    for k, alpha in enumerate(pair_weights(heads.pairs), 1):
        x = k * heads.epsilon * top
        beside = score_rounding(heads.sink, float(x.max()), dtype)
        w = gamma(rank + 4, u) * x + beside + 2 * EXP_ULPS[dtype] * u
        weight = x.exp() * (torch.expm1(2 * w) + after)
        lost = (n + 2) * torch.finfo(dtype).tiny * math.exp(heads.sink)
        total = total + abs(float(alpha)) / heads.epsilon * (weight * mass + lost * (1 + mass))
    return total


def _layer_heads(layer: Layer, stream: Stream, heads: Heads) -> tuple[Head | HeadSum, ...]:
    at_sink = heads.sink * dot(Operand(stream.one, "query"), Operand(stream.sink, "key"))
    parts: list[HeadSum] = []
    for part in layer.heads:
        found: list[Head] = []
        for head in linear_pairs(part):
            for k, alpha in enumerate(pair_weights(heads.pairs), 1):
                scale = head.scale * math.exp(heads.sink) * float(alpha) / (2 * heads.epsilon)
                for sign in (1.0, -1.0):
                    score = sign * k * heads.epsilon * head.score + at_sink
                    found.append(SoftmaxHead(score, head.read, head.write, sign * scale))
        parts.append(HeadSum(tuple(found)))
    return tuple(parts)


def _check(construction: Construction, heads: Heads) -> None:
    if construction.kind != "relu" or construction.divide_by_tokens:
        what = "softmax" if construction.kind != "relu" else "relu over the number of tokens"
        raise ValueError(f"{construction.name} has {what} attention; plain relu attention is needed")
    for name in ("sink", "one"):
        if name in construction.stream:
            raise ValueError(f"{construction.name} has a block {name!r}; its softmax form adds its own")
    for layer in construction.layers:
        if layer.unit_output:
            raise ValueError(f"{layer.name}: its output is divided by its length, which the sink has not")
        for part in layer.heads:
            linear_pairs(part)
    check_number(epsilon=heads.epsilon, sink=heads.sink)
    if not 0 < heads.epsilon <= 1 or not 0 <= heads.sink <= 300:
        raise ValueError(
            f"epsilon and sink are {heads.epsilon!r} and {heads.sink!r}; they lie in (0, 1] and [0, 300]"
        )
