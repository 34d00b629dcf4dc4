"""Networks evaluated together: each is itself, and none sees another."""

import dataclasses

import pytest
import torch

from constructions.language.transformer import Transformer
from training.comparison.finding.learning.stacked import StackedNetworks
from training.comparison.origins.em_problem import EMProblem

PROBLEM = EMProblem(n_features=1, n_components=2, n_samples=6, steps=2, pieces=4, dtype=torch.float64)


def drawn(activation="relu", count=3) -> list[Transformer]:
    shape = dataclasses.replace(PROBLEM.constructed().shape, activation=activation)
    generator = torch.Generator().manual_seed(0)
    networks = [Transformer(shape) for _ in range(count)]
    for network in networks:
        for weight in network.parameters():
            weight.data = 0.3 * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    return networks


def tokens(count=3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    width = PROBLEM.construction.stream.width
    return torch.randn((count, 4, 6, width), generator=generator, dtype=torch.float64)


def close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """float64 has 1.1e-16; some 300 operations in a row, on numbers of up to 1e3 times the result."""
    return bool((found - expected).abs().max() <= 300 * 1.2e-16 * 1e3 * expected.abs().max())


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_states_are_those_of_each_network(activation):
    networks, h = drawn(activation), tokens()
    found = StackedNetworks(networks).states(h, 2)
    assert len(found) == 8
    for seed, network in enumerate(networks):
        assert close(found[-1][seed], network(h[seed]))
        assert close(found[1][seed], network.layers[0](h[seed]))
    assert not close(found[-1][0], networks[1](h[0]))  # the control: another network


def test_gradients_are_those_of_each_network():
    networks, h = drawn(), tokens()
    stacked = StackedNetworks(networks)
    weights = {name: weight.requires_grad_(True) for name, weight in stacked.weights.items()}
    stacked.states(h, 2)[-1].square().sum().backward()
    for seed, network in enumerate(networks):
        network.requires_grad_(True)
        network(h[seed]).square().sum().backward()
        for name, weight in network.named_parameters():
            together, alone = weights[name].grad, weight.grad
            assert together is not None
            assert alone is not None
            assert close(together[seed], alone)
            assert float(alone.norm()) > 0


def test_a_network_comes_out_as_it_went_in():
    networks = drawn()
    again = StackedNetworks(networks).network(1)
    for one, other in zip(networks[1].parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    assert again.shape == networks[1].shape
