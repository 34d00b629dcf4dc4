"""The distance is 0 on an orbit, what it should be off it, and its weights compute what they should."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_instances import small_model
from transformer_instances import generator, largest_excess, random_transformer, slotted_stream

from constructions.em.weights import em_construction
from constructions.language.rounding import unit_roundoff
from training.comparison.origins.straight_lines import straight_line
from training.comparison.symmetry.alignment import align_transformers
from training.comparison.symmetry.group import permute_heads, random_copy, random_copy_model
from training.comparison.symmetry.model_alignment import align_models, layer_cosines, plain_distance
from training.comparison.symmetry.random_network import random_like
from training.model.balance import balanced
from training.serving.loading import load_released

SAME = 1e-10
"""The distance that a transformed copy may have, from the issue."""


def construction(n_slots):
    em = em_construction(2, n_slots, 2, 12)
    s = em.stream
    return em.to_transformer().requires_grad_(False), (s.slot, s.pi, s.log_pi, s.resp, s.log_resp)


def damaged(transformer, dead, twins, zero_head, twin_heads):
    """The same with units that do nothing, equal units, heads without a score, equal heads."""
    for layer in transformer.layers:
        mlp, attention = layer.mlp, layer.attention
        if dead:
            mlp.w2[0] = 0
            mlp.w1[:, -1] = 0
            mlp.b1[-1] = 0
        if twins and len(mlp.b1) > 2:
            mlp.w1[:, 1], mlp.b1[1], mlp.w2[1] = mlp.w1[:, 2], mlp.b1[2], mlp.w2[2]
        if zero_head:
            attention.query[0] = 0
        if twin_heads:
            permute_heads(attention, torch.zeros(attention.layer.heads, dtype=torch.long))
    return transformer


@settings(max_examples=25)
@given(
    n_slots=st.integers(0, 4),
    heads=st.integers(1, 4),
    head_dim=st.integers(1, 12),
    hidden=st.integers(1, 9),
    activation=st.sampled_from(["relu", "gelu"]),
    norm=st.sampled_from(["none", "layer", "rms"]),
    seed=st.integers(0, 1000),
    damage=st.tuples(st.booleans(), st.booleans(), st.booleans(), st.booleans()),
)
def test_a_copy_has_distance_zero(n_slots, heads, head_dim, hidden, activation, norm, seed, damage):
    original = random_transformer(10, heads, head_dim, hidden, 2, activation, norm, seed)
    damaged(original, *damage)
    blocks = slotted_stream(n_slots, 10)[1] if n_slots else ()
    found = align_transformers(original, random_copy(original, generator(seed), blocks).transformer, blocks)
    assert found.distance <= SAME
    assert all(value <= SAME for value in found.by_kind.values())
    assert found.every_order


@pytest.mark.parametrize("n_slots", [1, 2, 3, 4, 6])
def test_a_copy_of_the_construction_has_distance_zero(n_slots):
    original, blocks = construction(n_slots)
    found = align_transformers(
        original, random_copy(original, generator(n_slots), blocks).transformer, blocks
    )
    assert found.distance <= SAME
    assert all(value <= SAME for value in found.by_kind.values())
    assert found.every_order == (n_slots <= 5)


@pytest.mark.parametrize("name", ["d2", "d8"])
def test_a_copy_of_a_trained_network_has_distance_zero(name):
    model = load_released(name).model
    other = random_copy_model(model, generator(7))
    found = align_models(model, other)
    assert found.distance <= SAME
    assert max(found.by_kind.values()) <= SAME
    assert plain_distance(model, other) > 1


def test_six_slots_of_a_random_network_are_found():
    _, blocks = slotted_stream(6, 15)
    original = random_transformer(15, seed=1)
    copied = random_copy(original, generator(1), blocks)
    found = align_transformers(original, copied.transformer, blocks)
    assert not found.every_order
    assert found.distance <= SAME
    assert torch.equal(copied.slots[found.slots], torch.arange(6))


@pytest.mark.parametrize("name", ["construction", "random"])
def test_an_unrelated_network_of_equal_norms_is_far(name):
    """Nothing in common is sqrt(2); the best of many pairings takes something off."""
    original, blocks = construction(3) if name == "construction" else (random_transformer(12, seed=3), ())
    found = align_transformers(original, random_like(original, generator(1)), blocks)
    distance = found.distance
    print(f"{name}: distance of an unrelated network {distance:.3f}, sqrt(2) = {math.sqrt(2):.3f}")
    assert 0.8 * math.sqrt(2) < distance < 1.1 * math.sqrt(2)
    assert abs(found.cosine) < 0.4


def test_what_is_no_symmetry_counts():
    original = random_transformer(activation="gelu", seed=4)
    other = random_copy(original, generator(4)).transformer
    mlp = other.layers[0].mlp
    mlp.w1[:, 0] *= 1.5
    mlp.b1[0] *= 1.5
    mlp.w2[0] /= 1.5
    found = align_transformers(original, other)
    assert found.by_kind["MLP"] > 1e-3
    assert max(found.by_kind["A"], found.by_kind["V"]) <= SAME


def test_a_planted_change_has_its_size():
    """V of one head times 1.01: distance 0.01 |V| / norm. Rounding: a relative 1e-10 of the whole at most."""
    original = random_transformer(seed=5)
    other = copy.deepcopy(original)
    other.layers[1].attention.value[0] *= 1.01
    found = align_transformers(original, random_copy(other, generator(5)).transformer)
    head = original.layers[1].attention
    planted = 0.01 * float((head.value[0] @ head.output[0]).norm())
    norm = math.sqrt(sum(sum(layer.values()) for layer in found.squared_norm))
    assert found.distance == pytest.approx(planted / norm, abs=SAME)
    assert found.squared[1]["V"] == pytest.approx(planted**2, rel=1e-8)
    assert found.by_layer[0] <= SAME


def test_a_planted_bias_has_its_size():
    """b_2 of one layer moved by (3, 4, 0, ...): no pairing undoes it, so the squared distance is 25."""
    original = random_transformer(seed=5)
    other = copy.deepcopy(original)
    other.layers[1].mlp.b2[:2] += torch.tensor([3.0, 4.0], dtype=torch.float64)
    found = align_transformers(original, other)
    assert found.squared[1]["MLP"] == pytest.approx(25.0, rel=1e-8)
    assert found.by_layer[0] <= SAME
    own = {kind: math.fsum(layer[kind] for layer in found.squared_norm) for kind in ("A", "V", "MLP")}
    assert found.distance == pytest.approx(5 / math.sqrt(math.fsum(own.values())), rel=1e-8)
    assert found.by_kind["MLP"] == pytest.approx(5 / math.sqrt(own["MLP"]), rel=1e-8)


def test_the_distance_belongs_to_the_orbits():
    _, blocks = slotted_stream(3, 9)
    a, b = random_transformer(seed=1), random_transformer(seed=2)
    plain = align_transformers(a, b, blocks)
    for seed in range(3):
        copies = [random_copy(t, generator(10 * seed + i), blocks).transformer for i, t in enumerate((a, b))]
        assert align_transformers(copies[0], copies[1], blocks).distance == pytest.approx(
            plain.distance, abs=SAME
        )
    assert align_transformers(a, b).distance >= plain.distance


def test_every_order_of_slots_was_tried():
    _, blocks = slotted_stream(3, 9)
    a, b = random_transformer(seed=1), random_transformer(seed=2)
    best = align_transformers(a, b, blocks).distance
    orders = [
        align_transformers(a, random_copy(b, generator(i), blocks).transformer).distance for i in range(40)
    ]
    assert min(orders) == pytest.approx(best, abs=SAME)
    assert max(orders) > best + 1e-6


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_the_aligned_weights_compute_what_the_second_network_does(activation):
    _, blocks = slotted_stream(3, 9)
    a, b = (random_transformer(seed=seed, activation=activation) for seed in (1, 2))
    found = align_transformers(a, b, blocks)
    assert largest_excess(b, found.other, found.columns) <= 1
    assert largest_excess(a, found.reference, torch.arange(9)) <= 1


def test_the_aligned_weights_of_a_copy_are_the_references():
    """A singular value s of a form is known to u |A|, its root, and so a weight, to sqrt(u |A|) at worst."""
    original, blocks = construction(3)
    copied = random_copy(original, generator(8), blocks).transformer
    found = align_transformers(original, copied, blocks)
    u = unit_roundoff(torch.float64)
    for name, weight in found.reference.named_parameters():
        other = found.other.get_parameter(name)
        assert float((weight - other).norm()) <= math.sqrt(100 * u) * max(1.0, float(weight.norm())), name


def test_balanced_weights_are_balanced_and_stay():
    original, _ = construction(3)
    once = balanced(original)
    twice = balanced(once)
    u = unit_roundoff(torch.float64)
    assert largest_excess(original, once, torch.arange(original.shape.width)) <= 1
    for layer in once.layers:
        a, m = layer.attention, layer.mlp
        sizes = (a.query.norm(), a.key.norm()), (a.value.norm(), a.output.norm())
        assert all(float(abs(x - y)) <= 1000 * u * float(x) for x, y in sizes)
        reads = (m.w1.square().sum(0) + m.b1.square()).sqrt()
        assert torch.allclose(reads, m.w2.norm(dim=1), rtol=100 * u, atol=0)
    for name, weight in once.named_parameters():
        assert torch.allclose(
            weight, twice.get_parameter(name), rtol=0, atol=1e-7 * float(weight.abs().max())
        )


def test_balancing_leaves_a_unit_that_writes_nothing():
    original = random_transformer()
    original.layers[0].mlp.w2[0] = 0
    assert torch.equal(balanced(original).layers[0].mlp.w1[:, 0], original.layers[0].mlp.w1[:, 0])


def test_a_straight_line():
    a, b = random_transformer(seed=1), random_transformer(seed=2)
    for t in (0.0, 0.25, 1.0):
        between = straight_line(a, b, t)
        for x, y, z in zip(a.parameters(), b.parameters(), between.parameters(), strict=True):
            assert torch.allclose(z, (1 - t) * x + t * y, rtol=1e-14, atol=1e-14)


def test_models_match_tokens_and_differ_from_another_model():
    model, other = small_model(seed=1), small_model(seed=2)
    assert align_models(model, random_copy_model(model, generator(1))).distance <= SAME
    found = align_models(model, other)
    assert min(found.by_kind["A"], found.by_kind["tokens"], found.by_kind["rest"]) > 0.5
    moved = copy.deepcopy(model)
    with torch.no_grad():
        moved.tokens["3"].mul_(1.1)
    assert align_models(model, moved).by_kind["tokens"] > 1e-3


def test_a_repeated_layer_is_seen():
    transformer = random_transformer(layers=3, norm="layer", activation="gelu")
    transformer.layers[2] = random_copy(transformer, generator(1)).transformer.layers[0]
    found = layer_cosines(transformer)
    assert found[0][2] == pytest.approx(1, abs=SAME)
    assert max(abs(found[0][1]), abs(found[1][2])) < 0.5


def test_bad_input_is_refused():
    a = random_transformer()
    with pytest.raises(ValueError, match="hidden=6"):
        align_transformers(a, random_transformer(hidden=6))
    with pytest.raises(ValueError, match="hidden=6"):
        straight_line(a, random_transformer(hidden=6), 0.5)
    broken = copy.deepcopy(a)
    broken.layers[0].mlp.b1[0] = math.nan
    with pytest.raises(ValueError, match="finite"):
        align_transformers(a, broken)
    with pytest.raises(ValueError, match="covariance='diagonal'"):
        align_models(small_model(), small_model({"covariance": "diagonal"}))


def test_a_network_of_zeros_has_no_relative_distance() -> None:
    model = small_model()
    with torch.no_grad():
        for weights in model.parameters():
            weights.zero_()
    with pytest.raises(ValueError, match="every weight is 0"):
        _ = align_models(model, small_model()).distance
    assert align_models(small_model(), model).distance == pytest.approx(1)
