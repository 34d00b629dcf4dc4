"""The parts of a comparison: each computes a result, and draws its section of the report from that.

A result is a frozen dataclass of numbers and text (no tensors), so that it can be kept on disk as JSON
(console.typed_json) and a stopped comparison goes on with the next part. NaN stands for what is not known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from console.sections import Section
from constructions.language.shown import short_repr
from training.comparison.common.fresh import fresh
from training.comparison.common.random_paths import Purpose, seed_of
from training.interpretability.circuit import transformer_of
from training.model.tgmm import TGMM
from training.serving.loading import Released

R = TypeVar("R")
Start = Callable[[str], None]
"""Called with the name of each piece of work as it starts."""


@dataclass(frozen=True)
class Effort:
    """How much is computed.

    quick  within a minute in all; otherwise within ten.
    seed   of every random draw.
    tasks  tasks of a regime (one K, N and separation), before a part takes fewer because its tasks are large.
    """

    quick: bool
    seed: int
    tasks: int


@dataclass(frozen=True)
class AboutNetwork:
    """Begins a result: the network's name, its d, and the seed."""

    name: str
    d: int
    seed: int

    def caption(self, tasks: str = "") -> str:
        """Begins captions; tasks: how many, as in "64 tasks"."""
        return f"Network {self.name}, d = {self.d}, {f'{tasks}, ' if tasks else ''}seed {self.seed}."


@dataclass(frozen=True, eq=False)
class Subject:
    """The network under examination, its control, and how much is computed.

    released   the learned network and what is known of it.
    untrained  a network of the same configuration with fresh random weights: what training did not put there.
    """

    released: Released
    untrained: TGMM
    effort: Effort

    __repr__ = short_repr

    @property
    def model(self) -> TGMM:
        """The learned network."""
        return self.released.model

    @property
    def about(self) -> AboutNetwork:
        """What results begin with."""
        return AboutNetwork(self.released.name, self.model.config.n_features, self.effort.seed)

    def networks(self) -> dict[str, TGMM]:
        """Learned, then the control."""
        return {"learned": self.model, "untrained": self.untrained}

    def generator(self, purpose: Purpose, *numbers: int) -> torch.Generator:
        """Random numbers for one purpose and the numbers that follow it, the same every time."""
        return self.generator_at(*purpose.value.integers(numbers))

    def generator_at(self, *path: int) -> torch.Generator:
        """Those of a path of integers; :class:`RegimeTasks` makes them up of names."""
        return torch.Generator().manual_seed(seed_of(self.effort.seed, *path))


def subject_of(released: Released, effort: Effort) -> Subject:
    """The network with its untrained control, drawn from the seed.

    A fresh model with the read-out "slots" would be EM: its control has random weights in these layers.
    """
    with torch.random.fork_rng(devices=[]):
        path = Purpose.CONTROL_WEIGHTS.value.integers(())
        torch.default_generator.manual_seed(seed_of(effort.seed, *path))  # modules draw their weights from it
        untrained = TGMM(released.model.config, dtype=released.model.dtype)
        if released.model.config.readout == "slots":
            backbone = transformer_of(untrained)
            drawn = fresh(backbone.shape, torch.default_generator)
            backbone.load_state_dict(drawn.state_dict())
    return Subject(released, untrained.eval().requires_grad_(False), effort)


@dataclass(frozen=True)
class Part(Generic[R]):
    """One question that a comparison answers.

    key       its name in results.json and on the command line.
    title     of its section.
    result    the class of what is measured.
    compute   (subject, start) -> the result.
    render    the result -> the section.
    pieces    how often `compute` calls `start`.
    pictures  names of the pictures that `render` may make.
    refusal   why a network of this kind cannot be asked this, or "".
    """

    key: str
    title: str
    result: type[R]
    compute: Callable[[Subject, Start], R]
    render: Callable[[R], Section]
    pieces: Callable[[Subject], int]
    pictures: tuple[str, ...]
    refusal: Callable[[Subject], str] = lambda subject: ""
