"""What the read-out would say after each layer, and layers that are applied more than once."""

from dataclasses import replace

import pytest
import torch

from training.model.settings import ModelConfig
from training.model.tgmm import TGMM

SIZES = {"layers": 3, "heads": 2, "width": 16, "mlp_ratio": 2}
KINDS = [
    {},
    {"causal": True, "max_positions": 9},
    {"task_embedding": False},
    {"covariance": "full", "standardise": True, "data_scale": 1.0},
    {"covariance": "diagonal", "standardise": True, "data_scale": 1.0},
]


def instance():
    X = 2 * torch.randn(3, 9, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return X, torch.arange(9) < torch.tensor([[9], [4], [6]])


def parts(estimate):
    return [part for part in estimate if part is not None]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(kind) or "plain")
def test_a_layers_estimate_is_that_of_the_network_cut_behind_it(kind):
    model = TGMM(ModelConfig(2, (2, 3), **SIZES, **kind), dtype=torch.float64)
    X, mask = instance()
    with torch.no_grad():
        found = model.layerwise(X, 3, mask)
        assert len(found) == 3
        for layers, estimate in enumerate(found, 1):
            cut = TGMM(replace(model.config, layers=layers), dtype=torch.float64)
            cut.load_state_dict({n: v for n, v in model.state_dict().items() if n in cut.state_dict()})
            pairs = zip(parts(estimate), parts(cut.network(X, 3, mask)), strict=True)
            assert all(torch.equal(*pair) for pair in pairs)  # the same sums


def test_loops_apply_the_layers_again():
    model = TGMM(ModelConfig(2, (2, 3), **SIZES, loops=2), dtype=torch.float64)
    written_out = TGMM(ModelConfig(2, (2, 3), **SIZES | {"layers": 6}), dtype=torch.float64)
    weights = model.state_dict()
    for name in written_out.state_dict():
        _, _, rest = name.partition("backbone.layers.")
        if rest:
            number, _, inner = rest.partition(".")
            weights[name] = model.state_dict()[f"backbone.layers.{int(number) % 3}.{inner}"]
    written_out.load_state_dict(weights)
    X, mask = instance()
    with torch.no_grad():
        for one, other in zip(model.layerwise(X, 2, mask), written_out.layerwise(X, 2, mask), strict=True):
            assert all(torch.equal(*pair) for pair in zip(parts(one), parts(other), strict=True))
        assert torch.equal(model.network(X, 2, mask).means, written_out.network(X, 2, mask).means)


def test_what_has_no_estimate_of_every_layer():
    model = TGMM(ModelConfig(2, (2,), **SIZES, readout="pooling"))
    with pytest.raises(ValueError, match="needs the read-out 'tokens' and a transformer"):
        model.layerwise(torch.zeros(1, 4, 2), 2)
    with pytest.raises(ValueError, match="loops is 2, needs 1 with the backbone 'mamba2'"):
        ModelConfig(2, (2,), backbone="mamba2", loops=2)
    with pytest.raises(ValueError, match="loops is 0, needs an integer of at least 1"):
        ModelConfig(2, (2,), loops=0)
