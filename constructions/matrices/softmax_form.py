"""A construction of linear ReLU pairs in softmax attention.

A pair ``relu(a) - relu(-a) = a`` applies its score. With a sink token, 1 in ``sink`` and 0 in every block of
the construction, the 2 p softmax heads with the scores ``+-k eps a + c sink``, k = 1..p, of scales
``+-e^c alpha_k / (2 eps)`` apply it up to two errors (constructions.tensor_power.sinh_pairs): for scores a_j,
values v_j at n tokens beside the sink, ``A = max |a_j|``, ``kappa = sum_k |alpha_k| k``, what is written is
off by at most

    approximation   |sum_j (D_p(a_j) - a_j) v_j|                                      O(eps^2p)
    leakage         kappa e^(2 p eps A - c) sum_j |v_j| (n |a_j| + sum_l |a_l|)
    rounding        sum_k |alpha_k| / eps e^(k eps A) (e^(2 w_k) - 1 + gamma) sum_j |v_j|

w_k the error of ``score - c`` and of exp. Where scores are of other sizes than 1, ``reach`` bounds those of
each pair, and its eps is divided by that. The MLPs stay as they are. The blocks of the construction keep
their columns; ``sink`` comes after them, and ``one``, 1 at every token, unless the construction has it: its
own ``one`` is 0 at the sink, as are all its blocks. So they stay: the sink gives itself a score beside which
all others underflow, reads its own zeros and writes exact zeros. What it held, e^c / eps would enlarge.

Layers that are softmax attention already get the scores

    score_ij - hide <one_i, sink_j> + 2 hide <sink_i, sink_j>

For a token they are those of the construction at the tokens and ``-hide`` at the sink, which may have up to
e^-hide of the weight of a key of score 0. The sink gives itself ``hide`` or more and the tokens 0: it reads
the 0 that it holds, and ``n e^-hide max |read|`` at most. What an MLP leaves at the sink, f(0), joins these
scores; a pair may not read it.

Source: lemmas 1 to 4 of paper_notes/softmax_is_enough.md.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from constructions.language.arguments import check_number
from constructions.language.assembly import Construction, Layer
from constructions.language.gates import Gated
from constructions.language.heads import Head, HeadSum, SoftmaxHead
from constructions.language.mlp import MLPPart
from constructions.language.rounding import EXP_ULPS, gamma, number, unit_roundoff
from constructions.language.scores import Score, dot
from constructions.language.shown import short_repr
from constructions.language.stream import Block, Stream
from constructions.language.structured.partitions import Places, Tokens, Value
from constructions.tensor_power.sinh_pairs import pair_weights, product_error, weight_moment
from constructions.tensor_power.softmax_bounds import Heads, score_rounding

UNSEEN = 1000.0
"""``e^-1000`` is an exact 0 in every dtype."""

Reach = Callable[[Score], float]
"""A bound on the absolute scores of a pair."""


def softmax_form(
    construction: Construction, heads: Heads, hide: float | None = None, reach: Reach | None = None
) -> Construction:
    """The same layers with 2 p softmax heads for each pair of ReLU heads.

    Args:
        construction: every ReLU head is one of a linear pair. A block ``one`` that it has is an input of
            width 1, and is used.
        heads: eps, p and the score c of the sink in the layers of pairs.
        hide: needed where layers are softmax attention already: the sink keeps at most ``e^-hide`` of the
            weight that a key of score 0 has there. In floating point that is an exact 0 where ``hide`` plus
            the largest score is large enough for exp to underflow, 746 in float64 and 104 in float32.
        reach: eps of a pair is that of ``heads`` over the reach of its score; 1 unless said.

    Raises:
        ValueError: softmax attention alone, a division by the number of tokens, a lone ReLU head, a norm of
            what attention writes, a block named sink, a block ``one`` that is none as above, a pair that
            reads a block which the MLPs do not leave 0 at the sink, or numbers out of range, also of a reach.
    """
    _check(construction, heads, hide)
    heads = in_float32(heads)
    widths = {block.name: block.width for block in construction.stream.blocks}
    own = {} if "one" in widths else {"one": 1}
    stream = Stream(**widths, sink=1, **own)
    of_others = dot(stream.query.one, stream.key.sink)
    of_itself = dot(stream.query.sink, stream.key.sink)
    # A sink that holds 1 in ``one`` has the first score at itself, too: no matter.
    at_sink = heads.sink * of_others + (heads.sink + UNSEEN) * of_itself
    layers = []
    for layer in construction.layers:
        if layer.kind == "softmax" and hide is not None:
            parts = _hidden(layer, 2 * hide * of_itself - hide * of_others)
        else:
            parts = _layer_heads(layer, at_sink, heads, reach)
        layers.append(dataclasses.replace(layer, heads=parts))
    return dataclasses.replace(
        construction,
        name=f"{construction.name}, softmax",
        stream=stream,
        inputs=(*construction.inputs, stream.sink, *([stream.one] if own else [])),
        layers=tuple(layers),
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


def with_reach(heads: Heads, reach: float) -> Heads:
    """Those of a pair whose scores reach so far: the product of eps and reach stays.

    Raises:
        ValueError: a reach that is not positive and finite.
    """
    check_number(reach=reach)
    if not 0 < reach < math.inf:
        raise ValueError(f"the reach of a score is {reach!r}; it is positive and finite")
    return dataclasses.replace(heads, epsilon=heads.epsilon / reach)


def with_sink(stream: Stream, tokens: Tokens, at: int = 0) -> Tokens:
    """The tokens of the construction and a sink as token ``at``, in the stream of its softmax form.

    The sink holds 0 in every block of the construction; in a ``one`` that the softmax form adds it holds 1.
    Tokens that hold the same stay one class, and the sink is a class of its own.
    """
    mask = tokens.places.mask

    def joined(numbers: Tensor, own: Tensor) -> Tensor:
        return torch.cat([numbers[..., :at], own, numbers[..., at:]], -1)

    places = Places(joined(mask, torch.ones_like(mask[:, :1])))
    known = {value.partition for value in tokens.values.values() if value.partition.kind == "classes"}
    classes = known.pop() if len(known) == 1 else None
    labels, size = torch.zeros_like(mask, dtype=torch.int64), 1
    if classes is not None and classes.labels is not None:
        labels, size = classes.labels, tokens.places.size_of(classes)
    several = places.classes(joined(labels, torch.full_like(labels[:, :1], size)), size + 1)
    values = {}
    for block, value in tokens.values.items():
        kind, numbers = value.partition.kind, value.numbers
        if kind == "each" or (kind == "classes" and value.partition is not classes):
            numbers = tokens.read(block).mT
            values[block] = Value(places.each, joined(numbers, torch.zeros_like(numbers[..., :1])))
        else:
            numbers = numbers.expand(*numbers.shape[:2], size)
            values[block] = Value(several, torch.nn.functional.pad(numbers, (0, 1)))
    like = next(iter(values.values())).numbers
    if stream.one not in values:
        values[stream.one] = Value(places.same, like.new_ones(len(mask), 1, 1))
    alone = like.new_ones(len(mask), 1, 1)
    values[stream.sink] = Value(several, torch.nn.functional.pad(alone, (size, 0)))
    return Tokens(stream, places, values)


@dataclass(frozen=True, eq=False)
class PairError:
    """Parts of the error of what one pair writes, each (B, n, width)."""

    approximation: Tensor
    leakage: Tensor
    rounding: Tensor

    __repr__ = short_repr

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
    counts: Tensor | None = None,
) -> PairError:
    """What the softmax form of one pair can be off by.

    With absolute scores and values it bounds that of all smaller ones: the terms of ``D_p(a) - a`` have one
    sign.

    Args:
        scores: (B, m, n) the a_ij. sizes: (B, m, n) the sums of the absolute values of their terms.
        values: (B, n, w) what is read. scale: of the pair. heads: eps, p, c.
        dtype: in which the layer runs; exact arithmetic with none.
        rank: terms of a score. in_layer: softmax heads that write the block.
        counts: (B, n) how many equal tokens each stands for, 1 unless said; queries may then be fewer.
    """
    heads = in_float32(heads)
    p = heads.pairs
    counts = values.new_ones(values.shape[:-1]) if counts is None else counts.to(values)
    n, values = int(counts.sum(-1).max()), values * counts[..., None]
    size = values.abs()
    series, tail = product_error(scores, heads.epsilon, p)
    approximation = (series @ values).abs() + tail @ size
    a = scores.abs()
    reach = a.amax(-1, keepdim=True)
    decay = torch.exp(2 * p * number(heads.epsilon) * reach - heads.sink)
    leakage = weight_moment(p, 1) * decay * ((n * a + a @ counts[..., None]) @ size)
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
        x = k * number(heads.epsilon) * top
        beside = score_rounding(heads.sink, x.amax(), dtype)
        w = gamma(rank + 4, u) * x + beside + 2 * EXP_ULPS[dtype] * u
        weight = x.exp() * (torch.expm1(2 * w) + after)
        lost = (n + 2) * torch.finfo(dtype).tiny * number(heads.sink).exp()
        total = total + number(abs(alpha)) / heads.epsilon * (weight * mass + lost * (1 + mass))
    return total


def _hidden(layer: Layer, away: Score) -> tuple[Head | HeadSum, ...]:
    """The softmax heads of a layer with ``away`` added to every score."""

    def hidden(head: Head) -> Head:
        return dataclasses.replace(head, score=head.score + away)

    return tuple(
        HeadSum(tuple(map(hidden, part.heads))) if isinstance(part, HeadSum) else hidden(part)
        for part in layer.heads
    )


def _layer_heads(
    layer: Layer, at_sink: Score, heads: Heads, reach: Reach | None
) -> tuple[Head | HeadSum, ...]:
    parts: list[HeadSum] = []
    for part in layer.heads:
        found: list[Head] = []
        for head in linear_pairs(part):
            epsilon = with_reach(heads, 1.0 if reach is None else reach(head.score)).epsilon
            for k, alpha in enumerate(pair_weights(heads.pairs), 1):
                scale = head.scale * math.exp(heads.sink) * float(alpha) / (2 * epsilon)
                for sign in (1.0, -1.0):
                    score = sign * k * epsilon * head.score + at_sink
                    found.append(SoftmaxHead(score, head.read, head.write, sign * scale))
        parts.append(HeadSum(tuple(found)))
    return tuple(parts)


def _check(construction: Construction, heads: Heads, hide: float | None) -> None:
    name, stream = construction.name, construction.stream
    if construction.kind == "softmax" or construction.divide_by_tokens:
        what = "softmax" if construction.kind == "softmax" else "relu over the number of tokens"
        raise ValueError(f"{name} has {what} attention; plain relu attention is needed")
    if "sink" in stream:
        raise ValueError(f"{name} has a block 'sink'; its softmax form adds its own")
    if "one" in stream and (stream.one.width != 1 or stream.one not in construction.inputs):
        raise ValueError(f"{name} has a block {stream.one!r}; its softmax form needs an input of width 1")
    for layer in construction.layers:
        if layer.unit_output:
            raise ValueError(f"{layer.name}: its output is divided by its length, which the sink has not")
        for part in layer.heads if layer.kind == "relu" else ():
            linear_pairs(part)
    check_number(epsilon=heads.epsilon, sink=heads.sink)
    if not 0 < heads.epsilon <= 1 or not 0 <= heads.sink <= 300:
        raise ValueError(
            f"epsilon and sink are {heads.epsilon!r} and {heads.sink!r}; they lie in (0, 1] and [0, 300]"
        )
    if hide is None and construction.kind == "mixed":
        raise ValueError(f"hide is None; {name} has softmax layers: a number is needed")
    if hide is not None:
        check_number(hide=hide)
        if not 0 < hide < math.inf:
            raise ValueError(f"hide is {hide!r}; it is positive and finite")
    _check_sink(construction)


def _check_sink(construction: Construction) -> None:
    """Refuse a pair whose keys or values are not 0 at the sink, which would count as a token there.

    Followed through the passes until nothing changes: a function of the MLP may leave ``f(0)``, unless a gate
    keeps it away; a softmax head writes what the sink holds in ``read``, and a pair writes a sum over tokens
    where its query is not 0.
    """
    constant = [[not _is_zero_at_zero(part) for part in layer.mlp] for layer in construction.layers]
    left: dict[Block, str] = {}
    for _ in range(construction.loops):
        before = dict(left)
        for place in construction.sequence:
            layer = construction.layers[place]
            left |= dict.fromkeys(_written_at_sink(layer, left), layer.name)
            after = {
                block: layer.name
                for part, always in zip(layer.mlp, constant[place], strict=True)
                if always or any(block.whole in left for block in _moved_by(part))
                for block in part.writes
            }
            cleared = {block for part in layer.mlp for block in part.clears}
            left = {block: where for block, where in left.items() if block not in cleared} | after
        if left == before:
            return


def _written_at_sink(layer: Layer, left: dict[Block, str]) -> list[Block]:
    """The blocks in which the heads leave a number at the sink, where the blocks in ``left`` hold one."""
    found = []
    for head in layer.all_heads:
        keys = (head.read, *(term.key for term in head.score.terms))
        for block in keys if layer.kind == "relu" else ():
            if block.whole in left:
                raise ValueError(
                    f"{layer.name}: {head} reads {block!r}, which is not 0 at the sink after "
                    f"{left[block.whole]!r}; the keys and values of a pair are 0 there"
                )
        asks = [term.query.whole for term in head.score.terms if term.query is not None]
        if any(block in left for block in (asks if layer.kind == "relu" else [head.read.whole])):
            found.append(head.write)
    return found


def _moved_by(part: MLPPart) -> tuple[Block, ...]:
    """The blocks of which one is not 0 where the part adds more than at 0: a gate at 0 lets nothing pass."""
    return (part.by,) if isinstance(part, Gated) else part.reads


def _is_zero_at_zero(part: MLPPart) -> bool:
    """Whether the part adds an exact 0 where all that it reads is 0: no unit is on, no constant is added."""
    return all(
        not np.any((units.biases > 0) & (units.weights != 0)) and not any(units.offsets.values())
        for units in part.units()
    )
