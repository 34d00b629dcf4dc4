"""One cell of the study: everything that decides how a network is trained, but its seed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal

from constructions.language.transformer import Activation
from training.comparison.origins.em_problem import EMProblem

Supervision = Literal["output", "every step", "trace", "forced"]
Given = Literal["nothing", "E", "M"]
Optimiser = Literal["AdamW", "Muon", "gradient descent"]

MANY_SIZES = (4, 5, 7, 8, 11, 16, 22, 32)
"""Numbers of points, none a multiple of 3: with K = 3 some slots of a task have more tokens."""


@dataclass(frozen=True)
class Cell:
    """How the networks of a cell are trained; the defaults are the baseline.

    name, factor, level   of the cell; what is varied, and to what.
    n_features, n_components, loops   d, K and L of the tasks and of the construction.
    supervision    output: the mixture read out at the end. every step: that after each loop, too. trace:
                   every block of the stream after every layer, on the network's own states. forced: the same,
                   each layer given the exact states.
    sub_layers     the trace is also compared behind the attention of every layer, before its MLP; forced:
                   both are given exact states.
    given          the layer that is the construction's, and not trained.
    heads, units   how many times those of the construction.
    initial_scale  of the first weights.
    activation     of the MLP.
    optimiser, learning_rate, weight_decay   decoupled decay, of matrices and biases.
    sparsity       s of s sum |w|, over the trained matrices.
    fixed_tasks    training draws from so many tasks; 0: fresh ones at every step.
    sizes          numbers of points of the tasks: one is drawn for some steps at a time.
    curriculum     the loops grow from 1 to L, for equal shares of the steps.
    longer         how many times the steps of the study.
    finish         share of the steps, the last ones, in which the loss is that of "output".
    """

    name: str
    factor: str
    level: str
    n_features: int = 2
    n_components: int = 3
    loops: int = 2
    supervision: Supervision = "output"
    sub_layers: bool = False
    given: Given = "nothing"
    heads: int = 1
    units: int = 1
    initial_scale: float = 1.0
    activation: Activation = "relu"
    optimiser: Optimiser = "AdamW"
    learning_rate: float = 3e-3
    weight_decay: float = 0.0
    sparsity: float = 0.0
    fixed_tasks: int = 0
    sizes: tuple[int, ...] = (32,)
    curriculum: bool = False
    longer: int = 1
    finish: float = 0.0

    @property
    def problem(self) -> EMProblem:
        """Its tasks, at the number of points that networks are measured on, and its construction."""
        return _problem(self.n_features, self.n_components, self.loops)

    def supervision_at(self, step: int, steps: int) -> Supervision:
        """What the loss compares at a step."""
        return "output" if step >= (1 - self.finish) * steps else self.supervision

    def loops_at(self, step: int, steps: int) -> int:
        """How often the block is applied at a step."""
        return min(self.loops, 1 + math.floor(self.loops * step / steps)) if self.curriculum else self.loops


@cache
def _problem(n_features: int, n_components: int, loops: int) -> EMProblem:
    """Kept: its construction and read-out are made once."""
    return EMProblem(n_features, n_components, 32, loops)
