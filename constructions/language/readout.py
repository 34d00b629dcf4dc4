"""The paper's read-out: attentive pooling, one query a component."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from constructions.language.stream import Block, Stream
from constructions.language.transformer import emptied

SHARPNESS = 64.0
"""beta: a token of another slot gets at most e^-64 = 1.6e-28 of the weight of one of the right slot."""


class AttentivePooling(nn.Module):
    """``O = (V_o H) softmax((K_o H)^T Q_o)``, (d + K) x K; weights and means are parts of O.

    The weights are the softmax of the first K rows' mean over the columns, the means the last d rows.
    Source: arXiv 2505.11918, Readout. Our H has tokens as rows, so ``K_o``, ``V_o`` stand transposed.

    Attributes:
        query: (K0, K0), one row a component. key: (D, K0). value: (D, K0 + d0).
    """

    def __init__(self, width: int, max_components: int, max_dim: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.max_components = max_components
        self.query = nn.Parameter(torch.zeros((max_components, max_components), dtype=dtype))
        self.key = nn.Parameter(torch.zeros((width, max_components), dtype=dtype))
        self.value = nn.Parameter(torch.zeros((width, max_components + max_dim), dtype=dtype))

    def forward(
        self,
        h: Tensor,
        component_mask: Tensor,
        key_mask: Tensor | None = None,
        counts: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Pool the tokens.

        Args:
            h: (B, N, D) final stream.
            component_mask: (B, K0) bool, True at the components that the task has.
            key_mask: (B, N) bool, True at real tokens; what stands at False reaches no gradient either.
            counts: (B, N) how many equal tokens each row stands for, 1 unless said.

        Returns:
            weights (B, K0), 0 at absent components, and means (B, K0, d0).
        """
        logits, means = self.pool(h, component_mask, key_mask, counts)
        return logits.softmax(-1), means

    def pool(
        self,
        h: Tensor,
        component_mask: Tensor,
        key_mask: Tensor | None = None,
        counts: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The same before the softmax: logits (B, K0), minus infinity at absent components, and means."""
        h = emptied(h, key_mask)
        scores = self.query @ (h @ self.key).mT
        if key_mask is not None:
            # A row of padding alone pools its emptied tokens: zeros.
            hidden = ~key_mask & key_mask.any(-1, keepdim=True)
            scores = scores.masked_fill(hidden[:, None, :], -math.inf)
        shares = scores.softmax(-1)
        if counts is not None:
            shares = shares * counts[:, None].to(h.dtype)
            shares = shares / shares.sum(-1, keepdim=True)
        pooled = shares @ (h @ self.value)
        logits, means = pooled.split([self.max_components, pooled.shape[-1] - self.max_components], dim=-1)
        present = component_mask.to(h.dtype)
        mean_logits = (present[:, :, None] * logits).sum(1) / present.sum(1, keepdim=True)
        return mean_logits.masked_fill(~component_mask, -math.inf), means * present[:, :, None]


def slot_readout(
    stream: Stream, slot: Block, log_pi: Block, mu: Block, dtype: torch.dtype
) -> AttentivePooling:
    """Read-out weights that pool component k from the tokens whose slot is k.

    Scores are ``beta <e_k, slot_j>``: the tokens of other slots leak at most ``N e^-beta``.
    """
    readout = AttentivePooling(stream.width, slot.width, mu.width, dtype)
    with torch.no_grad():
        readout.query.copy_(torch.eye(slot.width, dtype=dtype))
        for position, column in enumerate(slot.columns):
            readout.key[column, position] = SHARPNESS
        for position, column in enumerate((*log_pi.columns, *mu.columns)):
            readout.value[column, position] = 1.0
    return readout
