"""The weights of a layer as forms that do not see a head's free basis or the scale of a ReLU unit.

    A = c W_Q W_K^T     the score is h_i^T A h_j          V = W_V W_O     the head adds sum_j a_ij h_j V
    u = (w_1, b_1, w_2) of a hidden unit; with ReLU scaled so that |(w_1, b_1)| = |w_2|

Where a norm stands before the sub-layer, h = g z + b with z the normalised token: gain and bias belong to the
forms, which then act on (z, 1) and have one coordinate more.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from constructions.language.shown import short_repr
from constructions.language.transformer import Transformer, TransformerLayer
from training.model.balance import layers_of, unit_scales


@dataclass(frozen=True, eq=False)
class LayerForms:
    """D' is D, or D + 1 behind a norm.

    scores   (H, D', D') A of every head. values (H, D', D) V of every head.
    reads    (M, D' or D + 1) what each hidden unit reads, its bias last. writes (M, D).
    bias     (D,) b_2.
    """

    scores: Tensor
    values: Tensor
    reads: Tensor
    writes: Tensor
    bias: Tensor

    __repr__ = short_repr

    def permuted(self, columns: Tensor) -> LayerForms:
        """The forms after the stream's coordinates are put into this order."""
        inner = _with_last(columns, self.scores.shape[-1])
        return LayerForms(
            self.scores[:, inner][:, :, inner],
            self.values[:, inner][:, :, columns],
            self.reads[:, _with_last(columns, self.reads.shape[-1])],
            self.writes[:, columns],
            self.bias[columns],
        )

    @property
    def units(self) -> Tensor:
        """(M, D + 1 + D) the hidden units."""
        return torch.cat([self.reads, self.writes], dim=1)


@torch.no_grad()
def forms_of(transformer: Transformer) -> list[LayerForms]:
    """The forms of every layer, in float64. A ReLU unit that reads or writes nothing counts as zeros."""
    relu = transformer.shape.activation == "relu"
    return [_layer_forms(layer, transformer, relu) for layer in layers_of(transformer)]


def _layer_forms(layer: TransformerLayer, transformer: Transformer, relu: bool) -> LayerForms:
    width = transformer.shape.width
    empty = torch.zeros(0, width, width, dtype=torch.float64)
    scores, values = empty, empty
    if layer.attention is not None:
        weights = layer.attention
        q, k, v, o = (w.double() for w in (weights.query, weights.key, weights.value, weights.output))
        q, k, v = (_behind(layer.norm1, w) for w in (q, k, v))
        scores, values = transformer.shape.score_scale * q @ k.mT, v @ o
    reads, writes = torch.zeros(0, width + 1, dtype=torch.float64), empty[:, 0]
    bias = torch.zeros(width, dtype=torch.float64)
    if layer.mlp is not None:
        first = _behind(layer.norm2, layer.mlp.w1.double()[None])[0]
        offset = layer.mlp.b1.double()
        if len(first) > width:
            first, offset = first[:-1], offset + first[-1]
        reads, writes = torch.cat([first, offset[None]]).T, layer.mlp.w2.double()
        if relu:
            scale = unit_scales(reads, writes)
            alive = (scale > 0)[:, None]
            factor = torch.where(alive, scale[:, None], torch.ones_like(scale[:, None]))
            reads, writes = alive * reads * factor, alive * writes / factor
        bias = layer.mlp.b2.double()
    return LayerForms(scores, values, reads, writes, bias)


def _behind(norm: nn.Module, weight: Tensor) -> Tensor:
    """(H, D, E) that acts on the norm's output as (H, D', E) that acts on (z, 1)."""
    if isinstance(norm, nn.Identity):
        return weight
    parameters = dict(norm.named_parameters())
    gain = parameters["weight"].double()
    shift = parameters["bias"].double() if "bias" in parameters else torch.zeros_like(gain)
    return torch.cat([gain[:, None] * weight, (shift @ weight)[:, None]], dim=1)


def _with_last(columns: Tensor, size: int) -> Tensor:
    return columns if size == len(columns) else torch.cat([columns, columns.new_tensor([len(columns)])])
