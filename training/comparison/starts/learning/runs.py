"""Training one network, and measuring it on the way.

AdamW, betas (0.9, 0.99), no weight decay, gradients clipped at norm 1, WARMUP steps of warm-up, then half a
cosine (training.trainer.loop.learning_rate); with the change "muon" Muon has the matrices at MUON_SHARE times
the rate, as in the networks that ship. Every step has fresh tasks, the same for all arms of a seed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from constructions.language.shown import short_repr
from constructions.language.transformer import Transformer
from training.comparison.common.regimes import em_iterates
from training.comparison.starts.learning.arms import RunPlan, WideSizes, starting_network
from training.comparison.starts.learning.levels import HeldOut, Level, level, overall
from training.comparison.starts.learning.slotted_tasks import SlottedTasks, StartProblem
from training.trainer.config import TrainingConfig
from training.trainer.loop import learning_rate
from training.trainer.muon import Muon

WARMUP = 50
BETA2 = 0.99
CLIP = 1.0
MUON_SHARE = 5.0
IMAGES = 4
"""Signed permutations of each task with the change "images", among equally many tasks a step."""
PATH_SHARE = 1.0
"""Of the mean loss after the earlier steps, with the change "path"."""
WATCHES = 12


@dataclass(frozen=True)
class CurvePoint:
    """After a step: seconds of training so far (one process, measuring apart), mean errors over all K."""

    step: int
    seconds: float
    alone: float
    with_em: float


@dataclass(frozen=True)
class RunResult:
    """What became of a run. levels: of the network at its end, a K each; [] where it broke off."""

    plan: RunPlan
    parameters: int
    curve: list[CurvePoint]
    levels: list[Level]

    __repr__ = short_repr

    @property
    def seconds(self) -> float:
        """Of training."""
        return self.curve[-1].seconds


def watched_steps(steps: int, watches: int) -> tuple[int, ...]:
    """0 to `steps`, closer together at first: at most watches + 1 of them."""
    return tuple(sorted({round(steps * (place / watches) ** 2) for place in range(watches + 1)}))


def train(
    problem: StartProblem,
    plan: RunPlan,
    sizes: WideSizes,
    watched: Sequence[HeldOut],
    asked: Sequence[HeldOut],
    watches: int = WATCHES,
) -> RunResult:
    """Train; errors on `watched` so often along the way, on `asked` at the end.

    A run whose loss or estimates are not finite stops there, and has no levels.
    """
    network = starting_network(problem, plan, sizes)
    optimisers = optimisers_of(network, plan)
    schedule = TrainingConfig(plan.steps, learning_rate=plan.rate, warmup=WARMUP)
    measured, curve, seconds = watched_steps(plan.steps, watches), [], 0.0
    levels: list[Level] = []
    for step in range(plan.steps + 1):
        try:
            if step in measured:
                found = levels_of(problem, network, watched)
                curve.append(CurvePoint(step, seconds, overall(found), overall(found, with_em=True)))
            if step == plan.steps:
                levels = levels_of(problem, network, asked)
                break
            began = time.process_time()
            take_step(problem, network, optimisers, plan, step, learning_rate(step, schedule))
            seconds += time.process_time() - began
        except ArithmeticError:
            break
    return RunResult(plan, sum(p.numel() for p in network.parameters()), curve, levels)


def levels_of(problem: StartProblem, network: Transformer, asked: Sequence[HeldOut]) -> list[Level]:
    """A level for every K; ArithmeticError where an estimate is not finite."""
    return [level(problem.estimate(network, one.tasks), one) for one in asked]


def take_step(
    problem: StartProblem,
    network: Transformer,
    optimisers: Sequence[tuple[torch.optim.Optimizer, float]],
    plan: RunPlan,
    step: int,
    rate: float,
) -> None:
    """One step on its tasks; ArithmeticError, and no change, where the gradient is not finite."""
    images = IMAGES if plan.change == "images" else 1
    tasks = problem.batch(plan.tasks_per_step, plan.seed, step, images)
    network.zero_grad()
    loss_of(problem, network, tasks, plan).backward()
    norm = float(nn.utils.clip_grad_norm_(network.parameters(), CLIP))
    if not math.isfinite(norm):
        raise ArithmeticError(f"the gradient of step {step} is not finite")
    for optimiser, share in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = share * rate
        optimiser.step()


def loss_of(problem: StartProblem, network: Transformer, tasks: SlottedTasks, plan: RunPlan) -> Tensor:
    """The mean distance to the truth, and with the change "path" that of earlier steps to EM's."""
    states = problem.states(network, tasks)
    loss = problem.truth_losses(states[-1], tasks).mean()
    if plan.change == "path":
        path = em_iterates(tasks.X, tasks.start, len(states) - 1)[1:]
        earlier = [
            problem.em_losses(state, tasks, wanted).mean()
            for state, wanted in zip(states[:-1], path, strict=True)
        ]
        loss = loss + PATH_SHARE * torch.stack(earlier).mean()
    return loss


def optimisers_of(network: Transformer, plan: RunPlan) -> list[tuple[torch.optim.Optimizer, float]]:
    """Each with its share of the learning rate."""
    parameters = list(network.parameters())
    muon = plan.change == "muon"
    matrices = [p for p in parameters if muon and p.ndim >= 2]
    others: list[Any] = [p for p in parameters if not muon or p.ndim < 2]
    adamw = torch.optim.AdamW(others, lr=plan.rate, betas=(0.9, BETA2), weight_decay=0.0, fused=True)
    return [(adamw, 1.0), *([(Muon(matrices, plan.rate), MUON_SHARE)] if muon else [])]
