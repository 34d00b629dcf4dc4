"""A transformer in a larger shape: the same function, with room that training can use.

    stream   the coordinates of the narrow one, then free ones
    heads    the narrow ones, the first of their columns; then free columns and free heads
    units    the narrow ones, then free ones

What is free writes nothing at first: W_O and w_2 are 0 there, and in columns of the narrow heads W_K is. So
the function is the narrow network's whatever else it holds, and random numbers there let gradients reach the
zeros.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from constructions.language.transformer import (
    MLP,
    LayerShape,
    SelfAttention,
    Transformer,
    TransformerLayer,
    TransformerShape,
)


def wide_shape(
    narrow: TransformerShape, width: int, heads: int, head_dim: int, hidden: int
) -> TransformerShape:
    """The shape of the narrow one with these sizes in every layer."""
    layer = LayerShape(heads, head_dim, hidden)
    return replace(narrow, width=width, layers=(layer,) * len(narrow.layers))


@torch.no_grad()
def widened(
    narrow: Transformer, shape: TransformerShape, size: float = 0.0, generator: torch.Generator | None = None
) -> Transformer:
    """The narrow transformer's function in a larger shape; the first columns of the stream are its own.

    Args:
        narrow: softmax attention, no norms.
        shape: layers and loops as narrow has them, no size below its.
        size: of the random numbers in W_Q, W_K, W_V, w_1 and b_1 of what is free: normal of standard
            deviation size / sqrt(width); 0 for zeros.
        generator: draws them; needed where size is not 0.

    Raises:
        ValueError: a shape that is not larger, of another kind or with norms; a size without a generator.
    """
    _check(narrow.shape, shape)
    if size and generator is None:
        raise ValueError(f"size is {size}, needs a generator")
    wide = Transformer(shape, next(narrow.parameters()).dtype, drawn=False)
    for parameter in wide.parameters():
        parameter.zero_()
    spread = size * shape.width**-0.5
    for layer, own in zip(wide.layers, narrow.layers, strict=True):
        if not isinstance(layer, TransformerLayer) or not isinstance(own, TransformerLayer):
            raise TypeError(f"a layer is a {type(own).__name__}, needs a TransformerLayer")
        if layer.attention is not None and own.attention is not None:
            _widen_attention(layer.attention, own.attention, spread, generator)
        if layer.mlp is not None and own.mlp is not None:
            _widen_mlp(layer.mlp, own.mlp, spread, generator)
    return wide


def _check(narrow: TransformerShape, shape: TransformerShape) -> None:
    kinds = [replace(one, width=0, layers=()) for one in (narrow, shape)]
    if kinds[0] != kinds[1] or len(narrow.layers) != len(shape.layers) or shape.norm != "none":
        raise ValueError(f"the shape is {shape}, needs the layers and kinds of {narrow}, without norms")
    if shape.width < narrow.width:
        raise ValueError(f"width is {shape.width}, needs at least {narrow.width}")
    for number, (layer, own) in enumerate(zip(shape.layers, narrow.layers, strict=True)):
        for name in ("heads", "head_dim", "hidden"):
            if getattr(layer, name) < getattr(own, name):
                raise ValueError(
                    f"{name} of layer {number} is {getattr(layer, name)}, needs at least {getattr(own, name)}"
                )
        kind = narrow.kind_of(own)
        if kind != "softmax" or shape.kind_of(layer) != kind or own.output_norm or layer.output_norm:
            raise ValueError(f"layer {number} is {own}, needs softmax attention without a norm behind it")


def _widen_attention(
    wide: SelfAttention, own: SelfAttention, spread: float, generator: torch.Generator | None
) -> None:
    heads, width, columns = own.query.shape
    for weight in (wide.query, wide.key, wide.value):
        _fill(weight, spread, generator)
    for weight in (wide.query, wide.key, wide.value):
        weight[:heads, width:, :columns] = 0.0  # its own columns do not see the free coordinates
    wide.key[:heads, :, columns:] = 0.0
    wide.query[:heads, :width, :columns] = own.query
    wide.key[:heads, :width, :columns] = own.key
    wide.value[:heads, :width, :columns] = own.value
    wide.output[:heads, :columns, :width] = own.output


def _widen_mlp(wide: MLP, own: MLP, spread: float, generator: torch.Generator | None) -> None:
    width, units = own.w1.shape
    _fill(wide.w1, spread, generator)
    _fill(wide.b1, spread, generator)
    wide.w1[width:, :units] = 0.0
    wide.w1[:width, :units] = own.w1
    wide.b1[:units] = own.b1
    wide.w2[:units, :width] = own.w2
    wide.b2[:width] = own.b2


def _fill(weight: Tensor, spread: float, generator: torch.Generator | None) -> None:
    if spread and generator is not None:
        weight.copy_(spread * torch.randn(weight.shape, generator=generator, dtype=torch.float64))
