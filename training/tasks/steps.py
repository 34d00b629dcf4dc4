"""Training steps: what each micro-batch is, and its tasks.

One step's global batch is a pure function of (distribution, n_tasks, micro_batches, seed, step): `plan_step`
says cheaply what each micro-batch is, `draw` makes one of them, on any process and in any order. The numbers
are those of one kind of device and one dtype: a GPU's generator gives other tasks of the same law for the
same seed than a CPU's, and so does float32 beside float64.
"""

from dataclasses import dataclass

import numpy as np
import torch

from baselines.checks import check_count
from training.tasks.batch import TaskBatch, sample_tasks
from training.tasks.distribution import TaskDistribution

LENGTHS, TASKS = 0, 1  # which random numbers of a step


@dataclass(frozen=True)
class MicroBatch:
    """What `draw` needs to make one micro-batch: K, the length N of every task (ascending), a 63-bit seed."""

    n_components: int
    n_samples: tuple[int, ...]
    seed: int


def plan_step(
    distribution: TaskDistribution, n_tasks: int, micro_batches: int, seed: int, step: int
) -> list[MicroBatch]:
    """The micro-batches of training step `step`, n_tasks tasks in all: a pure function of the arguments.

    Micro-batch m has K = components[(step * micro_batches + m) mod len(components)]. The lengths of all tasks
    of one K are drawn together, sorted, and cut into that K's micro-batches, so that little is padded; each
    task's N alone is uniform on `samples`. Seeds are hashes of (seed, step, m) by numpy's SeedSequence; a
    CPU generator of torch reads 32 bits of its seed, so among B micro-batches about B^2 / 2^33 pairs start
    from the same state. ValueError unless micro_batches divides n_tasks.
    """
    check_count("n_tasks", n_tasks)
    check_count("micro_batches", micro_batches)
    check_count("seed", seed, 0)
    check_count("step", step, 0)
    if n_tasks % micro_batches:
        raise ValueError(f"n_tasks is {n_tasks}, needs a multiple of micro_batches = {micro_batches}")
    size = n_tasks // micro_batches
    turns = [
        distribution.components[(step * micro_batches + m) % len(distribution.components)]
        for m in range(micro_batches)
    ]
    low, high = distribution.samples
    rng = np.random.Generator(np.random.PCG64(_entropy(seed, step, LENGTHS)))
    lengths: dict[int, list[list[int]]] = {}
    for K in sorted(set(turns)):
        drawn = np.sort(rng.integers(low, high, size=turns.count(K) * size, endpoint=True))
        lengths[K] = drawn.reshape(-1, size).tolist()
    plan = []
    for m, K in enumerate(turns):
        state = _entropy(seed, step, TASKS, m).generate_state(1, np.uint64)
        plan.append(MicroBatch(K, tuple(lengths[K].pop(0)), int(state[0]) >> 1))
    return plan


def draw(
    distribution: TaskDistribution,
    micro: MicroBatch,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> TaskBatch:
    """The tasks of one micro-batch, by `sample_tasks` from a generator of `device` seeded with its seed."""
    generator = torch.Generator(device).manual_seed(micro.seed)
    lengths = torch.tensor(micro.n_samples)
    return sample_tasks(
        distribution, len(lengths), micro.n_components, lengths, generator, dtype=dtype, device=device
    )


def _entropy(seed: int, *path: int) -> np.random.SeedSequence:
    """Seeds are told apart by the path as a spawn key: as entropy, [1, 2] and [1, 2, 0] are the same seed."""
    return np.random.SeedSequence(seed, spawn_key=path)
