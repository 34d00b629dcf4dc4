"""A network that has nothing in common with a given one but its sizes: what a distance is compared with."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from constructions.language.transformer import Transformer
from training.model.balance import layers_of


@torch.no_grad()
def random_like(transformer: Transformer, generator: torch.Generator) -> Transformer:
    """Random directions with the given sizes, in float64.

    Kept are the norms of W_Q W_K^T and W_V W_O of every head, of (w_1, b_1) and of w_2 of every hidden unit,
    and of b_2. Norms before the sub-layers stay as they are.
    """

    def normal(weight: Tensor) -> Tensor:
        return torch.randn(weight.shape, generator=generator, dtype=torch.float64)

    other = copy.deepcopy(transformer).double()
    for layer in layers_of(other):
        if layer.attention is not None:
            a = layer.attention
            for left, right, form in (
                (a.query, a.key, a.query @ a.key.mT),
                (a.value, a.output, a.value @ a.output),
            ):
                left.copy_(normal(left))
                right.copy_(normal(right))
                drawn = left @ (right.mT if right is a.key else right)
                ratio = (form.flatten(1).norm(dim=1) / drawn.flatten(1).norm(dim=1)).sqrt()[:, None, None]
                left.mul_(ratio)
                right.mul_(ratio)
        if layer.mlp is not None:
            m = layer.mlp
            size = (m.w1.square().sum(0) + m.b1.square()).sqrt()
            reads = normal(torch.cat([m.w1, m.b1[None]]))
            reads *= size / reads.norm(dim=0)
            writes = normal(m.w2)
            m.w2.copy_(writes * (m.w2.norm(dim=1) / writes.norm(dim=1))[:, None])
            m.w1.copy_(reads[:-1])
            m.b1.copy_(reads[-1])
            bias = normal(m.b2)
            m.b2.copy_(bias * (m.b2.norm() / bias.norm()))
    return other
