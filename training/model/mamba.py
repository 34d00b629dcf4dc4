"""Mamba2 in place of attention: the backbone "mamba2" of tgmm.py, by Hugging Face's `transformers`.

    state <- exp(-a dt) state + dt x B^T,    y = state C + D x      a head, step by step; x, B, C, dt from h
    h     <- h + W_out norm(y * silu(z))

The package is optional (extra `mamba`) and imported when the backbone is built. Without `mamba-ssm` its
reference implementation runs, plain torch on any device.

Padding. A step on an empty token is not empty: the state decays by exp(-a dt), and the convolution's bias
enters it. So each row is reordered, what is real first and in its own order, padding last. The model is
causal, so nothing that stands last reaches the real steps before it: in the convolution it does not occur,
and in the scan, whose products run over whole chunks, it has the weight exp(-inf) = 0 exactly. As 0 * NaN is
not 0, it is emptied first. (Padding in front would have to leave the state at zero. The reference
implementation does so, but the fused kernels of `mamba-ssm` take no mask after the convolution, and its bias
would leak into the state.)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from console.extras import missing

EXPAND = 2
"""Inner width over width, as in Mamba-2 (arXiv 2405.21060); a head has EXPAND * width / heads dimensions."""

STATE_SIZE = 64
"""Columns of each head's state."""

CHUNK_SIZE = 32
"""Steps worked through at once, as attention of that length; the memory of a step grows with it.

On one CPU thread, 16 sequences of 130 steps: 32 is as fast as 16, and 1.2 and 2 times as fast as 64 and 128.
"""


class Mamba2Backbone(nn.Module):
    """A stack of `transformers` Mamba2 blocks between given tokens; see the module's text for padding."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, h: Tensor, key_mask: Tensor | None = None) -> Tensor:
        """(B, S, D) -> (B, S, D), causal.

        Args:
            h: tokens.
            key_mask: (B, S) bool, True at real tokens. What stands at False changes nothing at True, to the
                bit, not even NaN; the output there means nothing.
        """
        if key_mask is None:
            return self.model(inputs_embeds=h).last_hidden_state
        order = torch.argsort((~key_mask).to(torch.uint8), dim=1, stable=True)
        emptied = h.masked_fill(~key_mask[:, :, None], 0.0)
        states = self.model(inputs_embeds=_take(emptied, order)).last_hidden_state
        return _take(states, order.argsort(dim=1))


def mamba2_classes() -> tuple[Any, Any]:
    """The model and its configuration in `transformers`; ValueError where it is not installed."""
    try:
        from transformers import Mamba2Config, Mamba2Model
    except ImportError:
        raise ValueError(missing("backbone 'mamba2'", "mamba")) from None
    return Mamba2Model, Mamba2Config


def mamba2_backbone(width: int, layers: int, heads: int, dtype: torch.dtype) -> Mamba2Backbone:
    """A Mamba2 of `layers` blocks, freshly initialised, without token embeddings and final norm.

    Heads of dimension EXPAND * width / heads, one group, states of STATE_SIZE, convolutions over 4 steps;
    normal weights of variance 1/width, what adds to the stream divided by sqrt(layers). Whatever `dtype` is,
    norms and the scan are computed in float32, as in the package.

    Raises:
        ValueError: EXPAND * width is not a multiple of heads, or `transformers` is not installed.
    """
    if EXPAND * width % heads:
        raise ValueError(f"heads is {heads}, needs a divisor of {EXPAND} * width = {EXPAND * width}")
    made, configuration = mamba2_classes()
    config = configuration(
        hidden_size=width,
        num_hidden_layers=layers,
        num_heads=heads,
        head_dim=EXPAND * width // heads,
        expand=EXPAND,
        state_size=STATE_SIZE,
        n_groups=1,
        chunk_size=CHUNK_SIZE,
        initializer_range=width**-0.5,
        rescale_prenorm_residual=True,
        residual_in_fp32=dtype != torch.float64,
        use_cache=False,
        vocab_size=1,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = made(config)
    model.set_submodule("embeddings", nn.Identity())  # its one row would be a parameter that nothing uses
    model.set_submodule("norm_f", nn.Identity())  # the stream is the output, as of constructions.Transformer
    return Mamba2Backbone(model).to(dtype)


def _take(h: Tensor, order: Tensor) -> Tensor:
    """Row b of the result is h[b, order[b]]; h (B, S, D), order (B, S)."""
    return h.gather(1, order[:, :, None].expand_as(h))
