"""The layers in floating point, run directly: kernel by kernel, and what was really run.

In bfloat16 on a CPU the runtime computes softmax attention in float32 (constructions.language.transformer),
so the dtype that the kernel was given is noted, not taken from the dtype of the layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from constructions.language.hypotheses import HypothesisError
from constructions.language.transformer import Transformer
from verify.engine.theorem import Theorem

KERNELS = {"math": SDPBackend.MATH, "flash": SDPBackend.FLASH_ATTENTION}
"""torch's scaled-dot-product kernels that run on a CPU."""

PRODUCTS = "products"
"""What ReLU attention is computed by."""


@dataclass(frozen=True, eq=False)
class Read:
    """One task read in: tokens (1, N, D), which are real, and why the theorem refuses the dtype, if so."""

    instance: Any
    tokens: Tensor
    mask: Tensor
    refused: str | None


@dataclass(frozen=True, eq=False)
class Ran:
    """The stream (1, N, D) after all layers, and the dtypes that softmax attention was computed in."""

    stream: Tensor
    attention: tuple[torch.dtype, ...]


def read_in(theorem: Theorem[Any], weights: Any, instance: Any, dtype: torch.dtype) -> Read:
    """The task in numbers that ``dtype`` holds.

    Where the theorem's own check refuses it in ``dtype``, the tokens are those of float64, rounded.

    Raises:
        HypothesisError: it is refused in float64 too.
    """
    instance = theorem.rounded(instance, dtype)
    try:
        theorem.check(weights, instance, dtype)
        return Read(instance, *theorem.embed(weights, instance, dtype), None)
    except HypothesisError as problem:
        theorem.check(weights, instance, torch.float64)
        tokens, mask = theorem.embed(weights, instance, torch.float64)
        return Read(instance, tokens.to(dtype), mask, str(problem))


def kernels_of(transformer: Transformer) -> tuple[str, ...]:
    """The kernels to run: both where an attention is softmax."""
    shape = transformer.shape
    softmax = any(layer.heads and shape.kind_of(layer) == "softmax" for layer in shape.layers)
    return tuple(KERNELS) if softmax else (PRODUCTS,)


def run_layers(transformer: Transformer, read: Read, kernel: str | None = None) -> Ran:
    """All layers, all loops; ``kernel`` None: the one that torch picks.

    Raises:
        RuntimeError: torch has no such kernel for these numbers.
    """
    chosen = KERNELS.get(kernel or "")
    mask = None if bool(read.mask.all()) else read.mask
    with torch.no_grad(), nullcontext() if chosen is None else sdpa_kernel(chosen), _Watch() as seen:
        stream = transformer(read.tokens, mask)
    return Ran(stream, tuple(dict.fromkeys(seen.dtypes)))


@dataclass
class _Watch(TorchFunctionMode):
    """Notes the dtype of every call of scaled-dot-product attention."""

    dtypes: list[torch.dtype] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if getattr(func, "__name__", "") == "scaled_dot_product_attention":
            self.dtypes.append(args[0].dtype)
        return func(*args, **(kwargs or {}))
