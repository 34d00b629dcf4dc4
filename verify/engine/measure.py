"""One instance through the weights of any theorem: errors step by step, beside both parts of the bound."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from console.typed_json import Absent
from constructions.language.hypotheses import HypothesisError
from constructions.language.rounding import sum_above
from constructions.language.shown import short_repr
from constructions.language.structured.evaluation import Evaluation
from verify.engine.certificates import Certificate
from verify.engine.theorem import Bound, Sizes, States, Theorem
from verify.intervals.rounded_up import Evaluated, rounded_up


@dataclass(frozen=True)
class Largest:
    """A quantity after a step: the largest error, and the bound of that very item; None: nothing compared.

    Attributes:
        instance: what was run. tasks, compared, claimed, broken: tasks; items compared, with a finite bound,
            and above it. margin: least bound / error. certified: of the first of the tasks.
        evaluated: how the bound was.
    """

    instance: str
    quantity: str
    step: int
    tasks: int
    compared: int
    error: float | None = None
    approximation: float | None = None
    rounding: float | None = None
    margin: float | None = None
    claimed: int | None = None
    broken: int | None = None
    evaluated: Evaluated = "float64"
    certified: Annotated[Certificate | None, Absent()] = None

    @property
    def bound(self) -> float | None:
        """Both parts, rounded up."""
        if self.approximation is None or self.rounding is None:
            return None
        parts = (torch.tensor(x, dtype=torch.float64) for x in (self.approximation, self.rounding))
        return float(sum_above(*parts))


@dataclass(frozen=True, eq=False)
class Measured:
    """A run beside its reference, quantity by quantity.

    Attributes:
        states, reference: (B, L + 1, items, width) each.
        error: (B, L, items) Euclidean, after each step. bound: what was claimed for it.
        compared: (B, L, items) where the reference is defined; nothing is compared elsewhere.
        evaluated: how the bounds were.
    """

    states: States
    reference: States
    error: dict[str, Tensor]
    bound: dict[str, Bound]
    compared: dict[str, Tensor]
    evaluated: Evaluated = "float64"

    __repr__ = short_repr

    def __len__(self) -> int:
        return len(next(iter(self.error.values())))

    @property
    def steps(self) -> int:
        """L."""
        return next(iter(self.error.values())).shape[1]

    def broken(self) -> Tensor:
        """(B,) tasks with an error above its bound at any step; a NaN on either side counts."""
        return torch.stack([self._broken(name).flatten(1).any(1) for name in self.error]).any(0)

    def _broken(self, name: str) -> Tensor:
        return self.compared[name] & ~(self.error[name] <= self.bound[name].total)

    def claimed(self) -> Tensor:
        """(B, L) tasks of which something is compared after that step, all of it with a finite bound."""
        finite = [b.total.isfinite() | ~self.compared[name] for name, b in self.bound.items()]
        some = torch.stack([compared.any(-1) for compared in self.compared.values()]).any(0)
        return torch.stack([each.all(-1) for each in finite]).all(0) & some

    def margin(self) -> float:
        """The smallest bound / error of all that was compared; inf where nothing was off."""
        ratios = [
            (self.bound[name].total / error)[self.compared[name] & (error > 0)]
            for name, error in self.error.items()
        ]
        return float(torch.cat([*ratios, torch.tensor([math.inf], dtype=torch.float64)]).min())

    def largest(self, instance: str = "") -> list[Largest]:
        """A row a quantity after each step."""
        steps = range(1, self.steps + 1)
        return [self._largest(instance, name, step) for step in steps for name in self.error]

    def _largest(self, instance: str, name: str, step: int) -> Largest:
        error, bound = self.error[name][:, step - 1], self.bound[name]
        compared = self.compared[name][:, step - 1]
        where = instance, name, step, len(self), int(compared.sum())
        if not bool(compared.any()):
            return Largest(*where, evaluated=self.evaluated)
        worst = int(error.masked_fill(~compared, -1).flatten().nan_to_num(math.inf).argmax())
        total = bound.total[:, step - 1]
        parts = (part[:, step - 1].flatten()[worst] for part in (bound.approximation, bound.rounding))
        approximation, rounding = map(float, parts)
        ratio = (total / error)[compared & (error > 0)]
        return Largest(
            *where,
            float(error.flatten()[worst]),
            approximation,
            rounding,
            margin=float(ratio.min()) if len(ratio) else math.inf,
            claimed=int((total.isfinite() & compared).sum()),
            broken=int(self._broken(name)[:, step - 1].sum()),
            evaluated=self.evaluated,
        )


def measure(
    theorem: Theorem[Any],
    weights: Any,
    instance: Any,
    dtype: torch.dtype,
    device: str = "cpu",
    steps: int = 1,
    evaluation: Evaluation = "dense",
    printed: bool = False,
) -> Measured:
    """Run the weights on an instance of numbers that ``dtype`` holds, and the exact algorithm beside them.

    Bounds that are ``printed`` are rounded up, which takes ten to twenty times as long; searches take
    float64's values.
    """
    states = theorem.run(weights, instance, dtype, device, steps, evaluation)
    reference = theorem.reference(instance, steps)
    evaluated: Evaluated = "float64"
    if printed:
        bound, evaluated = rounded_up(lambda: theorem.bounds(weights, instance, states, dtype))
    else:
        bound = theorem.bounds(weights, instance, states, dtype)
    defined = {name: after.isfinite().all(-1)[:, 1:] for name, after in reference.items()}
    error = {
        name: torch.linalg.vector_norm(states[name].to(torch.float64) - after, dim=-1)[:, 1:]
        for name, after in reference.items()
    }
    return Measured(states, reference, error, bound, defined, evaluated)


def every_path(
    theorem: Theorem[Any], tasks: int, steps: int, dtype: torch.dtype, g: torch.Generator
) -> Iterator[tuple[str, str, Measured | None]]:
    """Every family at all sizes and accuracies, with where that is; None where an instance is refused."""
    steps = theorem.within(steps)
    for sizes, accuracy in itertools.product(theorem.sizes, theorem.accuracies):
        weights = theorem.construct(sizes, steps, accuracy)
        for family in theorem.families:
            instance = drawn(theorem, family, sizes, tasks, dtype, g)
            try:
                found = measure(theorem, weights, instance, dtype, steps=steps)
            except HypothesisError:
                found = None
            yield family, f"{family}, {dict(sizes)}, accuracy {accuracy}", found


def drawn(
    theorem: Theorem[Any], family: str, sizes: Sizes, tasks: int, dtype: torch.dtype, g: torch.Generator
) -> Any:
    """An instance of a family, in numbers that ``dtype`` holds."""
    return theorem.rounded(theorem.families[family](sizes, tasks, g), dtype)
