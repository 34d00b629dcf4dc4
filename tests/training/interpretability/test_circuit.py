"""A circuit is checked when it is made, and knows its blocks and the layers that are applied."""

from dataclasses import replace

import pytest
import torch
from circuit_instances import em, em_circuit
from model_instances import small_model
from torch import nn

from training.interpretability.circuit import circuit_of, learned_circuit, transformer_of


def test_it_holds_the_weights_of_the_construction() -> None:
    circuit, transformer = em_circuit(torch.float32), em().to_transformer(torch.float32)
    found = circuit.transformer.state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in transformer.state_dict().items())
    assert (circuit.name, circuit.source) == (em().construction.name, em().construction.source)
    assert circuit.columns("mu") == em().stream.mu.slice
    assert [roles.name for roles in circuit.applied] == ["E", "M"] * 2
    assert circuit_of(em().construction).roles == circuit.roles
    assert not any(weight.requires_grad for weight in circuit.transformer.parameters())


def test_wrong_roles_make_no_circuit() -> None:
    circuit = em_circuit()
    with pytest.raises(ValueError, match=r"layer 0 \(M\) has 1 heads, the roles name 2"):
        replace(circuit, roles=circuit.roles[::-1])
    with pytest.raises(ValueError, match="the blocks end at column 19, needs the width 22"):
        replace(circuit, blocks=circuit.blocks[:-1])
    with pytest.raises(ValueError, match="roles are named without blocks of the stream"):
        replace(circuit, blocks=())


def test_uniform_has_the_blocks_and_no_roles() -> None:
    circuit = em_circuit()
    even = circuit.uniform()
    assert (even.blocks, even.roles, even.applied) == (circuit.blocks, (), ())
    assert [len(layer.attention.query) for layer in even.transformer.layers] == [2] * 4  # type: ignore[union-attr]


def test_of_a_learned_network_nothing_is_claimed() -> None:
    model = small_model()
    circuit = learned_circuit(model, "small", "a test")
    assert circuit.transformer is model.backbone
    assert (circuit.blocks, circuit.roles, circuit.applied) == ((), (), ())
    assert transformer_of(circuit) is transformer_of(model)
    with pytest.raises(ValueError, match="block is 'mu', the stream has none"):
        circuit.columns("mu")
    model.backbone = nn.Identity()
    with pytest.raises(ValueError, match="the backbone is 'transformer', needs 'transformer'"):
        learned_circuit(model, "small", "a test")
