"""The same function in balanced weights: W_Q, W_K of equal size, W_V, W_O too, |(w_1, b_1)| = |w_2|.

    A = U s V^T (thin SVD)     W_Q = U s^1/2 R,  W_K = V s^1/2 R     R orthogonal, nearest to given weights

All balanced factors of A are of this form, so |W_Q|^2 + |W_K|^2 is the least possible, 2 sum(s), and R is the
only freedom; the polar factor of an R-equation (Procrustes) fixes it. A head whose form is 0 gets factors 0.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from constructions.language.transformer import SelfAttention, Transformer
from training.comparison.symmetry.group import check_same_shape, check_softmax, scale_units
from training.comparison.symmetry.invariants import layers_of, unit_scales


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


@torch.no_grad()
def straight_line(a: Transformer, b: Transformer, t: float) -> Transformer:
    """The transformer with weights (1 - t) a + t b, in float64; t may lie outside [0, 1].

    Raises:
        ValueError: another shape.
    """
    check_same_shape(a, b)
    between = copy.deepcopy(a).double()
    for weight, other in zip(between.parameters(), b.parameters(), strict=True):
        weight.lerp_(other.double(), t)
    return between
