"""One instance through the weights of any theorem: errors step by step, beside both parts of the bound."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from verify.engine.theorem import Bound, Sizes, States, Theorem


@dataclass(frozen=True, eq=False)
class Measured:
    """A run beside its reference, quantity by quantity.

    Attributes:
        states, reference: (B, L + 1, items, width) each.
        error: (B, L, items) Euclidean, after each step. bound: what was claimed for it.
        compared: (B, L, items) where the reference is defined; nothing is compared elsewhere.
    """

    states: States
    reference: States
    error: dict[str, Tensor]
    bound: dict[str, Bound]
    compared: dict[str, Tensor]

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

    def at(self, step: int) -> list[dict[str, Any]]:
        """A row a quantity after a step: the largest error, and the bound of that very item."""
        return [self._row(name, step) for name in self.error]

    def _row(self, name: str, step: int) -> dict[str, Any]:
        error, bound = self.error[name][:, step - 1], self.bound[name]
        compared = self.compared[name][:, step - 1]
        row: dict[str, Any] = {
            "quantity": name,
            "step": step,
            "tasks": len(self),
            "compared": int(compared.sum()),
        }
        if not bool(compared.any()):
            return row | dict.fromkeys(("error", "approximation", "rounding", "margin", "claimed", "broken"))
        worst = int(error.masked_fill(~compared, -1).flatten().nan_to_num(math.inf).argmax())
        total = bound.total[:, step - 1]
        parts = (part[:, step - 1].flatten()[worst] for part in (bound.approximation, bound.rounding))
        approximation, rounding = map(float, parts)
        ratio = (total / error)[compared & (error > 0)]
        return row | {
            "error": float(error.flatten()[worst]),
            "approximation": approximation,
            "rounding": rounding,
            "margin": float(ratio.min()) if len(ratio) else math.inf,
            "claimed": int((total.isfinite() & compared).sum()),
            "broken": int(self._broken(name)[:, step - 1].sum()),
        }


def measure(
    theorem: Theorem[Any],
    weights: Any,
    instance: Any,
    dtype: torch.dtype,
    device: str = "cpu",
    steps: int = 1,
) -> Measured:
    """Run the weights on an instance of numbers that ``dtype`` holds, and the exact algorithm beside them."""
    states = theorem.run(weights, instance, dtype, device, steps)
    reference = theorem.reference(instance, steps)
    bound = theorem.bounds(weights, instance, states, dtype)
    defined = {name: after.isfinite().all(-1)[:, 1:] for name, after in reference.items()}
    error = {
        name: torch.linalg.vector_norm(states[name].to(torch.float64) - after, dim=-1)[:, 1:]
        for name, after in reference.items()
    }
    return Measured(states, reference, error, bound, defined)


def drawn(
    theorem: Theorem[Any], family: str, sizes: Sizes, tasks: int, dtype: torch.dtype, g: torch.Generator
) -> Any:
    """An instance of a family, in numbers that ``dtype`` holds."""
    return theorem.rounded(theorem.families[family](sizes, tasks, g), dtype)
