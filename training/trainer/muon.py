"""Muon: momentum whose matrix is replaced by the nearest one with all singular values near 1.

    m <- beta m + (1 - beta) g
    W <- (1 - lr weight_decay) W - 0.2 lr sqrt(max(rows, columns)) orth((1 - beta) g + beta m)

orth is five steps of an odd quintic Newton-Schulz iteration, which brings the singular values into about
[0.7, 1.2]. The factor 0.2 sqrt(max(rows, columns)) gives an update the root-mean-square of AdamW's, about
0.2 lr. Parameters of more than two dimensions are batches of matrices: here each attention head's own.

Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers"; the factor from Liu et al. 2025, "Muon is
scalable for LLM training". torch.optim.Muon (torch 2.9 on) takes two-dimensional parameters only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
STEPS = 5


class Muon(torch.optim.Optimizer):
    """For parameters (..., rows, columns); state `momentum` of each. A zero gradient moves nothing at first.

    Args:
        params: matrices or batches of them.
        lr: learning rate, on AdamW's scale.
        momentum: beta.
        weight_decay: decoupled, as in AdamW.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.ndim < 2:
                    raise ValueError(
                        f"a parameter has shape {tuple(parameter.shape)}, needs (..., rows, columns)"
                    )

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update from the gradients at hand."""
        for group in self.param_groups:
            beta = group["momentum"]
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"].lerp_(gradient, 1 - beta)
                scale = 0.2 * max(parameter.shape[-2:]) ** 0.5
                update = orthogonalise(gradient.lerp(momentum, beta))
                if group["weight_decay"]:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update, alpha=-group["lr"] * scale)


def orthogonalise(matrices: Tensor) -> Tensor:
    """U V^T of M = U S V^T, roughly: singular values in about [0.7, 1.2], those near 0 stay; (..., r, c)."""
    a, b, c = COEFFICIENTS
    norm = matrices.norm(dim=(-2, -1), keepdim=True)
    x = matrices / norm.where(norm > 0, torch.ones_like(norm))
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    for _ in range(STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
