"""A transformer whose layers all have one shape: loops unrolled, missing heads and hidden units of zeros.

    heads, head_dim, hidden of every layer = the largest of any layer; what is added to one is 0

A head of zeros attends to all tokens alike and writes 0; a hidden unit of zeros writes 0: the function is
that of the original, exactly in real arithmetic. Tools that know one shape for all layers need this.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from constructions.language.transformer import Transformer, TransformerLayer, TransformerShape


def uniform_shape(shape: TransformerShape) -> TransformerShape:
    """A layer for each time that one is applied, all of the largest sizes, at least 1."""
    heads, head_dim, hidden = (
        max(1, *(getattr(layer, size) for layer in shape.layers)) for size in ("heads", "head_dim", "hidden")
    )
    sizes = {"heads": heads, "head_dim": head_dim, "hidden": hidden}
    layers = tuple(replace(shape.layers[number], **sizes) for number in shape.sequence * shape.loops)
    return replace(shape, layers=layers, loops=1, order=None)


@torch.no_grad()
def uniform(transformer: Transformer) -> Transformer:
    """The same function with such layers, in the same dtype on the same device, without gradients."""
    shape = transformer.shape
    weight = next(transformer.parameters())
    found = Transformer(uniform_shape(shape), weight.dtype, drawn=False).to(weight.device)
    for number, layer in zip(shape.sequence * shape.loops, found.layers, strict=True):
        _copy(transformer.layers[number], layer)  # pyright: ignore[reportArgumentType]
    return found.requires_grad_(False)


def _copy(original: TransformerLayer, layer: TransformerLayer) -> None:
    given = dict(original.named_parameters())
    for name, weight in layer.named_parameters():
        weight.zero_()
        if name in given:
            _corner(weight, given[name]).copy_(given[name])


def _corner(weight: Tensor, of: Tensor) -> Tensor:
    """The first entries along each axis, as many as another tensor has."""
    return weight[tuple(slice(size) for size in of.shape)]
