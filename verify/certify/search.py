"""The search for a broken bound with a certificate of every instance: what holds, holds by proof."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch

from constructions.language.hypotheses import HypothesisError
from verify.certify.certificate import Certified, certify
from verify.certify.network.faults import faults
from verify.engine.search import TASKS, check_refused, draws
from verify.engine.theorem import Theorem, formulas


@dataclass
class Decided:
    """What a certified search met.

    Attributes:
        verdicts: tasks of each; a task is broken where a step of it is, else unknown where one is.
        refused: tasks outside the hypotheses. steps: of tasks; claimed: of them with finite bounds alone.
        margin: the least of bound / error that is certified. bits: steps that were decided with so many.
        lines: a line for each task that is not held, or for weights that are not what the formulas say.
    """

    verdicts: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    steps: int = 0
    claimed: int = 0
    margin: float = math.inf
    bits: Counter[int] = field(default_factory=Counter)
    lines: list[str] = field(default_factory=list)

    @property
    def instances(self) -> int:
        """Tasks that a verdict was given on."""
        return self.verdicts.total()

    def add(self, certificates: list[Certified], where: str) -> None:
        """Of one task."""
        found = {one.verdict for one in certificates}
        verdict = next(v for v in ("broken", "unknown", "held") if v in found)
        self.verdicts[verdict] += 1
        for step in {one.step for one in certificates}:
            of_step = [one for one in certificates if one.step == step]
            self.steps += 1
            self.claimed += any(one.items for one in of_step) and all(o.claimed == o.items for o in of_step)
            self.bits[max(one.bits for one in of_step)] += 1
        self.margin = min([self.margin, *(one.margin for one in certificates)])
        if verdict != "held":
            self.lines.append(f"{verdict}: {where}")


def certified_search(theorem: Theorem[Any], instances: int, dtype: torch.dtype, seed: int) -> Decided:
    """At least so many instances of the search's own draws, each with a certificate.

    The weights of each construction are first compared with its formulas, exactly.

    Raises:
        RuntimeError: nearly all that the families draw is refused.
    """
    found, checked = Decided(), set[int]()
    drawing = draws(theorem, dtype, seed)
    while found.instances < instances:
        check_refused(theorem, found.refused, found.instances, instances)
        draw = next(drawing)
        if id(draw.weights) not in checked:
            checked.add(id(draw.weights))
            off = faults(formulas(draw.weights), draw.weights.to_transformer(dtype))
            if off:
                found.lines.append(f"broken: weights, {draw.where}: {off[0]}")
                found.verdicts["broken"] += 1
        try:
            states = theorem.run(draw.weights, draw.instance, dtype, steps=draw.steps)
        except HypothesisError:
            found.refused += TASKS
            continue
        for task, of_task in enumerate(certify(theorem, draw.weights, draw.instance, states, dtype)):
            found.add(of_task, f"task {task} of {draw.where}")
    return found
