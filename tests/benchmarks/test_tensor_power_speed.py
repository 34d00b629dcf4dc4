"""Tensor power iteration as attention against torch.einsum: time and memory. No time is asserted.

Run by `make bench`. Both sides run in the same test on one thread; medians of alternating rounds.
"""

import statistics

import pytest
import torch
from measuring import cost_by_operation, in_a_fresh_process, peak_resident_gib, record, timed

from constructions import softmax_tensor_power_construction, tensor_power_construction
from constructions.tensor_power.iteration import PowerIteration

BATCHES = {8: 256, 32: 8, 64: 1}
"""Tensors at once for each d, so that a round takes a fraction of a second."""
ROUNDS, INNER = 7, 50


def construction(kind: str, dim: int) -> PowerIteration:
    if kind == "pairs":
        return tensor_power_construction(dim, 1)
    if kind == "offset":
        return tensor_power_construction(dim, 1, offset=1.0)
    return softmax_tensor_power_construction(dim, 1, 5e-3, 2)


def tensors(dim: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    T = torch.randn(count, dim, dim, dim, generator=generator, dtype=torch.float64)
    v = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    return T, v / v.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize("dim", [8, 32, 64])
@pytest.mark.parametrize("kind", ["pairs", "offset", "softmax p=2"])
def test_a_step_as_a_multiple_of_einsum(benchmark, one_thread, kind, dim):
    if kind.startswith("softmax") and dim > 32:
        pytest.skip("256 heads on a stream of 4,291 columns take 2.3 GB of weights; d = 32 shows the ratio")
    T, v = tensors(dim, BATCHES[dim])
    power = construction(kind, dim)
    transformer = power.to_transformer()
    tokens, _ = power.embed(power.gather(T, v))

    def layers():
        with torch.no_grad():
            transformer(tokens)

    def reference():
        for _ in range(INNER):
            torch.einsum("bijm,bj,bm->bi", T, v, v)

    pairs = [(timed(layers)[0], timed(reference)[0] / INNER) for _ in range(ROUNDS + 1)][1:]
    ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    benchmark.pedantic(layers, rounds=1)
    print(f"\none step, {kind}, d={dim}, {BATCHES[dim]} tensors at once, one thread, float64")
    record(
        benchmark,
        milliseconds_layers=1e3 * ours,
        milliseconds_einsum=1e3 * theirs,
        multiple_of_einsum=ours / theirs,
        parameters=sum(p.numel() for p in transformer.parameters()),
        main_costs=cost_by_operation(layers),
    )


def peak_of_layers(dim: int) -> tuple[float, float]:
    """GiB that one step of the pairs takes beyond its imports and tensors, and that compiling it takes."""
    torch.set_num_threads(1)
    T, v = tensors(dim, 1)
    before = peak_resident_gib()
    power = construction("pairs", dim)
    transformer = power.to_transformer()
    tokens, _ = power.embed(power.gather(T, v))
    compiled = peak_resident_gib()
    with torch.no_grad():
        transformer(tokens)
    return peak_resident_gib() - before, compiled - before


def peak_of_einsum(dim: int) -> float:
    """GiB that the contraction takes beyond its imports and tensors."""
    torch.set_num_threads(1)
    T, v = tensors(dim, 1)
    before = peak_resident_gib()
    torch.einsum("bijm,bj,bm->bi", T, v, v)
    return peak_resident_gib() - before


@pytest.mark.parametrize("dim", [8, 32, 64])
def test_peak_memory_of_a_step(benchmark, dim):
    layers, compiled = in_a_fresh_process(peak_of_layers, dim)
    einsum = in_a_fresh_process(peak_of_einsum, dim)
    benchmark.pedantic(lambda: None, rounds=1)
    print(f"\npeak memory of one step, pairs, d={dim}, one tensor, float64")
    record(benchmark, gib_layers=layers, of_it_gib_weights=compiled, gib_einsum=einsum)
