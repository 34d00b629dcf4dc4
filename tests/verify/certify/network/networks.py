"""Small random transformers, and their function written down naively in 60 digits."""

from dataclasses import replace
from typing import Any

import mpmath
import torch
from torch import Tensor

from constructions.language.heads import Attention
from constructions.language.transformer import LayerShape, Transformer, TransformerShape
from verify.balls.flint import arb, precision

WIDTH, TOKENS = 5, 6


def random_transformer(
    seed: int, kinds: tuple[Attention, ...], dtype: torch.dtype = torch.float64, **options: Any
) -> Transformer:
    """A layer a kind, weights half of them 0. ``output_norm`` is for softmax: what ReLU reads is often 0."""
    norm = options.pop("output_norm", False)
    layers = tuple(LayerShape(2, 3, 7, norm and kind == "softmax", kind) for kind in kinds)
    shape = replace(TransformerShape(WIDTH, layers), **options)
    transformer = Transformer(shape, dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in transformer.parameters():
            drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 2
            kept = torch.rand(parameter.shape, generator=generator) < 0.5
            parameter.copy_(drawn * kept)
        for layer in transformer.layers:
            if layer.attention.layer.output_norm:  # pyright: ignore
                layer.attention.norm.weight.fill_(0.75)  # pyright: ignore
    return transformer


def random_tokens(seed: int, tasks: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    """(tasks, TOKENS, WIDTH); the first two tokens are the same."""
    generator = torch.Generator().manual_seed(seed)
    h = torch.randn(tasks, TOKENS, WIDTH, generator=generator, dtype=torch.float64)
    h[:, 1] = h[:, 0]
    return h.to(dtype)


def plainly(transformer: Transformer, h: Tensor, mask: Tensor | None = None) -> list[list[Any]]:
    """The real tokens of one task (N, D) after all loops, in 60 digits, straight from the formula."""
    shape = transformer.shape
    with mpmath.workdps(60):
        rows = [[mpmath.mpf(x) for x in row] for row in (h if mask is None else h[mask]).double().tolist()]
        for number in shape.sequence * shape.loops:
            layer: Any = transformer.layers[number]
            rows = _fed(layer.mlp, _attended(shape, layer.attention, rows))
    return rows


def _attended(shape: TransformerShape, attention: Any, rows: list[list[Any]]) -> list[list[Any]]:
    added = [[mpmath.mpf(0)] * shape.width for _ in rows]
    weights = zip(attention.query, attention.key, attention.value, attention.output, strict=True)
    for query, key, value, output in weights:
        q, k, v = (_times(rows, weight) for weight in (query, key, value))
        for i, one in enumerate(q):
            scores = [shape.score_scale * mpmath.fdot(one, other) for other in k]
            if attention.kind == "softmax":
                total = mpmath.fsum(map(mpmath.exp, scores))
                shares = [mpmath.exp(s) / total for s in scores]
            else:
                shares = [max(s, 0) / (len(rows) if shape.divide_by_tokens else 1) for s in scores]
            read = [mpmath.fdot(shares, column) for column in zip(*v, strict=True)]
            added[i] = _plus(added[i], _times([read], output)[0])
    if isinstance(attention.norm, torch.nn.RMSNorm):
        gain = attention.norm.weight.tolist()
        roots = [mpmath.sqrt(mpmath.fdot(row, row) / shape.width) for row in added]
        added = [
            [g * x / r for g, x in zip(gain, row, strict=True)] for row, r in zip(added, roots, strict=True)
        ]
    return [_plus(row, more) for row, more in zip(rows, added, strict=True)]


def _fed(mlp: Any, rows: list[list[Any]]) -> list[list[Any]]:
    before = [_plus(row, mlp.b1.tolist()) for row in _times(rows, mlp.w1)]
    after = _times([[max(x, 0) for x in row] for row in before], mlp.w2)
    return [_plus(_plus(row, more), mlp.b2.tolist()) for row, more in zip(rows, after, strict=True)]


def _times(rows: list[list[Any]], weight: Tensor) -> list[list[Any]]:
    columns = weight.double().mT.tolist()
    return [[mpmath.fdot(row, column) for column in columns] for row in rows]


def _plus(one: list[Any], other: list[Any]) -> list[Any]:
    return [x + y for x, y in zip(one, other, strict=True)]


def holds(ball: arb, number: Any) -> bool:
    """Whether a ball, at most 1e-25 wide, can hold a number below 100 known to 60 digits."""
    with precision(400):
        return ball.overlaps(arb(mpmath.nstr(number, 60), 1e-50)) and bool(ball.rad() < arb(10) ** -25)
