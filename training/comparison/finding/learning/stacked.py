"""Networks of one shape, one a seed, evaluated together: every weight has a leading dimension of seeds.

    H <- H + sum_heads softmax(H W_Q (H W_K)^T) H W_V W_O,   H <- H + act(H W_1 + b_1) W_2 + b_2

as constructions.language.transformer has them, with products of S matrices in the place of one. A gradient of
the sum over seeds is each seed's own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from constructions.language.transformer import Transformer, TransformerShape

E, M = 0, 1
"""The layers of a loop."""


class StackedNetworks:
    """S transformers without norms, softmax attention in every layer.

    weights  by the names that Transformer gives them, (S, ...) each.
    """

    def __init__(self, networks: Sequence[Transformer]) -> None:
        self.shape: TransformerShape = networks[0].shape
        named = [dict(network.named_parameters()) for network in networks]
        self.weights = {name: torch.stack([one[name].detach() for one in named]) for name in named[0]}
        self._act = functional.gelu if self.shape.activation == "gelu" else functional.relu

    def attention(self, layer: int, h: Tensor) -> Tensor:
        """(S, B, N, D) -> (S, B, N, D), the state behind the attention of a layer."""
        S, B, N, D = h.shape
        query, key, value, output = (self._of(layer, f"attention.{n}") for n in _FACTORS)
        heads, size = query.shape[1], query.shape[3]
        tokens = h.reshape(S, B * N, D)

        def projected(weight: Tensor) -> Tensor:
            joined = weight.transpose(1, 2).reshape(S, D, heads * size)
            return torch.bmm(tokens, joined).view(S * B, N, heads, size).transpose(1, 2)

        q, k, v = (projected(weight) for weight in (query, key, value))
        read = functional.scaled_dot_product_attention(q, k, v, scale=self.shape.score_scale)
        read = read.transpose(1, 2).reshape(S, B * N, heads * size)
        return torch.baddbmm(tokens, read, output.reshape(S, heads * size, D)).view(h.shape)

    def mlp(self, layer: int, h: Tensor) -> Tensor:
        """(S, B, N, D) -> (S, B, N, D), the state behind the MLP of a layer."""
        S, D = h.shape[0], h.shape[-1]
        w1, b1, w2, b2 = (self._of(layer, f"mlp.{n}") for n in ("w1", "b1", "w2", "b2"))
        tokens = h.reshape(S, -1, D)
        hidden = self._act(torch.baddbmm(b1[:, None], tokens, w1))
        return (tokens + torch.baddbmm(b2[:, None], hidden, w2)).view(h.shape)

    def states(self, h: Tensor, loops: int) -> list[Tensor]:
        """4 `loops` states: each loop's behind E attention, E MLP, M attention, M MLP."""
        found: list[Tensor] = []
        for _ in range(loops):
            for layer in (E, M):
                found.append(self.attention(layer, h))
                h = self.mlp(layer, found[-1])
                found.append(h)
        return found

    def network(self, place: int) -> Transformer:
        """One of the networks by itself."""
        network = Transformer(self.shape, next(iter(self.weights.values())).dtype, drawn=False)
        network.load_state_dict({name: weight[place].detach() for name, weight in self.weights.items()})
        return network.requires_grad_(False)

    def _of(self, layer: int, name: str) -> Tensor:
        return self.weights[f"layers.{layer}.{name}"]


_FACTORS = ("query", "key", "value", "output")
