"""The model of the paper's public code, on Hugging Face's GPT-2: the peer of the training benchmark.

GPT2Model between a linear read-in of [x || embedding of K] and the paper's attentive pooling, one a K:
causal, with positions, without dropout, and with GPT-2's 50,257 token embeddings, which nothing uses. A step
takes one batch of one K, padded to its longest task. Attention is what the package chooses, fused kernels.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2Model

from constructions.language.readout import AttentivePooling
from training.model.estimate import Estimate
from training.tasks import TaskDistribution, sample_tasks
from training.trainer.losses import ordered

EMBEDDING = 8
"""Coordinates of the embedding of K; their number hardly matters for speed."""


class GPT2Peer(nn.Module):
    """``Readout_K(GPT2(Readin([X || embed(K)])))``."""

    def __init__(
        self, n_features: int, components: tuple[int, ...], layers: int, heads: int, width: int, longest: int
    ) -> None:
        super().__init__()
        self.components = components
        self.embedding = nn.Embedding(len(components), EMBEDDING)
        self.readin = nn.Linear(n_features + EMBEDDING, width)
        config = GPT2Config(
            n_positions=longest,
            n_embd=width,
            n_layer=layers,
            n_head=heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            use_cache=False,
        )
        self.backbone = GPT2Model(config)
        self.pooling = nn.ModuleList(
            AttentivePooling(width, K, n_features, torch.float32) for K in components
        )
        for weight in self.pooling.parameters():
            nn.init.normal_(weight, std=width**-0.5)

    def forward(self, X: Tensor, n_components: int, mask: Tensor) -> Estimate:
        """X (B, N, d), mask (B, N) True at points."""
        task = self.components.index(n_components)
        tokens = self.readin(torch.cat([X, self.embedding(torch.full(X.shape[:2], task))], dim=-1))
        h = self.backbone(inputs_embeds=tokens, attention_mask=mask).last_hidden_state
        present = torch.ones(len(X), n_components, dtype=torch.bool)
        weights, means = self.pooling[task](h, present, mask)
        return Estimate(weights.log(), means)


def peer_stepper(model: GPT2Peer, distribution: TaskDistribution, clip: float) -> Callable[[Tensor], float]:
    """A function that takes the next training step, on new tasks of given lengths, and returns the loss."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    generator = torch.Generator().manual_seed(0)
    steps = 0

    def step(lengths: Tensor) -> float:
        nonlocal steps
        K = distribution.components[steps % len(distribution.components)]
        steps += 1
        batch = sample_tasks(distribution, len(lengths), K, lengths, generator)
        optimiser.zero_grad()
        loss = ordered(model(batch.X, K, batch.mask), batch).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimiser.step()
        return loss.item()

    return step
