"""Blocks of the construction are recognised, missed when taken out, and noticed when added."""

import copy
import json

import pytest
import torch
from transformer_instances import generator, random_transformer

from console.typed_json import from_plain, to_plain
from constructions.em.tasks import gather_tasks
from constructions.em.weights import em_construction
from constructions.language.stream import Stream
from training.comparison.symmetry.group import random_copy
from training.comparison.symmetry.random_network import random_like
from training.comparison.weights.block_verdicts import BlocksResult
from training.comparison.weights.blocks import compare_blocks, layer_inputs
from training.comparison.weights.blocks_report import render_blocks

EM = em_construction(2, 3, 2, 12)
S = EM.stream
SLOTS = (S.slot, S.pi, S.log_pi, S.resp, S.log_resp)
NAMES = [block.name for block in S.blocks]
THEOREM = {
    (1, "head 1, A"): {("x", "mu"), ("log_pi", "slot"), ("one", "half_norm2"), ("one", "log_count")},
    (1, "head 1, V"): {("slot", "resp")},
    (2, "head 1, A"): {("slot", "log_resp")},
    (2, "head 1, V"): {("x", "mu")},
    (2, "head 2, V"): {("resp", "pi")},
    (1, "MLP"): {("mu", "mu"), ("pi", "pi"), ("log_pi", "log_pi"), ("half_norm2", "half_norm2")}
    | {("resp", "log_resp")},
    (2, "MLP"): {("resp", "resp"), ("log_resp", "log_resp"), ("pi", "log_pi"), ("mu", "half_norm2")},
}
"""From the formulas of the E and M layers."""
SHARED = {(1, "head 1, V", "one", "resp"), (2, "head 1, A", "one", "log_resp"), (2, "head 2, V", "one", "pi")}
"""With data, what a block of constant sum and the constant have in common counts under the constant."""


def constructed():
    return EM.to_transformer().requires_grad_(False)


@pytest.fixture(scope="module")
def states():
    draws = generator(1)
    X = 2 * torch.randn(8, 10, 2, generator=draws, dtype=torch.float64)
    weights = torch.rand(8, 3, generator=draws, dtype=torch.float64) + 0.5
    tasks = gather_tasks(
        X, weights / weights.sum(1, keepdim=True), X[:, :3] + 0.1, 2, 3, torch.float64, "cpu"
    )
    return layer_inputs(constructed(), EM.embed(tasks))


def verdicts(found, verdict, network="learned"):
    """(layer, part, row, column) that got this verdict."""
    return {
        (layer.layer, form.name, NAMES[i], NAMES[j])
        for layer in found.layers
        for form in layer.forms
        for i, row in enumerate(form.numbers.verdict.get(network, []))
        for j, given in enumerate(row)
        if given == verdict
    }


def entry(found, layer, name, measure, row, column, network="learned"):
    form = next(f for f in found.layers[layer - 1].forms if f.name == name)
    return getattr(form.numbers, measure)[network][NAMES.index(row)][NAMES.index(column)]


def formulas(with_mlp):
    return {(*p, *b) for p, blocks in THEOREM.items() for b in blocks if with_mlp or p[1] != "MLP"}


def test_a_copy_of_the_construction_has_every_block_and_the_control_none(states):
    other = random_copy(constructed(), generator(3), SLOTS).transformer
    control = random_like(constructed(), generator(4))
    found = compare_blocks(constructed(), other, S, states, SLOTS, control)
    assert verdicts(found, "has") == formulas(with_mlp=True) | SHARED
    assert not verdicts(found, "lacks")
    assert not verdicts(found, "in addition")
    assert found.counts["control"].lacks >= 17
    assert found.counts["control"].in_addition > 100


def test_without_data_the_weights_alone_say_the_same_of_heads():
    other = random_copy(constructed(), generator(5), SLOTS).transformer
    found = compare_blocks(constructed(), other, S, slot_blocks=SLOTS)
    assert verdicts(found, "has") == formulas(with_mlp=False)
    assert not verdicts(found, "in addition")


def test_a_term_taken_out_is_lacked_and_one_added_is_noticed(states):
    """Of the E layer's score <log_pi, slot> goes, 0.5 <x, x> comes."""
    other = constructed()
    head = other.layers[0].attention
    at = int(head.query[0, S.log_pi.start].nonzero()[0])
    head.query[0][S.log_pi.slice] = 0
    head.query[0, S.x.start, at] = 0.5
    head.key[0, :, at] = 0
    head.key[0, S.x.start, at] = 1
    found = compare_blocks(constructed(), random_copy(other, generator(6)).transformer, S, states)
    assert verdicts(found, "lacks") == {(1, "head 1, A", "log_pi", "slot")}
    assert verdicts(found, "in addition") == {(1, "head 1, A", "x", "x")}


def test_the_wrong_sign_or_too_little_is_no_block(states):
    other = constructed()
    other.layers[0].attention.query[0][S.x.slice] *= 0.4
    other.layers[1].attention.value[0] *= -1
    found = compare_blocks(constructed(), other, S, states)
    assert verdicts(found, "lacks") == {(1, "head 1, A", "x", "mu"), (2, "head 1, V", "x", "mu")}
    assert entry(found, 1, "head 1, A", "coefficient", "x", "mu") == pytest.approx(0.4, rel=1e-9)
    assert entry(found, 2, "head 1, V", "cosine", "x", "mu") == pytest.approx(-1, rel=1e-9)


def test_sizes_by_data_are_the_standard_deviations_they_are_said_to_be(states):
    """The MLP: half_norm2 reads mu alone, so that the change over sqrt(2) is near its deviation."""
    found = compare_blocks(constructed(), constructed(), S, states)
    h = states[0]
    score = h[..., S.x.slice] @ h[..., S.mu.slice].mT
    expected = float(score.var(-1, unbiased=False).mean().sqrt())
    assert entry(found, 1, "head 1, A", "size", "x", "mu") == pytest.approx(expected, rel=1e-10)
    read = states[1][..., S.x.slice].square().sum(-1).mean().sqrt()
    assert entry(found, 2, "head 1, V", "size", "x", "mu") == pytest.approx(float(read), rel=1e-10)
    layer = constructed().layers[1]
    after = layer(states[1])[..., S.half_norm2.start]
    changed = entry(found, 2, "MLP", "size", "mu", "half_norm2")
    assert changed == pytest.approx(float(after.std()), rel=0.3)


def test_a_weight_moved_between_slot_and_one_is_the_same_block(states):
    """slot sums to 1: 0.3 on every slot or 0.3 on `one` is one function, and so one set of sizes."""
    other = constructed()
    value = other.layers[0].attention
    value.value[0][S.slot.slice, 0] += 0.3
    value.value[0, S.one.start, 0] -= 0.3
    first, second = (compare_blocks(constructed(), network, S, states) for network in (constructed(), other))
    for block in NAMES:
        sizes = [entry(f, 1, "head 1, V", "size", block, "resp") for f in (first, second)]
        assert sizes[0] == pytest.approx(sizes[1], abs=1e-12)
    plain = compare_blocks(constructed(), other, S)
    assert entry(plain, 1, "head 1, V", "norm", "one", "resp") == pytest.approx(0.3)


def test_the_states_are_those_that_the_layers_see(states):
    transformer = constructed()
    h, seen = states[0][:8], []
    for _ in range(2):
        for layer in transformer.layers:
            seen.append(h)
            h = layer(h)
    assert torch.equal(states[0], torch.cat(seen[0::2]))
    assert torch.equal(states[1], torch.cat(seen[1::2]))


def test_the_report_comes_from_json_alone(states):
    other = copy.deepcopy(constructed())
    other.layers[0].attention.query[0][S.log_pi.slice] = 0
    other.layers[0].attention.value[0][S.x.start, 0] = 1
    control = random_like(constructed(), generator(4))
    found = compare_blocks(constructed(), other, S, states, control=control)
    tables, pictures = render_blocks(
        from_plain(BlocksResult, json.loads(json.dumps(to_plain(found)))), "em", "Seed 4."
    )
    counted, theorem, beyond = tables
    assert [row[0] for row in counted.rows] == ["learned", "control"]
    assert counted.rows[0][1:3] == ["19 of 20", "1 of 20"]
    assert len(theorem.rows) == 20
    missed = [row[1] for row in theorem.rows if row[6] == "lacks"]
    assert missed == ["<log_pi, slot>"]
    assert [row[1] for row in beyond.rows] == ["x \u2192 resp"]
    assert [picture.name for picture in pictures] == ["em_1", "em_2"]
    assert all("Seed 4." in part for part in (counted.note, pictures[0].caption))


def test_bad_input_is_refused(states):
    em = constructed()
    with pytest.raises(ValueError, match="none"):
        compare_blocks(random_transformer(norm="layer"), random_transformer(norm="layer"), Stream(x=9))
    with pytest.raises(ValueError, match="9 coordinates"):
        compare_blocks(em, em, Stream(x=9))
    with pytest.raises(ValueError, match="1 tensors"):
        compare_blocks(em, em, S, states[:1])
    with pytest.raises(ValueError, match="shape"):
        compare_blocks(em, em, S, [state[..., :3] for state in states])
