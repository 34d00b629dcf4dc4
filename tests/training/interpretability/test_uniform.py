"""Layers of one shape compute what the uneven ones do, and what was added is zeros."""

import pytest
import torch
from circuit_instances import em_circuit, em_tokens, normal_tokens, states_by_hand, uneven
from model_instances import module_error

from constructions.language.transformer import Transformer
from training.interpretability.uniform import uniform, uniform_shape


def excess(original: Transformer, tokens: torch.Tensor) -> float:
    """Largest difference of a layer's output over what rounding allows, both on the state before it.

    Either evaluation of a sub-layer errs by module_error at most; the MLP reads a state that is off by what
    the attention's evaluations are, which its own error bound, taken at twice the size, covers: products of
    two roundings.
    """
    shape, found = original.shape, uniform(original)
    state, worst = tokens, 0.0
    for number, layer in zip(shape.sequence * shape.loops, found.layers, strict=True):
        mine, rounding = original.layers[number], 0.0
        h = state
        for norm, part in ((mine.norm1, mine.attention), (mine.norm2, mine.mlp)):
            if part is not None:
                rounding += 4 * module_error(part, norm(h))
                h = h + part(norm(h))
        gap = (layer(state) - mine(state)).norm(dim=-1).max()
        worst = max(worst, float(gap) / rounding)
        state = mine(state)
    return worst


@pytest.mark.parametrize("options", [{}, {"causal": True}, {"norm": "layer", "activation": "gelu"}])
def test_the_function_is_that_of_the_original(options: dict) -> None:
    transformer = uneven(**options)
    assert excess(transformer, normal_tokens()) <= 1
    found = uniform(transformer)
    other = states_by_hand(found, normal_tokens())
    assert len(other) == 1 + 8  # four layers of the order, twice
    found.layers[3].attention.value.mul_(1.001)  # pyright: ignore
    assert (states_by_hand(found, normal_tokens())[4:] - other[4:]).abs().max() > 1e-6


@pytest.mark.parametrize("order", [(0,), (2, 1)])
def test_relu_attention_is_kept(order: tuple[int, ...]) -> None:
    """On whole numbers, where floating point is exact."""
    transformer = uneven(attention="relu", score_scale=1.0, loops=1, order=order)
    for weight in transformer.parameters():
        weight.copy_((5 * weight).round())
    tokens = normal_tokens().round()
    ours = states_by_hand(transformer, tokens)
    assert ours.abs().max() < 2.0**53
    assert torch.equal(states_by_hand(uniform(transformer), tokens), ours)


def test_of_a_construction_too() -> None:
    circuit = em_circuit()
    assert excess(circuit.transformer, em_tokens(0)) <= 1


def test_what_is_added_is_zero() -> None:
    transformer = uneven()
    found = uniform(transformer)
    shape = uniform_shape(transformer.shape)
    assert {(layer.heads, layer.head_dim, layer.hidden) for layer in shape.layers} == {(2, 4, 7)}
    assert (shape.loops, shape.order, found.shape) == (1, None, shape)
    for number, layer in zip((2, 0, 1, 0) * 2, found.layers, strict=True):
        for name, weight in layer.named_parameters():
            given = dict(transformer.layers[number].named_parameters()).get(name)
            if given is None:
                assert not weight.any()
            else:
                corner = tuple(map(slice, given.shape))
                assert torch.equal(weight[corner], given)
                assert weight.count_nonzero() == given.count_nonzero()
    assert not any(weight.requires_grad for weight in found.parameters())
