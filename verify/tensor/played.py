"""The first start of a run of tensor power iteration, step by step, as results and player have it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from baselines.robust_tensor_power import tensor_power_iteration
from console.output import significant
from constructions.tensor_power.iteration import PowerIteration
from verify.player.scene import Column
from verify.tensor.data import TensorProblem
from verify.tensor.measure import Runtime, along_path

START = 0
DIGITS = 4


@dataclass(frozen=True)
class PlayedStep:
    """After a step: v of the layers and of the float64 reference, |v - reference|, its bound, |reference|.

    The bound is infinite, null in JSON, where nothing is claimed.
    """

    step: int
    layers: list[float]
    reference: list[float]
    error: float
    bound: float
    length: float


@dataclass(frozen=True)
class PlayedPath:
    """Which of the starts of which tensor, by which form of the construction; where it began."""

    problem: str
    form: str
    start: int
    begin: list[float]
    steps: list[PlayedStep]


def played_path(
    power: PowerIteration, problem: TensorProblem, form: str, on: Runtime, steps: int
) -> PlayedPath:
    """The first start of a run of all."""
    T = problem.T.expand(len(problem.v), -1, -1, -1)
    run = power.run(T, problem.v, steps=steps, **on.arguments)
    exact = tensor_power_iteration(T, problem.v, steps, normalise=power.normalised).path[START]
    found = along_path(power, problem, on, steps)
    path = run.path[START].to("cpu", torch.float64)
    numbers = [(float(found.error[START, t]), float(found.bound[START, t])) for t in range(steps + 1)]
    made = [
        PlayedStep(t, path[t].tolist(), exact[t].tolist(), *numbers[t], float(found.length[START, t]))
        for t in range(1, steps + 1)
    ]
    return PlayedPath(problem.name, form, START, path[0].tolist(), made)


def path_columns(found: PlayedPath) -> list[Column]:
    """Of the table, printed as the report prints numbers."""
    return [
        Column(
            "all steps so far", heading, name, [[significant(getattr(s, name), DIGITS)] for s in found.steps]
        )
        for name, heading in (("error", "|v - reference|"), ("bound", "bound"), ("length", "|reference|"))
    ]
