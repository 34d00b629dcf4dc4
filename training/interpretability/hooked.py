"""The same transformer as a HookedTransformer of TransformerLens, for the tools that others wrote for it.

hooked = to_hooked_transformer(circuit)
final, cache = run_on_stream(hooked, tokens)      # tokens (B, T, D): the residual stream before layer 0
cache["resid_post", 1]                            # the stream after layer 1
cache["z", 1]                                     # (B, T, heads, head_dim) what each head has read

There are no words to embed: embedding and unembedding are zeros, and the run starts at the stream. Loops are
unrolled, and layers with fewer heads or hidden units than the largest get some of zeros (uniform.py), so that
a head of zeros is there to be told from a real one.

The package is optional (extra `interpretability`); TransformerLens 4 has no HookedTransformer any more.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from console.extras import missing
from constructions.language.transformer import Transformer
from training.interpretability.circuit import Circuit, transformer_of
from training.interpretability.uniform import uniform
from training.model.tgmm import TGMM

NORMS = {"none": None, "layer": "LN", "rms": "RMS"}

SAME_NAMES = {
    "attention.query": "attn.W_Q",
    "attention.key": "attn.W_K",
    "attention.value": "attn.W_V",
    "attention.output": "attn.W_O",
    "mlp.w1": "mlp.W_in",
    "mlp.b1": "mlp.b_in",
    "mlp.w2": "mlp.W_out",
    "mlp.b2": "mlp.b_out",
    "norm1.weight": "ln1.w",
    "norm1.bias": "ln1.b",
    "norm2.weight": "ln2.w",
    "norm2.bias": "ln2.b",
}
"""Our parameters of a layer, and those of a block of TransformerLens: of the same shape and meaning."""


def hooked_classes() -> tuple[Any, Any]:
    """HookedTransformer and its configuration; ValueError where the package is missing or has none."""
    try:
        package = importlib.import_module("transformer_lens")
        return package.HookedTransformer, package.HookedTransformerConfig
    except ImportError:
        raise ValueError(missing("to_hooked_transformer", "interpretability")) from None


def to_hooked_transformer(network: Circuit | TGMM | Transformer, most_tokens: int = 1024) -> Any:
    """A HookedTransformer that computes the same states, in the same dtype on the same device.

    Args:
        network: a circuit, a learned network (its backbone), or a transformer.
        most_tokens: n_ctx.

    Raises:
        ValueError: the package is missing; a backbone that is no transformer; what a HookedTransformer has
            not got: ReLU attention, a norm of what the heads add, a score_scale of 0.
    """
    transformer = network if isinstance(network, Transformer) else transformer_of(network)
    shape = transformer.shape
    for number, layer in enumerate(shape.layers):
        if shape.kind_of(layer) != "softmax":
            raise ValueError(f"layer {number} has ReLU attention, a HookedTransformer has softmax alone")
        if layer.output_norm:
            raise ValueError(f"layer {number} norms what its heads add, a HookedTransformer does not")
    if shape.score_scale == 0:
        raise ValueError("score_scale is 0, a HookedTransformer divides by its inverse")
    made, configuration = hooked_classes()
    even = uniform(transformer)
    weight = next(even.parameters())
    layer = even.shape.layers[0]
    norm = next((part for part in even.modules() if isinstance(part, nn.LayerNorm | nn.RMSNorm)), None)
    eps = 0.0 if norm is None else torch.finfo(weight.dtype).eps if norm.eps is None else norm.eps
    config = configuration(
        n_layers=len(even.layers),
        d_model=shape.width,
        n_ctx=most_tokens,
        n_heads=layer.heads,
        d_head=layer.head_dim,
        d_mlp=layer.hidden,
        d_vocab=1,
        act_fn=shape.activation,
        attention_dir="causal" if shape.causal else "bidirectional",
        use_attn_scale=True,
        attn_scale=1 / shape.score_scale,
        normalization_type=NORMS[shape.norm],
        eps=eps,
        dtype=weight.dtype,
        device=str(weight.device),
        init_weights=False,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "HookedTransformer is deprecated", DeprecationWarning)
        hooked = made(config)
    _fill(hooked, even)
    return hooked.requires_grad_(False).eval()


def _fill(hooked: Any, even: Transformer) -> None:
    with torch.no_grad():
        for name, weight in hooked.named_parameters():
            weight.fill_(1.0 if name == "ln_final.w" else 0.0)
        for block, layer in zip(hooked.blocks, even.layers, strict=True):
            theirs = dict(block.named_parameters())
            for name, weight in layer.named_parameters():
                theirs[SAME_NAMES[name]].copy_(weight)


def run_on_stream(hooked: Any, tokens: Tensor) -> tuple[Tensor, Any]:
    """The last state and the cache of a run that starts at the residual stream.

    Args:
        hooked: from :func:`to_hooked_transformer`.
        tokens: (B, T, D) the stream before layer 0, without padding.
    """
    return hooked.run_with_cache(tokens, start_at_layer=0, stop_at_layer=hooked.cfg.n_layers)


def states_of(hooked: Any, cache: Any) -> Tensor:
    """(L + 1, B, T, D) the stream before layer 0 and after each layer, as record_stream keeps it."""
    layers = range(hooked.cfg.n_layers)
    return torch.stack([cache["resid_pre", 0], *(cache["resid_post", layer] for layer in layers)])
