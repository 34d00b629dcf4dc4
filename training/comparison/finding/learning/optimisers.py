"""What moves the weights of a cell: one optimiser for all seeds, which treats each as if it were alone.

AdamW and gradient descent act entry by entry, Muon on each matrix of each seed and head by itself (biases go
to AdamW), and gradients are clipped by the norm of each seed's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from training.comparison.finding.learning.cells import Cell
from training.trainer.muon import Muon

WARMUP = 50
BETAS = (0.9, 0.99)
CLIP = 1.0


def optimisers_of(cell: Cell, weights: Sequence[Tensor]) -> list[torch.optim.Optimizer]:
    """For stacked weights (S, ...)."""
    rate, decay = cell.learning_rate, cell.weight_decay
    if cell.optimiser == "gradient descent":
        return [torch.optim.SGD(weights, lr=rate)]
    if cell.optimiser == "AdamW":
        return [torch.optim.AdamW(weights, lr=rate, betas=BETAS, weight_decay=decay)]
    matrices = Muon([w for w in weights if w.ndim > 2], lr=rate, weight_decay=decay)
    others = [w for w in weights if w.ndim <= 2]
    return [matrices, torch.optim.AdamW(others, lr=rate, betas=BETAS, weight_decay=decay)]


def rate_at(cell: Cell, step: int, steps: int) -> float:
    """Warm-up times half a cosine, 0 at the end."""
    warm = min(1.0, (step + 1) / WARMUP)
    return cell.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / steps))


@torch.no_grad()
def clip_each(weights: Sequence[Tensor]) -> None:
    """Scale the gradients of every seed to norm CLIP at most; (S, ...) each."""
    squares = sum((_gradient(w).flatten(1).square().sum(1) for w in weights), start=torch.zeros(()))
    factor = (CLIP / squares.sqrt()).clamp_max(1.0)
    for weight in weights:
        _gradient(weight).mul_(factor.view(-1, *[1] * (weight.ndim - 1)))


def _gradient(weight: Tensor) -> Tensor:
    if weight.grad is None:
        raise ValueError(f"a weight of shape {tuple(weight.shape)} has no gradient, needs one")
    return weight.grad
