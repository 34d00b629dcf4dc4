"""The layers run directly are the theorem's own run; kernels differ in bits alone; what was run is noted."""

import pytest
import torch
from torch.nn.attention import sdpa_kernel

from constructions.language.hypotheses import HypothesisError
from verify.certify.certificate import certify
from verify.certify.precision.running import KERNELS, PRODUCTS, kernels_of, read_in, run_layers
from verify.registry import THEOREMS


def drawn(key: str, steps: int = 2):
    theorem = THEOREMS[key]
    sizes = theorem.sizes[0]
    weights = theorem.construct(sizes, steps, theorem.accuracies[0])
    family = next(iter(theorem.families.values()))
    return theorem, weights, family(sizes, 1, torch.Generator().manual_seed(5))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("key", ["em", "em-diagonal", "em-full", "tensor-power", "kmeans", "least-squares"])
def test_it_is_the_run_of_the_theorem(key: str, dtype: torch.dtype) -> None:
    theorem, weights, instance = drawn(key)
    read = read_in(theorem, weights, instance, dtype)
    assert read.refused is None
    held = theorem.decode(weights, read.instance, run_layers(weights.to_transformer(dtype), read).stream)
    own = theorem.run(weights, read.instance, dtype, steps=2)
    for name, state in held.items():
        assert torch.equal(state, own[name][:, -1])


def test_kernels_give_other_bits_within_the_same_bound() -> None:
    theorem, weights, instance = drawn("em")
    read = read_in(theorem, weights, instance, torch.float32)
    transformer = weights.to_transformer(torch.float32)
    assert kernels_of(transformer) == ("math", "flash") == tuple(KERNELS)
    means = []
    for name, kernel in KERNELS.items():
        stream = run_layers(transformer, read, name).stream
        with sdpa_kernel(kernel):
            states = theorem.run(weights, read.instance, torch.float32, steps=2)
        means.append(theorem.decode(weights, read.instance, stream)["means"])
        assert torch.equal(means[-1], states["means"][:, -1])
        [certificates] = certify(theorem, weights, read.instance, states, torch.float32)
        assert {one.verdict for one in certificates} == {"held"}
        assert all(one.claimed for one in certificates)
    assert not torch.equal(*means)


def test_relu_attention_has_no_kernel() -> None:
    _, weights, _ = drawn("tensor-power")
    assert kernels_of(weights.to_transformer()) == (PRODUCTS,)


def test_softmax_attention_in_bfloat16_is_that_of_float32() -> None:
    theorem, weights, instance = drawn("kmeans")
    for dtype, run in ((torch.bfloat16, torch.float32), (torch.float32, torch.float32)):
        read = read_in(theorem, weights, instance, dtype)
        found = run_layers(weights.to_transformer(dtype), read, "flash")
        assert found.stream.dtype == dtype
        assert found.attention == (run,)
    theorem, weights, instance = drawn("tensor-power")
    read = read_in(theorem, weights, instance, torch.float32)
    assert run_layers(weights.to_transformer(torch.float32), read).attention == ()


def test_a_dtype_that_is_refused_is_said_and_read_in_all_the_same() -> None:
    theorem, weights, instance = drawn("least-squares")
    read = read_in(theorem, weights, instance, torch.bfloat16)
    assert read.refused is not None
    assert "bfloat16" in read.refused
    assert read.tokens.dtype == torch.bfloat16
    assert torch.equal(read.instance.X, instance.X.bfloat16().double())


def test_what_no_dtype_takes_is_refused() -> None:
    theorem, weights, instance = drawn("least-squares")
    instance.X[0, 0, 0] = torch.inf
    with pytest.raises(HypothesisError, match="finite"):
        read_in(theorem, weights, instance, torch.float64)
