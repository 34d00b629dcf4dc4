"""Random weights for a transformer of any shape, as an untrained control or a start."""

from __future__ import annotations

import math

import torch

from constructions.language.transformer import Transformer, TransformerShape


@torch.no_grad()
def fresh(shape: TransformerShape, generator: torch.Generator) -> Transformer:
    """Random weights in float64; norms as their modules make them."""
    network = Transformer(shape, torch.float64, drawn=False)
    depth = math.sqrt(2 * len(shape.sequence) * shape.loops)
    for name, parameter in network.named_parameters():
        part = name.rsplit(".", 1)[-1]
        if parameter.ndim < 2:
            continue  # biases are 0, norms 1 and 0
        # W_O (heads, head_dim, D) sums over heads as well.
        fan_in = parameter.shape[:-1].numel() if part == "output" else parameter.shape[-2]
        spread = fan_in**-0.5 / (depth if part in ("output", "w2") else 1.0)
        spread *= parameter.shape[-1] ** -0.5 if part == "query" else 1.0
        parameter.copy_(spread * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return network
