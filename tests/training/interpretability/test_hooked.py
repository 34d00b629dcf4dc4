"""The export to TransformerLens gives our states at every layer; where the package is missing, one line."""

import importlib
import importlib.util

import pytest
import torch
from circuit_instances import em_circuit, em_tokens, normal_tokens, states_by_hand, uneven
from model_instances import points, small_model
from torch import Tensor

from constructions import em_construction
from constructions.language.transformer import Transformer
from training.interpretability.circuit import circuit_of
from training.interpretability.hooked import (
    run_on_stream,
    states_of,
    to_hooked_transformer,
)
from training.interpretability.recording import head_outputs, record, record_stream

WITH_PACKAGE = pytest.mark.skipif(
    importlib.util.find_spec("transformer_lens") is None,
    reason="the package transformer-lens is not installed",
)

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-5 * 2.0**-29}
"""Of a state, relative to its largest number. The first is the promise; the second is as many roundings of
float64, whose unit is 2^-53 and not 2^-24."""

DTYPES = pytest.mark.parametrize("dtype", list(TOLERANCE))


def theirs(network: object, tokens: Tensor) -> Tensor:
    """Their states of a fresh export."""
    hooked = to_hooked_transformer(network)  # type: ignore[arg-type]
    final, cache = run_on_stream(hooked, tokens)
    found = states_of(hooked, cache)
    assert torch.equal(final, found[-1])
    assert found.dtype == tokens.dtype
    return found


def worst(ours: Tensor, other: Tensor) -> float:
    """Over layers, the largest difference over the largest number of the state."""
    return float(((ours - other).abs().amax((1, 2, 3)) / ours.abs().amax((1, 2, 3))).max())


@WITH_PACKAGE
@DTYPES
def test_states_of_a_construction_at_every_layer(dtype: torch.dtype) -> None:
    circuit, tokens = em_circuit(dtype, steps=3), em_tokens(0, dtype, tasks=8)
    ours = record_stream(circuit, tokens).states
    other = theirs(circuit, tokens)
    assert ours.shape == other.shape == (7, *tokens.shape)
    assert worst(ours, other) <= TOLERANCE[dtype]


@WITH_PACKAGE
def test_states_below_ten_agree_to_1e_5_in_float32() -> None:
    """The promise without units: floor 1e-3 keeps the logarithms of responsibilities above -7."""
    made = em_construction(2, 2, 3, 32, floor=1e-3, radius=4.0)
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(64, 20, 2, generator=generator, dtype=torch.float64).clamp(-3, 3)
    weights = torch.full((64, 2), 0.5, dtype=torch.float64)
    tokens = made.embed(made.gather(X, weights, X[:, :2], dtype=torch.float32))
    circuit = circuit_of(made, torch.float32)
    ours = record_stream(circuit, tokens).states
    assert ours.abs().max() < 10
    assert (ours - theirs(circuit, tokens)).abs().max() <= 1e-5


@WITH_PACKAGE
@DTYPES
@pytest.mark.parametrize(
    "options",
    [{}, {"causal": True}, {"norm": "layer", "activation": "gelu"}, {"norm": "rms", "activation": "gelu"}],
    ids=["plain", "causal", "layer norm, gelu", "rms norm, gelu"],
)
def test_states_of_uneven_looped_layers(options: dict, dtype: torch.dtype) -> None:
    transformer, tokens = uneven(dtype=dtype, **options), normal_tokens(dtype=dtype)
    ours = states_by_hand(transformer, tokens)
    assert worst(ours, theirs(transformer, tokens)) <= TOLERANCE[dtype]


@WITH_PACKAGE
def test_states_of_full_covariances_in_softmax_attention() -> None:
    """It takes float64 alone, for its pairs of heads magnify rounding: 1e-5 as it stands, not scaled."""
    made = em_construction(2, 2, 1, 16, covariance_type="full", attention="softmax", eigenvalues=(0.1, 10.0))
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(2, 9, 2, generator=generator, dtype=torch.float64)
    eye = torch.eye(2, dtype=torch.float64).expand(2, 2, 2, 2)
    tasks = made.gather(X, torch.full((2, 2), 0.5, dtype=torch.float64), X[:, :2], eye)
    circuit, tokens = circuit_of(made), made.embed(tasks)
    ours = record_stream(circuit, tokens).states
    assert worst(ours, theirs(circuit, tokens)) <= 1e-5


@WITH_PACKAGE
@DTYPES
def test_states_of_a_learned_network(dtype: torch.dtype) -> None:
    model, X = small_model({"loops": 2}).to(dtype), points(3, 7, 2)
    ours = record(model, X, 2).states
    assert worst(ours, theirs(model, ours[0])) <= TOLERANCE[dtype]


@WITH_PACKAGE
def test_heads_are_those_of_the_runtime_and_padded_ones_write_nothing() -> None:
    circuit, tokens = em_circuit(), em_tokens(0)
    hooked = to_hooked_transformer(circuit)
    hooked.set_use_attn_result(True)
    cache = run_on_stream(hooked, tokens)[1]
    states = record_stream(circuit, tokens).states
    layers = [circuit.transformer.layers[number] for number in (0, 1, 0, 1)]
    for place, layer in enumerate(layers):
        own = head_outputs(layer.attention, states[place])  # type: ignore[arg-type]
        result = cache["result", place].transpose(1, 2)
        n = own.shape[1]
        # What a head adds is made of the state that it reads.
        most = TOLERANCE[torch.float64] * states[place].abs().max()
        assert (result[:, :n] - own).abs().max() <= most
        assert not result[:, n:].any()
        assert own.any()


@WITH_PACKAGE
@pytest.mark.parametrize("name", ["query", "key", "value", "output"])
def test_a_wrong_head_is_seen(name: str) -> None:
    """The control: one matrix of the mean head off by a thousandth in what is exported."""
    circuit, wrong, tokens = em_circuit(), em_circuit(), em_tokens(0)
    getattr(wrong.transformer.layers[1].attention, name)[0].mul_(1.001)
    ours, other = record_stream(circuit, tokens).states, theirs(wrong, tokens)
    assert worst(ours[:2], other[:2]) <= TOLERANCE[torch.float64]
    assert worst(ours[2:], other[2:]) > 1e-6


@WITH_PACKAGE
def test_their_scale_of_scores_is_ours() -> None:
    transformer, other = uneven(score_scale=0.7), uneven(score_scale=0.69)
    tokens = normal_tokens()
    assert worst(states_by_hand(transformer, tokens), theirs(other, tokens)) > 1e-6


def test_what_cannot_be_exported_is_said_in_one_line() -> None:
    with pytest.raises(
        ValueError, match=r"^layer 0 has ReLU attention, a HookedTransformer has softmax alone$"
    ):
        to_hooked_transformer(uneven(attention="relu"))
    with pytest.raises(ValueError, match=r"^score_scale is 0, "):
        to_hooked_transformer(uneven(score_scale=0.0))
    normed = Transformer(uneven().shape)
    object.__setattr__(normed.shape.layers[2], "output_norm", True)
    with pytest.raises(ValueError, match=r"^layer 2 norms what its heads add"):
        to_hooked_transformer(normed)


def test_a_missing_package_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", nothing)
    with pytest.raises(ValueError, match=r"needs transformer-lens below 4, .*: pip install '[^\n]*'$"):
        to_hooked_transformer(uneven())
