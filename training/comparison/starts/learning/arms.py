"""The networks that are compared: one shape, several starts, and what is changed about their training.

constructed  L steps of EM, balanced and widened; what is free holds small random numbers and writes nothing,
             so that the function is EM's
noise        the same, and every tensor W becomes W + NOISE |W| z / |z|, z normal
random       fresh weights: normal of variance 1/fan-in, what adds to the stream over sqrt(2 layers) besides,
             scores over sqrt(head_dim), no biases
normed       the same with a LayerNorm before every sub-layer, as trained networks have it
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch

from constructions.language.transformer import Transformer
from training.comparison.common.fresh import fresh
from training.comparison.common.random_paths import StartsPurpose, generator_of
from training.comparison.starts.learning.slotted_tasks import StartProblem
from training.model.balance import balanced
from training.model.slots import FREE, NOISE, add_noise
from training.model.widened import wide_shape, widened

Arm = Literal["constructed", "noise", "random", "normed"]
Change = Literal["none", "tied", "path", "images", "muon"]
ARMS: tuple[Arm, ...] = get_args(Arm)
CHANGES: tuple[Change, ...] = get_args(Change)


@dataclass(frozen=True)
class WideSizes:
    """Of every layer: the stream, heads and their columns, hidden units."""

    width: int = 64
    heads: int = 4
    head_dim: int = 16
    hidden: int = 256


@dataclass(frozen=True)
class RunPlan:
    """One training run.

    n_features, arm     d, and where it starts.
    change              "none", or what is changed: "tied" (one block of two layers, L times), "path" (a loss
                        after every earlier step too: the distance to EM's), "images" (each task in several
                        signed permutations), "muon" (Muon for the matrices).
    rate                the peak of the learning rate.
    steps, seed         length; of the weights and the tasks.
    tasks_per_step      images included.
    """

    n_features: int
    arm: Arm
    change: Change
    rate: float
    steps: int
    seed: int
    tasks_per_step: int = 16


def starting_network(problem: StartProblem, plan: RunPlan, sizes: WideSizes) -> Transformer:
    """The network at step 0, a function of the plan's arm, change and seed."""
    narrow = problem.construction.to_transformer(torch.float64, looped=plan.change == "tied")
    shape = wide_shape(narrow.shape, sizes.width, sizes.heads, sizes.head_dim, sizes.hidden)
    generator = generator_of(StartsPurpose.WEIGHTS, plan.seed)
    if plan.arm in ("random", "normed"):
        norm = "layer" if plan.arm == "normed" else "none"
        network = fresh(replace(shape, norm=norm), generator)
    else:
        network = widened(balanced(narrow), shape, FREE, generator)
        if plan.arm == "noise":
            add_noise(network, NOISE, generator)
    return network.to(problem.dtype).requires_grad_(True)
