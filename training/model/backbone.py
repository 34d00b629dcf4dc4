"""The layers of TGMM, and the weights that training starts from."""

from __future__ import annotations

import math

import torch
from torch import nn

from constructions.language.transformer import LayerShape, Transformer, TransformerShape
from training.model.settings import ModelConfig
from training.model.slots import begin_with_em, check_slots_fit, slots_shape


def backbone_of(config: ModelConfig, dtype: torch.dtype) -> nn.Module:
    """The layers.

    Raises:
        ValueError: sizes that the read-out "slots" does not fit into; the package of mamba2 is missing.
    """
    if config.readout == "slots":
        check_slots_fit(config)
        return Transformer(slots_shape(config), dtype, drawn=False)
    if config.backbone == "mamba2":
        from training.model.mamba import mamba2_backbone  # optional packages

        return mamba2_backbone(config.width, config.layers, config.heads, dtype)
    head_dim = config.width // config.heads
    layer = LayerShape(config.heads, head_dim, config.mlp_ratio * config.width)
    shape = TransformerShape(
        config.width,
        (layer,) * config.layers,
        config.loops,
        activation="gelu",
        norm="layer",
        score_scale=head_dim**-0.5,
        causal=config.causal,
    )
    return Transformer(shape, dtype)


def initialise(model: nn.Module, config: ModelConfig) -> None:
    """Normal weights of variance 1/fan-in; what adds to the stream, over sqrt(2 layers loops) besides.

    Biases and norms stay as their modules make them; a Mamba2 backbone initialises itself. With the read-out
    "slots" the constructed EM steps stand here instead.
    """
    if config.readout == "slots":
        if isinstance(model.backbone, Transformer) and not next(model.parameters()).is_meta:
            begin_with_em(model.backbone, config)
        return
    depth = math.sqrt(2 * config.layers * config.loops)
    for name, parameter in model.named_parameters():
        part = name.rsplit(".", 1)[-1]
        if name.startswith("backbone."):
            if config.backbone == "mamba2" or parameter.ndim < 2:
                continue
            # W_O (heads, head_dim, D) sums over heads as well.
            fan_in = parameter.shape[:-1].numel() if part == "output" else parameter.shape[-2]
            std = fan_in**-0.5 / (depth if part in ("output", "w2") else 1.0)
        elif name == "readin.weight":
            # A coordinate uniform in [-s, s] has variance s^2/3: the points then enter with variance about 1.
            std = math.sqrt(3 / config.n_features)
        elif name in ("embedding", "positions"):
            std = 0.02
        elif name.startswith("tokens."):
            std = 1.0
        elif name.startswith("pooling."):
            std = parameter.shape[0] ** -0.5
        elif name.startswith("heads.") and part == "weight":
            std = config.width**-0.5
        else:
            continue
        nn.init.normal_(parameter, std=std)


def add_nothing(layer: nn.Module) -> None:
    """The layer leaves the stream as it is, until training changes what it writes."""
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.rsplit(".", 1)[-1] in ("output", "w2", "b2"):
                parameter.zero_()
