"""Training steps: our model against the paper's public one (a Hugging Face GPT-2).

Both sides have 12 layers, 4 heads and width 128, and take whole steps: tasks drawn, forward, loss, backward,
clipping, AdamW, on as many tasks of the same lengths (d = 8, N uniform in 64..128). Ours takes micro-batches
sorted by length, in float32 and in bfloat16 autocast, which pays where the processor has instructions for it;
the peer takes one padded batch in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from training.model.settings import ModelConfig
from training.tasks import TaskDistribution, plan_step
from training.trainer.config import Precision, RunConfig, TrainingConfig
from training.trainer.loop import Trainer
from training.trainer.processes import Processes

from .gpt2_peer import GPT2Peer, peer_stepper
from .measure import Row, added_memory, in_turns

LAYERS, HEADS, WIDTH, LONGEST = 12, 4, 128, 128
DISTRIBUTION = TaskDistribution(8, (2, 3, 4, 5), samples=(LONGEST // 2, LONGEST), sort_weights=True)
TASKS, MICRO_BATCHES, ROUNDS = 64, 4, 5


def our_config(precision: Precision) -> RunConfig:
    """The shape of the paper's model; the loss is the matched one that training uses."""
    model = ModelConfig(8, DISTRIBUTION.components, layers=LAYERS, heads=HEADS, width=WIDTH)
    training = TrainingConfig(
        steps=1000, tasks_per_step=TASKS, micro_batches=MICRO_BATCHES, precision=precision
    )
    return RunConfig(DISTRIBUTION, model, training)


def our_side(precision: Precision) -> Callable[[], object]:
    """A function that takes our next step."""
    trainer = Trainer(our_config(precision), Processes(0, 1, torch.device("cpu")))
    return lambda: trainer.take_step().loss


def peer_side() -> Callable[[], object]:
    """A function that takes the peer's next step, on tasks as long as ours."""
    config = our_config("float32")
    torch.manual_seed(0)
    model = GPT2Peer(8, DISTRIBUTION.components, LAYERS, HEADS, WIDTH, LONGEST)
    step = peer_stepper(model, DISTRIBUTION, config.training.clip)
    plan = plan_step(DISTRIBUTION, TASKS, MICRO_BATCHES, config.training.seed, 0)
    lengths = torch.tensor([N for micro in plan for N in micro.n_samples])
    return lambda: step(lengths)


SIDES = {
    "float32": partial(our_side, "float32"),
    "bfloat16": partial(our_side, "bfloat16"),
    "peer": peer_side,
}


def training_rows() -> list[Row]:
    """A step of 64 tasks."""
    took = in_turns({name: make() for name, make in SIDES.items()}, ROUNDS)
    memory = {name: added_memory(make) for name, make in SIDES.items()}
    return [
        Row(
            "training",
            f"a step of {TASKS} tasks, {name}",
            "GPT-2 of the same size, float32",
            took[name],
            took["peer"],
            ROUNDS,
            memory[name],
            memory["peer"],
        )
        for name in ("float32", "bfloat16")
    ]
