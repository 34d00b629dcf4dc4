"""The plain transformer that every construction compiles to and that training trains.

    H <- H + sum_heads A_head(H) H W_V W_O        A = softmax_rows(c H W_Q (H W_K)^T)  or  relu(the same)
    H <- H + act(H W_1 + b_1) W_2 + b_2

All heads of a layer are of one kind, softmax or ReLU; layers may differ. Tokens are rows of ``H``, shape
(..., N, D). ``c`` is ``score_scale``, 1 unless said: there is no hidden ``1/sqrt(head_dim)``. ReLU attention
does not divide by N unless asked to.

A padding token may hold anything, NaN too: each layer empties it before any product, since 0 * NaN is not 0,
neither in a sum nor in the gradient of a weight. What comes out there means nothing, but is finite; a row of
padding alone reads 0.

Batch size and number of tokens stay free in torch.export (with Dim.DYNAMIC) and torch.jit.trace.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from constructions.language.heads import Attention
from constructions.language.shown import short_repr

Norm = Literal["none", "layer", "rms"]
Activation = Literal["relu", "gelu"]

MAX_HIDDEN_VALUES = 2**22
"""Hidden or score values held at once; longer inputs are worked through in slices of tokens."""


@dataclass(frozen=True)
class LayerShape:
    """Sizes of one layer: number of heads, their dimension, hidden units of the MLP.

    With ``output_norm`` what the attention adds to the stream first passes an RMS norm (as in OLMo 2), whose
    epsilon is 0. ``attention`` is the kind of this layer; None: that of the transformer.
    """

    heads: int
    head_dim: int
    hidden: int
    output_norm: bool = False
    attention: Attention | None = None


@dataclass(frozen=True)
class TransformerShape:
    """Everything but the weights.

    Attributes:
        width: D, the width of the residual stream.
        layers: one shape a layer.
        loops: how many times the list of layers is applied, with the same weights.
        attention, activation, norm: kinds; ``norm`` is applied to the input of each sub-layer, and
            ``attention`` is that of the layers which name none.
        score_scale: c above.
        divide_by_tokens: ReLU attention divides by the number of keys that are not padding.
        causal: a token attends to itself and to those before it only; softmax attention.
        order: the numbers, from 0 on, of the layers that one pass applies; each once in turn unless said.

    Raises:
        ValueError: a kind of attention that is none, causal ReLU attention, or an order that names a layer
            which is not there.
    """

    width: int
    layers: tuple[LayerShape, ...]
    loops: int = 1
    attention: Attention = "softmax"
    activation: Activation = "relu"
    norm: Norm = "none"
    score_scale: float = 1.0
    divide_by_tokens: bool = False
    causal: bool = False
    order: tuple[int, ...] | None = None

    __repr__ = short_repr

    def __post_init__(self) -> None:
        for kind in (self.attention, *map(self.kind_of, self.layers)):
            if kind not in get_args(Attention):
                raise ValueError(
                    f"attention is {kind!r}, needs {' or '.join(map(repr, get_args(Attention)))}"
                )
            if self.causal and kind != "softmax":
                raise ValueError(f"causal attention is softmax attention here, got {kind!r}")
        if self.order is not None and not set(self.order) <= set(range(len(self.layers))):
            raise ValueError(
                f"order names layers up to {max(self.order)}; there are {len(self.layers)}, from 0"
            )

    @property
    def sequence(self) -> tuple[int, ...]:
        """The numbers of the layers that one pass applies, one after another."""
        return tuple(range(len(self.layers))) if self.order is None else self.order

    def kind_of(self, layer: LayerShape) -> Attention:
        """The kind of attention of a layer: its own, or that of the transformer."""
        return self.attention if layer.attention is None else layer.attention


class SelfAttention(nn.Module):
    """``sum_heads A(H) H W_V W_O``; ``W_Q, W_K, W_V`` (heads, D, head_dim), ``W_O`` (heads, head_dim, D)."""

    def __init__(
        self, shape: TransformerShape, layer: LayerShape, dtype: torch.dtype, drawn: bool = True
    ) -> None:
        super().__init__()
        self.shape, self.layer = shape, layer
        into = (layer.heads, shape.width, layer.head_dim)
        self.query = nn.Parameter(torch.empty(into, dtype=dtype))
        self.key = nn.Parameter(torch.empty(into, dtype=dtype))
        self.value = nn.Parameter(torch.empty(into, dtype=dtype))
        self.output = nn.Parameter(torch.empty((layer.heads, layer.head_dim, shape.width), dtype=dtype))
        for weight in self.parameters() if drawn else ():
            nn.init.normal_(weight, std=0.02)
        self.norm = nn.RMSNorm(shape.width, eps=0.0, dtype=dtype) if layer.output_norm else nn.Identity()

    @property
    def kind(self) -> Attention:
        """Softmax or ReLU, in this layer."""
        return self.shape.kind_of(self.layer)

    def forward(self, h: Tensor, key_mask: Tensor | None = None) -> Tensor:
        """(B, N, D) -> (B, N, D). ``key_mask`` (B, N) is True at real tokens."""
        h = emptied(h, key_mask)
        q, k, v = (torch.einsum("bnd,hde->bhne", h, w) for w in (self.query, self.key, self.value))
        if self.kind == "softmax":
            read = self._softmax_attention(q, k, v, key_mask)
        else:
            read = self._relu_attention(q, k, v, key_mask)
        written = torch.einsum("bhne,hed->bnd", read, self.output)
        if key_mask is not None and self.layer.output_norm:
            # The norm of a padding token, often 0, has no derivative: 1 stands there, and 0 afterwards.
            return emptied(self.norm(written.masked_fill(~key_mask[:, :, None], 1.0)), key_mask)
        return self.norm(written)

    def _softmax_attention(self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None) -> Tensor:
        mask = None if key_mask is None else _attended(key_mask, self.shape.causal)
        settings = {
            "attn_mask": mask,
            "scale": self.shape.score_scale,
            "is_causal": self.shape.causal and mask is None,
        }
        if q.device.type == "cpu" and q.dtype == torch.bfloat16:
            # torch's CPU kernel takes three times as long in bfloat16 as in float32.
            with torch.autocast("cpu", enabled=False):
                read = functional.scaled_dot_product_attention(q.float(), k.float(), v.float(), **settings)
            return read.to(q.dtype)
        return functional.scaled_dot_product_attention(q, k, v, **settings)

    def _relu_attention(self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None) -> Tensor:
        if self.shape.divide_by_tokens and key_mask is None:
            v = v / k.new_full((), k.shape[2])
        elif self.shape.divide_by_tokens and key_mask is not None:
            tokens = key_mask.sum(-1)
            # A row of padding alone has emptied values: 0 / 1 is the 0 that it reads.
            tokens = tokens.where(tokens > 0, torch.ones_like(tokens)).to(k.dtype)
            v = v / tokens[:, None, None, None]
        keys = self.shape.score_scale * k.transpose(-1, -2)
        if _recorded():
            return torch.relu(q @ keys) @ v
        rows = max(1, MAX_HIDDEN_VALUES // max(1, k.shape[0] * k.shape[1] * k.shape[2]))
        return torch.cat([torch.relu(part @ keys) @ v for part in q.split(rows, dim=2)], dim=2)


class MLP(nn.Module):
    """``act(H W_1 + b_1) W_2 + b_2``."""

    def __init__(
        self, shape: TransformerShape, layer: LayerShape, dtype: torch.dtype, drawn: bool = True
    ) -> None:
        super().__init__()
        self.activation = functional.gelu if shape.activation == "gelu" else torch.relu_
        self.w1 = nn.Parameter(torch.empty((shape.width, layer.hidden), dtype=dtype))
        self.b1 = nn.Parameter(torch.zeros(layer.hidden, dtype=dtype))
        self.w2 = nn.Parameter(torch.empty((layer.hidden, shape.width), dtype=dtype))
        self.b2 = nn.Parameter(torch.zeros(shape.width, dtype=dtype))
        for weight in (self.w1, self.w2) if drawn else ():
            nn.init.normal_(weight, std=0.02)

    def forward(self, h: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        flat = h.reshape(-1, h.shape[-1])
        slices = (flat,) if _recorded() else flat.split(max(1, MAX_HIDDEN_VALUES // max(1, self.b1.numel())))
        parts = [self.activation(torch.addmm(self.b1, part, self.w1)) @ self.w2 for part in slices]
        return (torch.cat(parts) + self.b2).reshape(h.shape)


class TransformerLayer(nn.Module):
    """Attention, then MLP, both residual."""

    def __init__(
        self, shape: TransformerShape, layer: LayerShape, dtype: torch.dtype, drawn: bool = True
    ) -> None:
        super().__init__()
        self.attention = SelfAttention(shape, layer, dtype, drawn) if layer.heads else None
        self.mlp = MLP(shape, layer, dtype, drawn) if layer.hidden else None
        self.norm1 = _norm(shape, dtype)
        self.norm2 = _norm(shape, dtype)

    def forward(self, h: Tensor, key_mask: Tensor | None = None) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        h = emptied(h, key_mask)
        if self.attention is not None:
            h = h + self.attention(self.norm1(h), key_mask)
        if self.mlp is not None:
            h = h + self.mlp(self.norm2(h))
        return h


class Transformer(nn.Module):
    """A list of layers, applied ``loops`` times: one after another, or in the order of the shape.

    Args:
        shape: sizes and kinds.
        dtype: of every parameter.
        drawn: normal initial weights from torch's global generator; otherwise matrices hold anything until
            they are filled, and no generator moves.
    """

    def __init__(
        self, shape: TransformerShape, dtype: torch.dtype = torch.float64, drawn: bool = True
    ) -> None:
        super().__init__()
        self.shape = shape
        self.layers = nn.ModuleList(TransformerLayer(shape, layer, dtype, drawn) for layer in shape.layers)

    def block(self, h: Tensor, key_mask: Tensor | None = None) -> list[Tensor]:
        """The state after each layer of one pass; h is (B, N, D)."""
        return list(self.states(h, key_mask))

    def states(self, h: Tensor, key_mask: Tensor | None = None) -> Iterator[Tensor]:
        """The same one by one: a long pass need not hold them all."""
        for number in self.shape.sequence:
            h = self.layers[number](h, key_mask)
            yield h

    def forward(self, h: Tensor, key_mask: Tensor | None = None) -> Tensor:
        """(B, N, D) -> (B, N, D), all loops.

        Args:
            h: tokens.
            key_mask: (B, N) bool, True at real tokens; False tokens are never attended to, and what they hold
                reaches no gradient.
        """
        for _ in range(self.shape.loops):
            for number in self.shape.sequence:
                h = self.layers[number](h, key_mask)
        return h


def emptied(h: Tensor, key_mask: Tensor | None) -> Tensor:
    """h (B, N, D) with zeros, and a gradient of zero, where ``key_mask`` (B, N) is False."""
    return h if key_mask is None else h.masked_fill(~key_mask[:, :, None], 0.0)


def _attended(key_mask: Tensor, causal: bool) -> Tensor:
    """(B, 1, N or 1, N): whom each token attends to; where none is real, emptied ones, whose average is 0."""
    if not causal:
        return (key_mask | ~key_mask.any(-1, keepdim=True))[:, None, None, :]
    own = torch.eye(key_mask.shape[1], dtype=torch.bool, device=key_mask.device)
    earlier = torch.ones_like(own).tril()
    seen = key_mask[:, None, :] & earlier
    return (seen | (own & ~seen.any(-1, keepdim=True)))[:, None]


def _recorded() -> bool:
    """Whether a graph is being recorded for other sizes, which a loop over slices would fix."""
    return torch.jit.is_tracing() or torch.compiler.is_compiling()  # pyright: ignore[reportPrivateImportUsage]


def _norm(shape: TransformerShape, dtype: torch.dtype) -> nn.Module:
    if shape.norm == "layer":
        return nn.LayerNorm(shape.width, dtype=dtype)
    if shape.norm == "rms":
        return nn.RMSNorm(shape.width, dtype=dtype)
    return nn.Identity()
