"""One architecture, two origins: networks of the construction's exact shape, trained from several starts.

constructed   the hand-built weights, balanced (every hidden unit scaled so that what goes in and what comes
              out have one norm: the same function, better conditioned)
noise         the same plus noise: each tensor W becomes W + size |W| z / |z|, z normal, norms of the whole
              tensor, so `size` is the relative distance in every tensor that is not zero
random        fresh weights: normal of variance 1/(2 fan-in), no biases

Adam, betas (0.9, 0.99), gradients clipped at norm 1, 50 steps of warm-up, then half a cosine to 0; fresh
tasks at every step. A run is a pure function of its `RunPlan` and the problem.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from constructions.language.shown import short_repr
from constructions.language.stream import Block
from constructions.language.transformer import Transformer
from training.comparison.common.random_paths import OriginPurpose, generator_of
from training.comparison.origins.em_problem import TARGETS, EMProblem, Examples, Target
from training.comparison.symmetry.alignment import KINDS, align_transformers
from training.model.balance import balanced

Start = Literal["constructed", "noise", "random"]

TASKS_PER_STEP = 16
WARMUP = 50
BETAS = (0.9, 0.99)
CLIP = 1.0
WATCHES = 100
"""The held-out loss is taken so many times over a run, at least, or at every step."""


@dataclass(frozen=True)
class RunPlan:
    """One training run.

    start, noise    where it starts; noise is the size, 0 unless start is "noise".
    target          its loss.
    learning_rate   the peak.
    steps, seed     length; of the noise or the random weights, and of the tasks.
    measured        the numbers of steps after which the network is measured, ascending, 0 first.
    """

    start: Start
    target: Target
    learning_rate: float
    steps: int
    seed: int
    noise: float = 0.0
    measured: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """As tables call it."""
        return f"construction + noise {self.noise:g}" if self.start == "noise" else START_NAMES[self.start]

    @property
    def label(self) -> str:
        """What runs that differ in the seed alone have in common."""
        return self.name + (f", rate {self.learning_rate:g}" if self.start == "constructed" else "")


START_NAMES = {"constructed": "construction", "random": "random"}


def slot_blocks(problem: EMProblem) -> tuple[Block, ...]:
    """The blocks of the stream with one entry a component: renaming the components permutes them together."""
    s = problem.construction.stream
    return (s.slot, s.pi, s.log_pi, s.resp, s.log_resp)


def starting_network(problem: EMProblem, plan: RunPlan) -> Transformer:
    """The network at step 0."""
    network = balanced(problem.constructed())
    generator = generator_of(OriginPurpose.WEIGHTS, plan.seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if plan.start == "random":
                spread = (2 * parameter.shape[-2]) ** -0.5 if parameter.ndim >= 2 else 0.0
                parameter.copy_(spread * torch.randn(parameter.shape, generator=generator))
            elif plan.start == "noise":
                z = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
                parameter.add_(plan.noise * parameter.norm() * z / z.norm())
    return network.to(problem.dtype).requires_grad_(True)


def learning_rate(plan: RunPlan, step: int) -> float:
    """At step 0, 1, ...: warm-up times half a cosine, 0 at the end."""
    warm = min(1.0, (step + 1) / WARMUP)
    return plan.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / plan.steps))


@dataclass(frozen=True)
class Distances:
    """Of one network on held-out tasks: the mean loss of the run's target, both losses, and distances.

    weights, by_kind  to the construction modulo symmetries, and that of A, V, MLP each; NaN where a loss is
                      not finite.
    function          root mean square distance of the outputs to the construction's.
    """

    loss: float
    em: float
    truth: float
    weights: float
    by_kind: dict[str, float]
    function: float

    __repr__ = short_repr


@dataclass(frozen=True)
class Measurement(Distances):
    """After a step; gradient: its norm on the next batch."""

    step: int
    gradient: float


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A run and what became of it.

    curve    after the steps that the plan names. watched  (step, held-out loss), at least WATCHES of them.
    """

    plan: RunPlan
    curve: list[Measurement]
    watched: list[tuple[int, float]]
    network: Transformer

    __repr__ = short_repr


def train(problem: EMProblem, plan: RunPlan, held_out: Examples) -> TrainedRun:
    """Train, measuring on the held-out tasks.

    A run whose loss is not finite stops there, and its later measurements are missing.
    """
    network = starting_network(problem, plan)
    optimiser = torch.optim.Adam(network.parameters(), lr=plan.learning_rate, betas=BETAS)
    batches = problem.batches(TASKS_PER_STEP, plan.seed)
    curve: list[Measurement] = []
    watched: list[tuple[int, float]] = []
    every = max(1, plan.steps // WATCHES)
    for step in range(plan.steps + 1):
        batch = next(batches)
        optimiser.zero_grad()
        loss = problem.losses(network, batch, plan.target).mean()
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(network.parameters(), CLIP))
        if step in plan.measured:
            found = measure(problem, network, held_out, plan.target)
            curve.append(Measurement(**vars(found), step=step, gradient=norm))
        if step % every == 0 or step in plan.measured:
            watched.append((step, _mean_loss(problem, network, held_out, plan.target)))
        if step == plan.steps or not (math.isfinite(norm) and math.isfinite(float(loss.detach()))):
            break
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(plan, step)
        optimiser.step()
    return TrainedRun(plan, curve, watched, network.requires_grad_(False))


def _mean_loss(problem: EMProblem, network: Transformer, examples: Examples, target: Target) -> float:
    with torch.no_grad():
        return float(problem.losses(network, examples, target).mean())


def measure(problem: EMProblem, network: Transformer, held_out: Examples, target: Target) -> Distances:
    """Losses and distances of one network."""
    losses = {name: _mean_loss(problem, network, held_out, name) for name in TARGETS}
    constructed = problem.constructed()
    finite = all(map(math.isfinite, losses.values()))
    found = align_transformers(constructed, network, slot_blocks(problem)) if finite else None
    return Distances(
        loss=losses[target],
        em=losses["em"],
        truth=losses["truth"],
        weights=math.nan if found is None else found.distance,
        by_kind=dict.fromkeys(KINDS, math.nan) if found is None else found.by_kind,
        function=problem.function_distance(network, constructed, held_out),
    )


def measured_steps(steps: int) -> tuple[int, ...]:
    """0, the powers of 10 times 1, 3 up to `steps`, and `steps`."""
    found = {0, steps}
    power = 1
    while power < steps:
        found |= {power, 3 * power} if 3 * power < steps else {power}
        power *= 10
    return tuple(sorted(found))


def radius_of_return(noises: Sequence[float], returned: Sequence[bool]) -> float | None:
    """The largest size of noise up to which every size came back; None where not even the smallest did."""
    radius = None
    for noise, back in sorted(zip(noises, returned, strict=True)):
        if not back:
            break
        radius = noise
    return radius
