"""Shared by the tests of symmetries and alignment: random transformers, and what rounding does to a copy."""

import math

import torch
from model_instances import module_error
from torch import Tensor

from constructions.language.rounding import gamma, unit_roundoff
from constructions.language.stream import Stream
from constructions.language.transformer import MLP, LayerShape, SelfAttention, Transformer, TransformerShape
from training.comparison.symmetry.group import CONDITION


def generator(seed: int = 0) -> torch.Generator:
    """Random numbers."""
    return torch.Generator().manual_seed(seed)


def random_transformer(
    width: int = 9,
    heads: int = 2,
    head_dim: int = 3,
    hidden: int = 7,
    layers: int = 2,
    activation: str = "relu",
    norm: str = "none",
    seed: int = 0,
) -> Transformer:
    """Normal weights everywhere, gains and biases of norms included; float64."""
    layer = LayerShape(heads, head_dim, hidden)
    shape = TransformerShape(width, (layer,) * layers, activation=activation, norm=norm, score_scale=0.7)  # pyright: ignore
    transformer = Transformer(shape).requires_grad_(False)
    draws = generator(seed)
    for weight in transformer.parameters():
        weight.copy_(torch.randn(weight.shape, generator=draws, dtype=torch.float64))
    return transformer


def slotted_stream(n_slots: int, width: int) -> tuple[Stream, tuple]:
    """A stream of this width with two blocks of slots, and these blocks."""
    stream = Stream(x=width - 2 * n_slots, slot=n_slots, resp=n_slots)
    return stream, (stream.slot, stream.resp)


def tokens(width: int, seed: int = 5) -> Tensor:
    """(2, 6, width) normal tokens, float64."""
    return torch.randn(2, 6, width, generator=generator(seed), dtype=torch.float64)


def basis_error(head_dim: int) -> float:
    """|W_Q' W_K'^T - W_Q W_K^T| / (|W_Q| |W_K|) for W_Q' = fl(W_Q S), W_K' = fl(W_K fl(S^-T)).

    |fl(W S) - W S| <= gamma_E |W| |S|, twice, and S fl(S^-1) = I up to 2 gamma_2E |S| |S^-1| for the products
    in the two, and 2 q |S| |S^-1| for factors Q with |Q^T Q - I| <= q = sqrt(E) gamma_{8 E^2} (Householder).
    |S| |S^-1| <= E CONDITION.
    """
    E, u = head_dim, unit_roundoff(torch.float64)
    orthogonal = math.sqrt(E) * gamma(8 * E * E, u)
    return E * CONDITION * (2 * gamma(E, u) + 2 * gamma(2 * E, u) + 2 * orthogonal)


def copy_tolerance(module: SelfAttention | MLP, copied: SelfAttention | MLP, h: Tensor) -> float:
    """How far |.|_2 a token's output may differ between a sub-layer and its random copy, on h.

    Each evaluation errs by module_error. An attention's forms are off by basis_error: a score by that times
    eta^2 |W_Q| |W_K| c, the log of a weight by twice as much, and the value by basis_error. The scale of a
    hidden unit rounds three numbers once each, within the operations that module_error counts, hence twice.
    """
    total = module_error(module, h) + 2 * module_error(copied, h)
    if isinstance(module, SelfAttention):
        eta, error = float(h.norm(dim=-1).max()), basis_error(module.layer.head_dim)
        for q, k, v, o in zip(module.query, module.key, module.value, module.output, strict=True):
            score = 2 * error * eta**2 * float(q.norm() * k.norm()) * module.shape.score_scale
            total += (math.expm1(score) + error) * eta * float(v.norm() * o.norm())
    return total


def largest_excess(original: Transformer, other: Transformer, columns: Tensor) -> float:
    """Largest (difference / tolerance) over the sub-layers of two networks; at most 1 for equal functions."""
    h, worst = tokens(original.shape.width), 0.0
    for mine, theirs in zip(original.layers, other.layers, strict=True):
        pairs = [(mine.norm1, theirs.norm1), (mine.norm2, theirs.norm2)]
        for a, b in pairs:
            error = 2 * module_error(a, h) if isinstance(a, torch.nn.LayerNorm) else 0.0
            gap = (a(h)[..., columns] - b(h[..., columns])).norm(dim=-1).max()
            worst = max(worst, float(gap) / error if error else float(gap > 0) * math.inf if gap else 0.0)
        for a, b in ((mine.attention, theirs.attention), (mine.mlp, theirs.mlp)):
            gap = (a(h)[..., columns] - b(h[..., columns])).norm(dim=-1).max()
            worst = max(worst, float(gap) / copy_tolerance(a, b, h))
    return worst
