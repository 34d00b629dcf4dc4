"""What ``python -m training.throughput`` does once its options are read; the formula is there."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from rich.console import Console

from console.errors import checking_input
from console.memory import check_fits
from console.terminal import print_table
from training.tasks import draw, plan_step
from training.trainer.config import RunConfig, load_preset
from training.trainer.loop import Trainer
from training.trainer.processes import Processes, joined

MATRIX = 2048
"""Rows of the square product that stands for what the device can do."""


@dataclass(frozen=True)
class Throughput:
    """Medians over the steps timed, two at the start left out; seconds, FLOPs and FLOPs a second."""

    step: float
    sampling: float
    flops: float
    peak: float
    tasks_per_step: int

    @property
    def utilisation(self) -> float:
        """Model FLOPs over what the measured product would have done in the same time."""
        return self.flops / (self.step * self.peak)


def measure(config: RunConfig, processes: Processes, steps: int) -> Throughput:
    """Time `steps` training steps and the drawing of their tasks.

    Raises ValueError for fewer than 3 steps.
    """
    if steps < 3:
        raise ValueError(f"--steps {steps}: at least 3 are needed, the first two warm up")
    if config.training.threads:
        torch.set_num_threads(config.training.threads)
    trainer = Trainer(config, processes)
    training = config.training
    taken, drawn, counted = [], [], []
    for _ in range(steps):
        plan = plan_step(
            config.tasks, training.tasks_per_step, training.micro_batches, training.seed, trainer.step
        )
        drawn.append(
            _seconds(lambda plan=plan: [draw(config.tasks, m, device=processes.device) for m in plan])
        )
        counted.append(
            sum(step_flops(config, trainer, micro.n_samples, micro.n_components) for micro in plan)
        )
        taken.append(_seconds(trainer.take_step))
    median = statistics.median
    precision = torch.bfloat16 if trainer.autocast else torch.float32
    peak = matrix_flops(processes.device, precision)
    return Throughput(
        median(taken[2:]), median(drawn[2:]), median(counted[2:]), peak, training.tasks_per_step
    )


def step_flops(config: RunConfig, trainer: Trainer, n_samples: tuple[int, ...], n_components: int) -> float:
    """FLOPs of one micro-batch's forward and backward pass, padding not counted."""
    weights = sum(p.numel() for p in trainer.model.backbone.parameters())
    extra = n_components if config.model.readout == "tokens" else 0
    tokens = [n + extra for n in n_samples]
    attention = 4 * config.model.layers * config.model.width * sum(n * n for n in tokens)
    return 3.0 * (2 * weights * sum(tokens) + attention)


def matrix_flops(device: torch.device, dtype: torch.dtype) -> float:
    """FLOPs a second of a product of two square matrices of MATRIX rows: the best of ten."""
    a = torch.ones(MATRIX, MATRIX, dtype=dtype, device=device)
    return 2 * MATRIX**3 / min(_seconds(lambda: a @ a) for _ in range(10))


def _seconds(work: Callable[[], object]) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def report(preset: str, steps: int, device: str) -> int:
    """Measure and print; the exit code."""
    with checking_input(), joined(device) as processes:
        check_fits("steps", steps, 100)
        config = load_preset(preset)
        found = measure(config, processes, steps)
    rows = [
        ["steps a second", f"{1 / found.step:.2f}"],
        ["sequences a second", f"{found.tasks_per_step / found.step:.0f}"],
        ["drawing the tasks, share of a step", f"{100 * found.sampling / found.step:.1f} %"],
        ["GFLOP a second, model", f"{found.flops / found.step / 1e9:.1f}"],
        [f"GFLOP a second, product of {MATRIX} rows", f"{found.peak / 1e9:.1f}"],
        ["utilisation", f"{100 * found.utilisation:.1f} %"],
    ]
    title = f"{preset} on {processes.device}, {torch.get_num_threads()} CPU threads, medians of {steps - 2}"
    print_table(Console(), title, ("quantity", "value"), rows)
    return 0
