"""Recording and patching by the names of blocks, in loops, and what heads add; see test_recording.py too."""

import pytest
import torch
from circuit_instances import em, em_circuit, em_tokens, states_by_hand, uneven
from model_instances import points, small_model
from torch import nn

from constructions.language.transformer import LayerShape, SelfAttention, TransformerShape
from training.interpretability.circuit import Circuit
from training.interpretability.recording import (
    attention_of,
    head_changed,
    head_outputs,
    layers_of,
    patched,
    record,
    record_stream,
)


def hooks(network: nn.Module) -> int:
    """Forward hooks of either kind on any module."""
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


def test_a_circuit_is_recorded_by_layers_and_blocks() -> None:
    """Of a loop of two layers, applied twice."""
    circuit, tokens = em_circuit(), em_tokens(0)
    recording = record_stream(circuit, tokens)
    assert torch.equal(recording.states, states_by_hand(circuit.transformer, tokens))
    assert len(recording.states) == 5
    for block in em().stream.blocks:
        assert torch.equal(recording.block(block.name), recording.states[..., block.slice])
    # K quotients and their sum.
    assert (recording.block("resp")[1].sum(-1) - 1).abs().max() <= 4 * 12 * 2.0**-53
    with pytest.raises(ValueError, match=r"^block is 'nu', the stream has x, slot, mu, .*, resp, log_resp$"):
        recording.block("nu")
    huge = tokens.clone()
    huge[..., circuit.columns("mu")] = 1e308
    with pytest.raises(ValueError, match="state of the stream is not finite"):
        record_stream(circuit, huge)


def test_padding_is_masked() -> None:
    circuit, tokens = em_circuit(), em_tokens(0)
    mask = torch.ones(tokens.shape[:2], dtype=torch.bool)
    mask[:, -2:] = False
    other = tokens.clone()
    other[:, -2:] = 7.0
    one, two = (record_stream(circuit, given, mask).states[:, :, :-2] for given in (tokens, other))
    assert torch.equal(one, two)
    with (
        head_changed(circuit, 0, 0, torch.zeros_like),
        pytest.raises(ValueError, match="changed on tokens with padding"),
    ):
        record_stream(circuit, tokens, mask)


def test_a_block_is_patched_at_one_layer_of_a_loop() -> None:
    circuit, tokens, other = em_circuit(), em_tokens(0), em_tokens(0, start=1)
    mine, theirs = (record_stream(circuit, given) for given in (tokens, other))
    columns = circuit.columns("mu")
    for layer in range(5):
        with patched(circuit, layer, theirs.block("mu")[layer], block="mu"):
            found = record_stream(circuit, tokens)
        assert torch.equal(found.states[:layer], mine.states[:layer])
        state = mine.states[layer].clone()
        state[..., columns] = theirs.block("mu")[layer]
        assert torch.equal(found.states[layer], state)
        for after, number in zip(found.states[layer + 1 :], [0, 1, 0, 1][layer:], strict=True):
            state = circuit.transformer.layers[number](state)
            assert torch.equal(after, state)
    assert hooks(circuit.transformer) == 0


def test_a_patch_is_a_value_or_a_function_and_is_spread() -> None:
    circuit, tokens = em_circuit(), em_tokens(0)
    with patched(circuit, 0, lambda mu: mu + 1, block="mu"):
        moved = record_stream(circuit, tokens).block("mu")[0]
    assert torch.equal(moved, tokens[..., circuit.columns("mu")] + 1)
    with patched(circuit, 0, torch.tensor([1.0, 2.0]), block="mu"):
        found = record_stream(circuit, tokens).block("mu")[0]
    assert torch.equal(found, torch.tensor([1.0, 2.0], dtype=torch.float64).expand_as(found))
    with (
        patched(circuit, 0, torch.zeros(3), block="mu"),
        pytest.raises(ValueError, match=r"has shape \(3,\), needs one that spreads to \(2, 12, 2\)$"),
    ):
        record_stream(circuit, tokens)


def test_a_block_that_is_not_there_is_refused() -> None:
    with (
        pytest.raises(ValueError, match="block is 'nu', the stream has"),
        patched(em_circuit(), 0, torch.zeros(2), block="nu"),
    ):
        pass
    with (
        pytest.raises(ValueError, match="block is 'mu', needs none: the stream of a learned network"),
        patched(small_model(), 0, torch.zeros(2), block="mu"),
    ):
        pass


def test_a_head_is_changed_at_one_layer_of_a_loop() -> None:
    circuit, tokens = em_circuit(), em_tokens(0)
    whole = record_stream(circuit, tokens)
    with head_changed(circuit, 3, 0, torch.zeros_like):
        found = record_stream(circuit, tokens)
    assert torch.equal(found.states[:4], whole.states[:4])
    # x - x may leave the rounding of one head computed in two ways: gamma of D + N + E numbers, at most 64.
    assert found.block("mu")[4].abs().max() <= 64 * 2.0**-53 * whole.block("x").abs().max()
    assert torch.equal(found.block("pi")[4], whole.block("pi")[4])
    assert whole.block("mu")[4].abs().max() > 1


def test_a_head_that_adds_what_it_adds_changes_no_block_before_the_mlp() -> None:
    circuit, tokens = em_circuit(), em_tokens(0)
    state = record_stream(circuit, tokens).states[3]
    attention = attention_of(layers_of(circuit)[3])
    whole, own = attention(state), head_outputs(attention, state)
    with head_changed(circuit, 3, 0, own[:, 0]):
        again = record_stream(circuit, tokens)
    with head_changed(circuit, 3, 0, own[:, 0] + 1):
        other = record_stream(circuit, tokens)
    mu = circuit.columns("mu")
    # a - b + b rounds twice, of numbers of the size of a.
    most = 2 * 2.0**-53 * whole.abs().max()
    assert (again.states[4] - record_stream(circuit, tokens).states[4])[..., mu].abs().max() <= most
    assert (other.block("mu")[4] - again.block("mu")[4] - 1).abs().max() <= 2 * most


def test_an_interrupted_pass_leaves_the_count_of_loops_right() -> None:
    circuit, tokens = em_circuit(), em_tokens(0)

    def stop(*_: object) -> None:
        raise RuntimeError("stop here")

    with patched(circuit, 2, torch.zeros(2), block="mu"):
        before = record_stream(circuit, tokens)
        handle = circuit.transformer.layers[0].register_forward_hook(stop)
        with pytest.raises(RuntimeError, match="stop here"):
            record_stream(circuit, tokens)
        handle.remove()
        assert torch.equal(record_stream(circuit, tokens).states, before.states)
    assert hooks(circuit.transformer) == 0


def test_loops_of_a_learned_network_are_layers() -> None:
    model, X = small_model({"loops": 2}), points(3, 7, 2)
    with torch.no_grad():
        recording = record(model, X, 2)
        assert len(layers_of(model)) == 4
        by_hand = states_by_hand(model.backbone, recording.states[0])  # type: ignore[arg-type]
    assert torch.equal(recording.states, by_hand)


def test_heads_without_parts_are_said() -> None:
    layer = LayerShape(1, 2, 3, output_norm=True)
    normed = SelfAttention(TransformerShape(8, (layer,)), layer, torch.float64)
    with pytest.raises(ValueError, match="the sum of the heads is normed"):
        head_outputs(normed, points(1, 3, 8))
    without = Circuit("uneven", "a test", (), uneven())
    with (
        pytest.raises(ValueError, match="the layer has no attention"),
        head_changed(without, 2, 0, torch.zeros_like),
    ):
        pass
