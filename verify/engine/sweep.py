"""How the error of one step of any theorem falls with its accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from verify.engine.measure import drawn, measure
from verify.engine.options import Options
from verify.engine.theorem import Theorem
from verify.intervals.rounded_up import Evaluated


@dataclass(frozen=True)
class SweptAt:
    """Medians over all items of a quantity after one step; ``evaluated``: how the bounds were."""

    quantity: str
    accuracy: float
    error: float
    approximation: float
    rounding: float
    evaluated: Evaluated = "float64"

    @property
    def shown(self) -> str:
        """The accuracy as text."""
        return f"{self.accuracy:g}"


def swept(theorem: Theorem[Any], options: Options, generator: torch.Generator) -> list[SweptAt]:
    """One step of the first family at every accuracy; nothing where the theorem is exact."""
    if theorem.accuracy is None:
        return []
    sizes, family = theorem.sizes[0], next(iter(theorem.families))
    instance = drawn(theorem, family, sizes, options.trials or 1, options.dtype, generator)
    rows = []
    for value in theorem.accuracy.values:
        weights = theorem.construct(sizes, 1, value)
        on = options.dtype, options.device, 1, options.evaluation
        found = measure(theorem, weights, instance, *on, printed=True)
        for name, error in found.error.items():
            parts = error, found.bound[name].approximation, found.bound[name].rounding
            medians = (float(part[found.compared[name]].median()) for part in parts)
            rows.append(SweptAt(name, value, *medians, evaluated=found.evaluated))
    return rows
