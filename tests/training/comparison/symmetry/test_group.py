"""Random copies compute the same function, and a copy that is not one is noticed."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_instances import fields, points, rounding_tolerance, small_model
from transformer_instances import (
    basis_error,
    generator,
    largest_excess,
    random_transformer,
    slotted_stream,
)

from constructions.em.weights import em_construction
from constructions.language.rounding import unit_roundoff
from constructions.language.stream import Block
from constructions.language.transformer import LayerShape, Transformer, TransformerShape
from training.comparison.symmetry import group as symmetries
from training.comparison.symmetry.group import random_bases, random_copy, random_copy_model


@settings(max_examples=15)
@given(
    n_slots=st.integers(0, 4),
    heads=st.integers(1, 3),
    head_dim=st.integers(1, 12),
    hidden=st.integers(1, 9),
    activation=st.sampled_from(["relu", "gelu"]),
    norm=st.sampled_from(["none", "layer"]),
    seed=st.integers(0, 1000),
)
def test_a_copy_is_the_same_function(n_slots, heads, head_dim, hidden, activation, norm, seed):
    original = random_transformer(10, heads, head_dim, hidden, 2, activation, norm, seed)
    blocks = slotted_stream(n_slots, 10)[1] if n_slots else ()
    found = random_copy(original, generator(seed), blocks)
    assert largest_excess(original, found.transformer, found.columns) <= 1
    assert sorted(found.slots.tolist()) == list(range(n_slots))


def test_a_copy_of_the_construction_runs_em_with_other_weights():
    em = em_construction(2, 3, 1, 10)
    s = em.stream
    blocks = (s.slot, s.pi, s.log_pi, s.resp, s.log_resp)
    original = em.to_transformer().requires_grad_(False)
    found = random_copy(original, generator(2), blocks)
    assert found.slots.tolist() != [0, 1, 2]
    assert largest_excess(original, found.transformer, found.columns) <= 1
    for name, weight in found.transformer.named_parameters():
        if not name.endswith("b2"):  # 0 in the E layer, one number for every slot in the M layer
            assert not torch.equal(weight, original.get_parameter(name)), name


def test_the_original_is_left_alone():
    original = random_transformer()
    before = copy.deepcopy(original.state_dict())
    random_copy(original, generator())
    assert all(torch.equal(before[name], value) for name, value in original.state_dict().items())


def test_the_transpose_instead_of_the_inverse_is_noticed(monkeypatch):
    def wrong(count, size, draws):
        change, _ = random_bases(count, size, draws)
        return change, change

    original = random_transformer()
    monkeypatch.setattr(symmetries, "random_bases", wrong)
    found = random_copy(original, generator(1))
    assert largest_excess(original, found.transformer, found.columns) > 1e6


@pytest.mark.parametrize(("activation", "same"), [("relu", True), ("gelu", False)])
def test_scaling_a_unit_is_a_symmetry_of_relu_alone(activation, same):
    original = random_transformer(activation=activation)
    other = copy.deepcopy(original)
    mlp = other.layers[0].mlp
    mlp.w1[:, 0] *= 1.5
    mlp.b1[0] *= 1.5
    mlp.w2[0] /= 1.5
    assert (largest_excess(original, other, torch.arange(9)) <= 1) is same


def test_a_negative_scale_is_no_symmetry():
    original = random_transformer()
    other = copy.deepcopy(original)
    mlp = other.layers[0].mlp
    mlp.w1[:, 0] *= -1
    mlp.b1[0] *= -1
    mlp.w2[0] *= -1
    assert largest_excess(original, other, torch.arange(9)) > 1e6


def test_slots_that_one_matrix_missed_are_noticed():
    _, blocks = slotted_stream(3, 9)
    original = random_transformer()
    found = random_copy(original, generator(3), blocks)
    inverse = found.columns.argsort()
    found.transformer.layers[1].mlp.w2.copy_(found.transformer.layers[1].mlp.w2[:, inverse])
    assert largest_excess(original, found.transformer, found.columns) > 1e6


def test_a_copied_model_estimates_the_same_components_in_another_order():
    """Tolerance: that of two evaluations, for weights with basis_error instead of 2 D + E + 2 roundings."""
    model = small_model()
    found = random_copy_model(model, generator(5))
    X = points(2, 8, 2)

    def summed(network):
        log_weights, means = fields(network(X, 3))
        return (log_weights[..., None] * means + means.square()).sum(1)

    growth = basis_error(4) / (22 * unit_roundoff(torch.float64))
    tolerance = (1 + growth) * (
        rounding_tolerance(model, lambda: summed(model)) + rounding_tolerance(found, lambda: summed(found))
    )
    with torch.no_grad():
        assert abs(float((summed(model) - summed(found)).sum())) <= tolerance
        assert not torch.allclose(model(X, 3).means, found(X, 3).means)
        assert tolerance < 1e-6 * abs(float(summed(model).sum()))


def refused(shape, blocks=()):
    with pytest.raises(ValueError, match=r"needs|beyond") as caught:
        random_copy(Transformer(shape), generator(), blocks)
    return str(caught.value)


def test_what_has_other_symmetries_is_refused():
    layer = LayerShape(1, 2, 3)
    assert "relu" in refused(TransformerShape(6, (layer,), attention="relu"))
    assert "relu" in refused(TransformerShape(6, (layer, LayerShape(1, 2, 3, attention="relu"))))
    assert "output_norm" in refused(TransformerShape(6, (LayerShape(1, 2, 3, output_norm=True),)))


def test_blocks_that_cannot_be_slots_are_refused():
    shape = TransformerShape(6, (LayerShape(1, 2, 3),))
    assert "[2, 3]" in refused(shape, (Block("a", 0, 2), Block("b", 2, 3)))
    assert "overlap" in refused(shape, (Block("a", 0, 2), Block("b", 1, 2)))
    assert "beyond" in refused(shape, (Block("a", 0, 2), Block("b", 5, 2)))


def test_another_backbone_is_refused():
    model = small_model()
    model.backbone = torch.nn.Identity()
    with pytest.raises(ValueError, match="backbone"):
        random_copy_model(model, generator())
