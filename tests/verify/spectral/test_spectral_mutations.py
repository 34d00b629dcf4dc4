"""Weights of the spectral algorithm with a product left out: its bounds tell; and every layer's picture."""

from typing import Any

import pytest
import torch

from constructions.language.transformer import TransformerLayer
from verify.engine.conformance import Case, one_figure_a_layer
from verify.spectral.theorem import ESTIMATED, SPECTRAL, SQUARES, Spectral

THEOREMS = (SPECTRAL, SQUARES, ESTIMATED)


def products(weights: Any) -> list[tuple[int, int]]:
    """Layer and first head of every pair; the head that compares starts is alone."""
    layers = weights.construction.layers
    return [
        (number, index) for number, layer in enumerate(layers) for index in range(0, len(layer.all_heads), 2)
    ]


def noticed(case: Case, layer: int, head: int) -> bool:
    """Whether the bounds are left, or nothing but numbers that are none, without the product."""
    transformer = case.weights.to_transformer(case.dtype)
    tokens, mask = case.tokens()
    module: TransformerLayer = transformer.layers[layer]  # pyright: ignore[reportAssignmentType]
    with torch.no_grad():
        if module.attention is not None:
            module.attention.output[head : head + 2].zero_()
        return any(case.outside(transformer(tokens, mask)).values())


@pytest.mark.slow
@pytest.mark.parametrize("theorem", THEOREMS, ids=lambda t: t.key)
def test_a_missing_product_is_noticed(theorem: Spectral) -> None:
    """By some family, at the smallest size. What only rounding or ties need cannot be noticed there."""
    spared = {"refresh", "rest"}
    missed = []
    cases = [Case.of(theorem, torch.float64, family) for family in theorem.families]
    for layer, head in products(cases[0].weights):
        if not any(noticed(case, layer, head) for case in cases):
            written = cases[0].weights.construction.layers[layer].all_heads[head].write.name
            missed.append((cases[0].weights.construction.layers[layer].name, written))
    assert not [m for m in missed if not spared & set(m)], missed


@pytest.mark.slow
@pytest.mark.parametrize("theorem", THEOREMS, ids=lambda t: t.key)
def test_every_layer_is_drawn(theorem: Spectral) -> None:
    one_figure_a_layer(theorem)
