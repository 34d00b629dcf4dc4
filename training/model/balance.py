"""The same function in balanced weights: W_Q, W_K of equal size, W_V, W_O too, |(w_1, b_1)| = |w_2|.

    A = U s V^T (thin SVD)     W_Q = U s^1/2 R,  W_K = V s^1/2 R     R orthogonal, nearest to given weights

All balanced factors of A are of this form, so |W_Q|^2 + |W_K|^2 is the least possible, 2 sum(s), and R is the
only freedom; the polar factor of an R-equation (Procrustes) fixes it. A head whose form is 0 gets factors 0.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from constructions.language.transformer import MLP, SelfAttention, Transformer, TransformerLayer


@torch.no_grad()
def balanced(transformer: Transformer) -> Transformer:
    """The same function, every head's factors and every ReLU unit balanced, in float64.

    The rotation of each head is the one nearest to the weights it had. GELU units, and ReLU units that read
    or write nothing, stay as they are. A good start for training: no weight is large only because another
    one is small.

    Raises:
        ValueError: ReLU attention, or a norm behind attention.
    """
    check_softmax(transformer)
    other = copy.deepcopy(transformer).double()
    for layer in layers_of(other):
        if layer.attention is not None:
            balance_heads(layer.attention, layer.attention)
    balance_units(other)
    return other


@torch.no_grad()
def balance_heads(attention: SelfAttention, near: SelfAttention) -> None:
    """In place: every head's factors balanced, nearest to those of `near`."""
    for left, right, goal, other in (
        (attention.query, attention.key, near.query, near.key),
        (attention.value, attention.output.mT, near.value, near.output.mT),
    ):
        first, second = balanced_factors(left, right, goal, other)
        left.copy_(first)
        right.copy_(second)


@torch.no_grad()
def balance_units(transformer: Transformer) -> None:
    """In place: |(w_1, b_1)| = |w_2| for the ReLU units that read and write something.

    The norm is that of the weights as they stand, without a LayerNorm's gain.
    """
    if transformer.shape.activation != "relu":
        return
    for layer in layers_of(transformer):
        mlp = layer.mlp
        if mlp is None:
            continue
        scale = unit_scales(torch.cat([mlp.w1, mlp.b1[None]]).T, mlp.w2)
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        scale_units(mlp, scale)


def balanced_factors(
    left: Tensor, right: Tensor, near_left: Tensor, near_right: Tensor
) -> tuple[Tensor, Tensor]:
    """(H, D, E) each: P, Q with P Q^T = left right^T and P^T P = Q^T Q, nearest to near_left, near_right.

    Nearest in |P - near_left|^2 + |Q - near_right|^2 among the balanced factors.
    """
    first, upper = torch.linalg.qr(left)
    second, lower = torch.linalg.qr(right)
    u, sizes, vh = torch.linalg.svd(upper @ lower.mT)
    root = sizes.sqrt()[:, None, :]
    p, q = first @ (u * root), second @ (vh.mT * root)
    missing = left.shape[-1] - p.shape[-1]  # head dimensions beyond D
    if missing > 0:
        p, q = (torch.nn.functional.pad(w, (0, missing)) for w in (p, q))
    near_u, _, near_vh = torch.linalg.svd(p.mT @ near_left + q.mT @ near_right)
    rotation = near_u @ near_vh
    return p @ rotation, q @ rotation


def check_softmax(transformer: Transformer) -> None:
    """Refuse what has symmetries that are not among those above: ValueError."""
    shape = transformer.shape
    for kind in (shape.attention, *map(shape.kind_of, shape.layers)):
        if kind != "softmax":
            raise ValueError(f"attention is {kind!r}, needs 'softmax'")
    if any(layer.output_norm for layer in shape.layers):
        raise ValueError("a layer has output_norm = True, needs attention without a norm behind it")


def layers_of(transformer: Transformer) -> list[TransformerLayer]:
    """Its layers."""
    return list(transformer.layers)  # pyright: ignore[reportReturnType]


def unit_scales(reads: Tensor, writes: Tensor) -> Tensor:
    """(M,) c > 0 with |c reads| = |writes / c|, c = sqrt(|writes| / |reads|); 0 where one of them is 0."""
    read, write = reads.norm(dim=1), writes.norm(dim=1)
    alive = (read > 0) & (write > 0)
    return torch.where(alive, write / torch.where(alive, read, 1.0), 0.0).sqrt()


@torch.no_grad()
def scale_units(mlp: MLP, scale: Tensor) -> None:
    """In place: (w_1, b_1, w_2) -> (c w_1, c b_1, w_2 / c) of every hidden unit, c (M,)."""
    mlp.w1.mul_(scale)
    mlp.b1.mul_(scale)
    mlp.w2.div_(scale[:, None])
