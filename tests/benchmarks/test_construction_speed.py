"""The EM construction against a batched EM step, and one forward of 100,000 points. No time is asserted.

Run by `make bench`. Both sides run in the same test on one thread; medians of alternating rounds.
"""

import statistics

import pytest
import torch
from measuring import cost_by_operation, in_a_fresh_process, peak_resident_gib, record, timed

from baselines.em_steps import em_step
from baselines.mixture import Mixture
from baselines.tasks import paper_tasks
from constructions.em.tasks import gather_tasks
from constructions.em.weights import em_construction

TASKS, ROUNDS, STEPS = 64, 7, 4
MANY_POINTS = 100_000


@pytest.mark.parametrize("pieces", [128, 2048])
def test_a_step_as_a_multiple_of_an_em_step(benchmark, one_thread, pieces):
    tasks = paper_tasks(TASKS, 8, 5, 128, torch.Generator().manual_seed(0))
    weights, means = tasks.truth.weights, tasks.truth.means
    em = em_construction(8, 5, STEPS, pieces)
    transformer = em.to_transformer()
    tokens = em.embed(gather_tasks(tasks.X, weights, means, 8, 5, torch.float64, "cpu"))

    def layers():
        with torch.no_grad():
            transformer(tokens)

    def reference():
        mixture = Mixture(weights, means)
        for _ in range(STEPS):
            mixture, _, _ = em_step(tasks.X, mixture)

    pairs = [(timed(layers)[0], timed(reference)[0]) for _ in range(ROUNDS + 1)][1:]
    ours, theirs = (statistics.median(side) / STEPS for side in zip(*pairs, strict=True))
    benchmark.pedantic(layers, rounds=1)
    print(f"\none step, {TASKS} tasks, d=8, K=5, N=128, {pieces} pieces, one thread, float64")
    record(
        benchmark,
        milliseconds_a_step_layers=1e3 * ours,
        milliseconds_a_step_em=1e3 * theirs,
        multiple_of_an_em_step=ours / theirs,
        hidden_units="+".join(str(layer.hidden) for layer in transformer.shape.layers),
        main_costs=cost_by_operation(layers),
    )


def peak_of_a_large_forward() -> tuple[float, float]:
    """(seconds, GiB): one step on 100,000 points; peak resident memory in all."""
    torch.set_num_threads(2)
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(MANY_POINTS, 8, generator=generator, dtype=torch.float64)
    em = em_construction(8, 5, 1, 128)
    took, _ = timed(lambda: em.run(X, torch.full((5,), 0.2, dtype=torch.float64), X[:5].clone()))
    return took, peak_resident_gib()


def test_a_hundred_thousand_points_in_one_forward(benchmark):
    took, peak = in_a_fresh_process(peak_of_a_large_forward)
    benchmark.pedantic(lambda: None, rounds=1)
    print(f"\none step on N = {MANY_POINTS:,} points, d=8, K=5, 128 pieces, two threads, float64")
    record(benchmark, seconds=took, peak_resident_gib=peak, target_gib=4.0)
