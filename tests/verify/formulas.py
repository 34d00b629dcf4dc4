"""Torch formulas that tests evaluate in floats, in balls and in intervals."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from constructions.language.rounding import length

MASK = torch.tensor([[True, False, True, True], [True, True, False, True], [False, True, True, True]])
FORMULAS: dict[str, Callable[[Tensor], Tensor]] = {
    "arithmetic": lambda x: (1 - x) / (2 + x) * x + 3 / x - x.square() / -x.abs(),
    "in place of numbers": lambda x: 2 * x + 1 - x / 3 + 0.5**2 - (0.25 - x),
    "roots": lambda x: x.sqrt() + x.rsqrt() + x**0.5 + x**-2 + x.reciprocal() + 2.0**x,
    "exponentials": lambda x: x.exp() + torch.expm1(x) + x.log() + torch.log1p(x) + x.tanh(),
    "logistic": lambda x: torch.nn.functional.logsigmoid(x) + torch.sigmoid(-x) + torch.cosh(x),
    "extremes": lambda x: torch.maximum(x, x.flip(0)) + x.clamp(0.3, 0.9) + x.amax(-1, True) - x.amin(),
    "sums": lambda x: x.sum() + x.sum(0) + x.mean(-1, keepdim=True) + x.cumsum(1) + x.prod(-1, keepdim=True),
    "softmax": lambda x: x.softmax(-1) + x.log_softmax(0) + torch.logsumexp(x, 1, keepdim=True),
    "products": lambda x: x @ x.mT @ x + (x[:, None] @ x.mT)[:, 0].sum() + (x @ x[0])[:, None],
    "norms": lambda x: x.norm(dim=-1, keepdim=True) + length(x)[:, None] + torch.linalg.vector_norm(x),
    "matrix norms": lambda x: torch.linalg.matrix_norm(x) + torch.linalg.matrix_norm(x, ord=2),
    "distances": lambda x: torch.cdist(x, 2 * x, compute_mode="donot_use_mm_for_euclid_dist"),
    "choices": lambda x: torch.where(x > x.mean(), x, -x).masked_fill(~MASK, 0.5),
    "order": lambda x: x.gather(-1, x.argsort(-1)) + x.max(-1, keepdim=True)[0] + x.min(0)[0],
    "movements": lambda x: torch.cat([x[:, 1:], x[:, :1]], 1).mT.reshape(3, 4) + torch.stack([x, x])[1],
    "written": lambda x: _written(x),
    "infinities": lambda x: torch.where(MASK, x, -math.inf).log_softmax(-1).exp(),
}


def _written(x: Tensor) -> Tensor:
    made = torch.zeros_like(x)
    made[:, 1:3] = x[:, :2] * x[:, 2:]
    made[0] = 1.5
    return made


def numbers() -> Tensor:
    return torch.rand(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5)) + 0.25


LEAVES: list[Callable[[Tensor], object]] = [
    float,
    bool,
    int,
    Tensor.bool,
    Tensor.long,
    lambda x: x.item(),
    lambda x: x.numpy(),
    lambda x: x.tolist(),
    lambda x: x.float(),
    lambda x: torch.tensor([x]),
]
"""Ways in which a number would become a float without rounding outward."""
