"""The search for a broken bound of any theorem: its families, sizes and accuracies in turn."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from constructions.language.hypotheses import HypothesisError
from constructions.language.shown import short_repr
from constructions.language.structured.evaluation import Evaluation
from verify.engine.measure import Measured, drawn, measure
from verify.engine.theorem import Sizes, Theorem

TASKS, MOST_STEPS = 8, 3
"""Tasks a draw, and the longest path that is searched."""


@dataclass
class Found:
    """What a search met.

    Attributes:
        instances: tasks whose errors were compared; refused: tasks outside the hypotheses on the way.
        claimed: steps of tasks with a finite bound, of ``steps`` in all. margin: smallest bound / error.
        families: instances of each. broken: a line for each draw with an error above its bound.
    """

    instances: int = 0
    refused: int = 0
    steps: int = 0
    claimed: int = 0
    margin: float = math.inf
    families: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def add(self, measured: Measured, family: str, where: str = "") -> None:
        """Count what was measured of a family."""
        tasks = len(measured)
        self.instances += tasks
        self.families[family] += tasks
        self.steps += tasks * measured.steps
        self.claimed += int(measured.claimed().sum())
        self.margin = min(self.margin, measured.margin())
        if wrong := int(measured.broken().sum()):
            self.broken.append(f"broken in {wrong} of {tasks} tasks: {where or family}")


@dataclass(frozen=True, eq=False)
class Draw:
    """Tasks that a search draws: the weights that run them for so many steps, and where they come from."""

    family: str
    weights: Any
    instance: Any
    steps: int
    where: str

    __repr__ = short_repr


def draws(theorem: Theorem[Any], dtype: torch.dtype, seed: int) -> Iterator[Draw]:
    """Without end: every family with every size, accuracy and number of steps in turn."""
    places = [
        (sizes, accuracy, steps, family)
        for sizes, accuracy, steps in itertools.product(
            theorem.sizes, theorem.accuracies, range(1, theorem.within(MOST_STEPS) + 1)
        )
        for family in theorem.families
    ]
    generator = torch.Generator().manual_seed(seed)
    # A stride that shares no factor with their number meets all places, and any short run meets many kinds.
    stride = next(
        s for s in range(len(places) // 3 + 1, 2 * len(places) + 2) if math.gcd(s, len(places)) == 1
    )
    made: dict[tuple[int, float | None, int], Any] = {}
    for turn in itertools.count():
        sizes, accuracy, steps, family = places[turn * stride % len(places)]
        key = (theorem.sizes.index(sizes), accuracy, steps)
        if key not in made:
            made[key] = theorem.construct(sizes, steps, accuracy)
        at = "" if theorem.accuracy is None else f" {accuracy:g} {theorem.accuracy.name},"
        where = f"{family}, {described(sizes)},{at} {steps} steps, {dtype}, draw {turn} of seed {seed}"
        yield Draw(family, made[key], drawn(theorem, family, sizes, TASKS, dtype, generator), steps, where)


def search(
    theorem: Theorem[Any],
    instances: int,
    dtype: torch.dtype,
    seed: int,
    device: str = "cpu",
    evaluation: Evaluation = "dense",
) -> Found:
    """At least so many instances of :func:`draws`, measured.

    Raises:
        RuntimeError: nearly all that the families draw is refused; they do not keep the hypotheses.
    """
    found, drawing = Found(), draws(theorem, dtype, seed)
    while found.instances < instances:
        check_refused(theorem, found.refused, found.instances, instances)
        draw = next(drawing)
        try:
            measured = measure(theorem, draw.weights, draw.instance, dtype, device, draw.steps, evaluation)
        except HypothesisError:
            found.refused += TASKS
            continue
        found.add(measured, draw.family, draw.where)
    return found


def check_refused(theorem: Theorem[Any], refused: int, taken: int, wanted: int) -> None:
    """Refuse to go on where nearly nothing is within the hypotheses.

    Raises:
        RuntimeError: ten times as many were refused as are wanted.
    """
    if refused > 10 * max(wanted, TASKS):
        raise RuntimeError(f"{theorem.key}: {refused} instances were refused, {taken} were not")


def described(sizes: Sizes) -> str:
    """As in d=3 N=64."""
    return " ".join(f"{name}={value}" for name, value in sizes.items())
