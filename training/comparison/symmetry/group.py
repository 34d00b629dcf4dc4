"""Other weights of the same function: what a distance between two networks has to ignore.

    heads of a layer               permuted
    W_Q, W_K of a head             W_Q S, W_K S^-T             S invertible
    W_V, W_O of a head             W_V T, T^-1 W_O             T invertible
    hidden units                   permuted; with ReLU also (w_1, b_1, w_2) -> (c w_1, c b_1, w_2 / c), c > 0
    component slots of the stream  coordinates of some blocks of one width permuted together
    component tokens of a TGMM     permuted, and the components of its estimate with them

Not among them, and so not ignored by any distance here: rotations of the stream, what LayerNorm removes, and
pairs of units whose sum is linear (relu(a) - relu(-a) = a).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from constructions.language.shown import short_repr
from constructions.language.stream import Block
from constructions.language.transformer import MLP, SelfAttention, Transformer, TransformerLayer
from training.interpretability.circuit import transformer_of
from training.model.balance import check_softmax, layers_of, scale_units
from training.model.tgmm import TGMM

CONDITION = 10.0
"""Largest condition number of a random change of basis, and largest ratio of two random scales of units."""


@dataclass(frozen=True, eq=False)
class Copy:
    """An equal function with other weights: transformer(h[..., columns]) = original(h)[..., columns].

    transformer  float64.
    slots        (K0,): slot k of the copy is slot slots[k] of the original; empty without slots.
    columns      (D,): coordinate c of the copy's stream is coordinate columns[c] of the original's.
    """

    transformer: Transformer
    slots: Tensor
    columns: Tensor

    __repr__ = short_repr


def check_same_shape(reference: Transformer, other: Transformer) -> None:
    """Refuse a transformer of another shape, naming what is different: ValueError."""
    ours, theirs = reference.shape, other.shape
    names = [f.name for f in fields(ours) if getattr(ours, f.name) != getattr(theirs, f.name)]
    if not names:
        return
    name, mine, its = names[0], getattr(ours, names[0]), getattr(theirs, names[0])
    if name == "layers" and len(mine) == len(its):
        at = next(i for i, pair in enumerate(zip(mine, its, strict=True)) if pair[0] != pair[1])
        name, mine, its = f"layer {at}", mine[at], its[at]
    raise ValueError(f"the second transformer has {name} = {its}, needs {mine} like the first")


def check_slots(width: int, slot_blocks: Sequence[Block]) -> int:
    """K0, the common width of the blocks, 0 without any; ValueError for blocks that cannot be slots.

    They have one width, do not overlap, and lie inside a stream of `width` coordinates.
    """
    sizes = sorted({block.width for block in slot_blocks})
    if len(sizes) > 1:
        raise ValueError(f"slot_blocks have widths {sizes}, needs one width")
    taken = [column for block in slot_blocks for column in block.columns]
    if len(set(taken)) < len(taken):
        raise ValueError(f"slot_blocks {list(slot_blocks)} overlap, needs each coordinate once")
    if taken and (min(taken) < 0 or max(taken) >= width):
        raise ValueError(f"slot_blocks {list(slot_blocks)} reach beyond the stream's {width} coordinates")
    return sizes[0] if sizes else 0


def slot_columns(width: int, slot_blocks: Sequence[Block], slots: Sequence[int] | Tensor) -> Tensor:
    """(D,): the order of the stream's coordinates in which slot k stands where slot slots[k] stood."""
    columns = torch.arange(width)
    order = torch.as_tensor(slots, dtype=torch.long)
    for block in slot_blocks:
        columns[block.slice] = block.start + order
    return columns


@torch.no_grad()
def permute_stream(transformer: Transformer, columns: Tensor) -> None:
    """In place: coordinate c of the stream becomes what coordinate columns[c] was."""
    for attention, mlp, norms in map(_parts, layers_of(transformer)):
        if attention is not None:
            for weight in (attention.query, attention.key, attention.value):
                weight.copy_(weight[:, columns])
            attention.output.copy_(attention.output[:, :, columns])
        if mlp is not None:
            mlp.w1.copy_(mlp.w1[columns])
            mlp.w2.copy_(mlp.w2[:, columns])
            mlp.b2.copy_(mlp.b2[columns])
        for weight in norms:
            weight.copy_(weight[columns])


@torch.no_grad()
def permute_heads(attention: SelfAttention, order: Tensor) -> None:
    """In place: head i becomes what head order[i] was."""
    for weight in (attention.query, attention.key, attention.value, attention.output):
        weight.copy_(weight[order])


@torch.no_grad()
def permute_units(mlp: MLP, order: Tensor) -> None:
    """In place: hidden unit i becomes what unit order[i] was."""
    mlp.w1.copy_(mlp.w1[:, order])
    mlp.b1.copy_(mlp.b1[order])
    mlp.w2.copy_(mlp.w2[order])


@torch.no_grad()
def random_copy(
    transformer: Transformer, generator: torch.Generator, slot_blocks: Sequence[Block] = ()
) -> Copy:
    """The same function with randomly transformed weights, in float64; the original stays as it is.

    Args:
        transformer: softmax attention, any norm and activation.
        generator: of every draw.
        slot_blocks: blocks of the stream of one width whose entries are permuted together.

    Raises:
        ValueError: ReLU attention, a norm behind attention, blocks that cannot be slots.
    """
    check_softmax(transformer)
    width = transformer.shape.width
    slots = torch.randperm(check_slots(width, slot_blocks), generator=generator)
    columns = slot_columns(width, slot_blocks, slots)
    other = copy.deepcopy(transformer).double()
    permute_stream(other, columns)
    for attention, mlp, _ in map(_parts, layers_of(other)):
        if attention is not None:
            permute_heads(attention, torch.randperm(attention.layer.heads, generator=generator))
            shape = (attention.layer.heads, attention.layer.head_dim)
            change, inverse = random_bases(*shape, generator)
            attention.query.copy_(attention.query @ change)
            attention.key.copy_(attention.key @ inverse.mT)
            change, inverse = random_bases(*shape, generator)
            attention.value.copy_(attention.value @ change)
            attention.output.copy_(inverse @ attention.output)
        if mlp is not None:
            permute_units(mlp, torch.randperm(len(mlp.b1), generator=generator))
            if transformer.shape.activation == "relu":
                scale = CONDITION ** (torch.rand(len(mlp.b1), generator=generator, dtype=torch.float64) - 0.5)
                scale_units(mlp, scale)
    return Copy(other, slots, columns)


@torch.no_grad()
def random_copy_model(model: TGMM, generator: torch.Generator) -> TGMM:
    """The same estimator up to the order of its components: another order of the component tokens of each K
    and a :func:`random_copy` of the backbone, in float64.

    A model that reads out by pooling has no component tokens; only its backbone changes.

    Raises:
        ValueError: a backbone that is not a transformer.
    """
    other = copy.deepcopy(model).double()
    other.backbone = random_copy(transformer_of(model), generator).transformer
    for tokens in getattr(other, "tokens", {}).values():
        tokens.copy_(tokens[torch.randperm(len(tokens), generator=generator)])
    return other


def random_bases(count: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(count, size, size) random S = Q_1 diag(s) Q_2 of condition at most CONDITION, and their inverses.

    Q_1, Q_2 are random orthogonal matrices and log s is uniform, so S^-1 = Q_2^T diag(1/s) Q_1^T is as
    accurate as S.
    """
    normal = torch.randn(2, count, size, size, generator=generator, dtype=torch.float64)
    first, second = torch.linalg.qr(normal)[0]
    scale = CONDITION ** (torch.rand(count, 1, size, generator=generator, dtype=torch.float64) - 0.5)
    return (first * scale) @ second, second.mT @ (first / scale).mT


def _parts(layer: TransformerLayer) -> tuple[SelfAttention | None, MLP | None, list[nn.Parameter]]:
    """Attention, MLP, and the gains and biases of the norms of a layer."""
    return layer.attention, layer.mlp, [*layer.norm1.parameters(), *layer.norm2.parameters()]
