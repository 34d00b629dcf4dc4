"""The networks of a cell before training: random weights, a layer given, more heads and units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from constructions.language.transformer import Transformer, TransformerShape
from training.comparison.common.random_paths import OriginPurpose, generator_of
from training.comparison.finding.learning.cells import Cell, Given
from training.comparison.finding.learning.stacked import E, M, StackedNetworks
from training.model.balance import balanced


def shape_of(cell: Cell) -> TransformerShape:
    """The construction's, with so many times its heads and units; a layer that is given keeps its own."""
    shape = cell.problem.constructed().shape
    layers = [
        layer
        if place == given_layer(cell.given)
        else replace(layer, heads=cell.heads * layer.heads, hidden=cell.units * layer.hidden)
        for place, layer in enumerate(shape.layers)
    ]
    return replace(shape, layers=tuple(layers), activation=cell.activation)


def given_layer(given: Given) -> int | None:
    """Its place."""
    return {"nothing": None, "E": E, "M": M}[given]


def first_networks(cell: Cell, seeds: Sequence[int]) -> StackedNetworks:
    """Normal weights of variance scale^2 / (2 fan-in), biases 0; a layer given is the construction's."""
    return StackedNetworks([first_network(cell, seed) for seed in seeds])


@torch.no_grad()
def first_network(cell: Cell, seed: int) -> Transformer:
    """That of one seed, in float32."""
    generator = generator_of(OriginPurpose.WEIGHTS, seed)
    network = Transformer(shape_of(cell), torch.float32, drawn=False)
    for parameter in network.parameters():
        spread = cell.initial_scale * (2 * parameter.shape[-2]) ** -0.5 if parameter.ndim >= 2 else 0.0
        parameter.copy_(spread * torch.randn(parameter.shape, generator=generator))
    place = given_layer(cell.given)
    if place is not None:
        given = balanced(cell.problem.constructed()).layers[place].to(torch.float32)
        network.layers[place].load_state_dict(given.state_dict())
    return network


def trained_names(cell: Cell, networks: StackedNetworks) -> list[str]:
    """The weights that are not given."""
    return [name for name in networks.weights if not name.startswith(f"layers.{given_layer(cell.given)}.")]
