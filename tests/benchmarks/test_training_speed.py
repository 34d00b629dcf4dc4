"""Training steps: our model against the paper's public one (a Hugging Face GPT-2). No time is asserted.

Run by `make bench`; `-k small` for a quick try. Both sides have 12 layers, 4 heads and width 128, and take
whole steps on one thread in the same test: tasks drawn, forward, loss, backward, clipping, AdamW, on as many
tasks of the same lengths (d = 8, N uniform in 64..128). Ours is the step of trainer/loop.py,
micro-batches sorted by length, in float32 and in bfloat16 autocast, which pays where the processor has
instructions for it; the peer takes one padded batch in float32. Peak memory is that of a fresh process after
two steps, above what it holds once the packages are imported.
"""

import math
import statistics
from collections.abc import Callable
from functools import partial

import pytest
import torch
from gpt2_peer import GPT2Peer, peer_stepper
from measuring import cost_by_operation, in_a_fresh_process, peak_resident_gib, record, timed

from training.model.tgmm import ModelConfig
from training.tasks import MicroBatch, TaskDistribution, draw, plan_step
from training.trainer.config import Precision, RunConfig, TrainingConfig
from training.trainer.loop import Trainer
from training.trainer.processes import Processes

LAYERS, HEADS, WIDTH, LONGEST = 12, 4, 128, 128
DISTRIBUTION = TaskDistribution(8, (2, 3, 4, 5), samples=(LONGEST // 2, LONGEST), sort_weights=True)
SIZES = {"small": (32, 4), "full": (256, 8)}
"""Tasks a step, and our micro-batches."""


def our_config(tasks: int, micro_batches: int, precision: Precision = "float32") -> RunConfig:
    """The shape of the paper's model; the loss is the matched one that training uses."""
    model = ModelConfig(8, DISTRIBUTION.components, layers=LAYERS, heads=HEADS, width=WIDTH)
    training = TrainingConfig(
        steps=1000, tasks_per_step=tasks, micro_batches=micro_batches, precision=precision
    )
    return RunConfig(DISTRIBUTION, model, training)


def our_plan(config: RunConfig, step: int) -> list[MicroBatch]:
    training = config.training
    return plan_step(DISTRIBUTION, training.tasks_per_step, training.micro_batches, training.seed, step)


def our_side(precision: Precision, tasks: int, micro_batches: int) -> Callable[[], float]:
    """A function that takes our next step and returns the loss."""
    trainer = Trainer(our_config(tasks, micro_batches, precision), Processes(0, 1, torch.device("cpu")))
    return lambda: trainer.take_step().loss


def peer_side(tasks: int, micro_batches: int) -> Callable[[], float]:
    """A function that takes the peer's next step, on tasks as long as ours, and returns the loss."""
    config = our_config(tasks, micro_batches)
    torch.manual_seed(0)
    model = GPT2Peer(8, DISTRIBUTION.components, LAYERS, HEADS, WIDTH, LONGEST)
    step = peer_stepper(model, DISTRIBUTION, config.training.clip)
    lengths = torch.tensor([N for micro in our_plan(config, 0) for N in micro.n_samples])
    return lambda: step(lengths)


SIDES = {"ours": partial(our_side, "float32"), "bfloat16": partial(our_side, "bfloat16"), "peer": peer_side}


def peak_of_two_steps(side: str, tasks: int, micro_batches: int) -> float:
    """GiB by which building the model and two steps raise the peak of this process."""
    torch.set_num_threads(1)
    before = peak_resident_gib()
    step = SIDES[side](tasks, micro_batches)
    for _ in range(2):
        step()
    return peak_resident_gib() - before


@pytest.mark.parametrize("size", SIZES)
def test_training_step(benchmark, one_thread, size):
    """Sequences a second and peak memory of each side, ratios to the peer, the sampler's share of a step."""
    tasks, micro_batches = SIZES[size]
    steps = {side: make(tasks, micro_batches) for side, make in SIDES.items()}
    for step in steps.values():
        assert math.isfinite(step())
    times = {side: [] for side in SIDES}
    draw_times = []
    config = our_config(tasks, micro_batches)
    for round_ in range(3):
        for side, step in steps.items():
            times[side].append(timed(step)[0])
        plan = our_plan(config, round_)
        draw_times.append(timed(lambda plan=plan: [draw(DISTRIBUTION, micro) for micro in plan])[0])
    benchmark.pedantic(steps["ours"], rounds=1)
    seconds = {side: statistics.median(found) for side, found in times.items()}
    peak = {side: in_a_fresh_process(peak_of_two_steps, side, tasks, micro_batches) for side in SIDES}
    figures: dict[str, object] = {"tasks_per_step": tasks, "micro_batches": micro_batches}
    for side in SIDES:
        figures[f"{side}_sequences_per_second"] = tasks / seconds[side]
        figures[f"{side}_peak_GiB"] = peak[side]
        if side != "peer":
            figures[f"{side}_ratio"] = seconds["peer"] / seconds[side]
            figures[f"{side}_memory_ratio"] = peak[side] / peak["peer"]
        figures[f"{side}_costs"] = cost_by_operation(steps[side])
    record(benchmark, **figures, sampler_share=statistics.median(draw_times) / seconds["ours"])
