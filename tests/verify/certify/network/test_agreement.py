"""The runtime and the interpreter agree on whatever is random, and a runtime that is wrong is noticed."""

from typing import Any

import pytest
import torch
from networks import TOKENS, random_tokens, random_transformer

from constructions.language.heads import Attention
from constructions.language.transformer import MLP, SelfAttention, Transformer
from verify.certify.network.agreement import disagreements
from verify.engine.conformance import the_runtime_agrees_with_a_second_implementation as agrees
from verify.registry import THEOREMS

MASK = torch.ones(2, TOKENS, dtype=torch.bool)
MASK[1, TOKENS - 2 :] = False
SMALL = (
    "em",
    "em-diagonal",
    "em-tied",
    "tensor-power",
    "softmax-tensor-power",
    "ridge",
    "pca",
    "kmeans",
    "mirror-descent",
)


def network(
    kinds: tuple[Attention, ...] = ("softmax", "relu"), dtype=torch.float64, **options: Any
) -> Transformer:
    return random_transformer(5, kinds, dtype, **options)


def padded(dtype: torch.dtype) -> torch.Tensor:
    h = random_tokens(3, 2, dtype)
    h[1, TOKENS - 1] = torch.nan
    return h


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kinds", [("softmax", "softmax"), ("relu", "relu"), ("softmax", "relu")])
@pytest.mark.parametrize("norm", [False, True])
def test_random_networks_agree(dtype: torch.dtype, kinds: tuple[Attention, ...], norm: bool) -> None:
    options = {"output_norm": norm, "order": (0, 1, 0), "score_scale": 0.7}
    options["divide_by_tokens"] = kinds == ("relu", "relu")
    transformer = network(kinds, dtype, **options)
    assert disagreements(transformer, padded(dtype), MASK) == []
    assert disagreements(transformer, random_tokens(4, dtype=dtype)) == []
    nothing = torch.zeros_like(MASK)
    assert disagreements(transformer, padded(dtype), nothing) == []


def scaled(method: Any, by: float) -> Any:
    return lambda self, q, *others: method(self, q * by, *others)


@pytest.mark.parametrize("key", SMALL)
def test_a_scale_off_by_a_millionth_is_noticed_in_every_construction(key: str, monkeypatch) -> None:
    for name in ("_softmax_attention", "_relu_attention"):
        monkeypatch.setattr(SelfAttention, name, scaled(getattr(SelfAttention, name), 1 + 1e-6))
    with pytest.raises(AssertionError, match="attention"):
        agrees(THEOREMS[key], torch.float64)


def test_what_the_runtime_adds_is_noticed(monkeypatch) -> None:
    """By 1e-12 at one column of the MLP; and by attention to padding."""
    transformer, forward = network(), MLP.forward

    def off(self: MLP, h: torch.Tensor) -> torch.Tensor:
        return forward(self, h) + 1e-12 * torch.eye(5, dtype=h.dtype)[3]

    monkeypatch.setattr(MLP, "forward", off)
    lines = disagreements(transformer, random_tokens(0))
    assert [line.split(" is ")[0] for line in lines] == [
        f"place {n}, layer {n}, task 0: the MLP: 6 numbers are off; token 0, column 3" for n in (1, 2)
    ]


def test_a_column_that_nothing_writes_is_looked_at(monkeypatch) -> None:
    transformer, forward = network(("softmax",)), MLP.forward
    with torch.no_grad():
        transformer.layers[0].mlp.w2[:, 3], transformer.layers[0].mlp.b2[3] = 0.0, 0.0  # pyright: ignore
    assert disagreements(transformer, random_tokens(0)) == []
    monkeypatch.setattr(MLP, "forward", lambda self, h: forward(self, h) + 1e-12 * torch.eye(5).double()[3])
    (line,) = disagreements(transformer, random_tokens(0))
    assert "the MLP: 6 numbers are off; token 0, column 3" in line


def test_attention_to_padding_is_noticed(monkeypatch) -> None:
    softmax = SelfAttention._softmax_attention
    monkeypatch.setattr(
        SelfAttention, "_softmax_attention", lambda self, q, k, v, mask: softmax(self, q, k, v, None)
    )
    lines = disagreements(network(), padded(torch.float64), MASK)
    assert [line.split(":")[0] for line in lines] == ["place 1, layer 1, task 1"]


def test_a_norm_with_an_epsilon_is_noticed() -> None:
    transformer = network(("softmax",), output_norm=True)
    transformer.layers[0].attention.norm.eps = 1e-12  # pyright: ignore
    (line,) = disagreements(transformer, random_tokens(0))
    assert "the norm" in line


def test_another_order_of_layers_is_noticed(monkeypatch) -> None:
    def backwards(self: Transformer, h: torch.Tensor, mask: Any) -> None:
        for layer in (self.layers[1], self.layers[0]):
            h = layer(h, mask) + 1.0

    monkeypatch.setattr(Transformer, "block", backwards)
    first, second = disagreements(network(), random_tokens(0))
    assert first == "layers were applied in the order (1, 0); the interpreter says (0, 1)"
    assert second == "place 2: a layer does not start from what the one before it left"


def test_no_finite_bound_is_an_error() -> None:
    transformer = network(("softmax",), torch.float32, output_norm=True)
    with torch.no_grad():
        transformer.layers[0].attention.output.mul_(2.0**-80)  # pyright: ignore
    with pytest.raises(ValueError, match="the norm: no finite bound on the rounding of 30 numbers"):
        disagreements(transformer, random_tokens(0, dtype=torch.float32))


def test_hooks_are_gone_afterwards() -> None:
    transformer = network(output_norm=True)
    disagreements(transformer, random_tokens(0))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in transformer.modules())
