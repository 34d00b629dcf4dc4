"""Which runs the table is made of: theorems at their finest accuracy, sizes, and tasks of their families."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from verify.engine.search import described
from verify.engine.theorem import Sizes, Theorem

STEPS = 2
"""Of a path, where the theorem has so many."""

LARGER: Mapping[str, tuple[Sizes, ...]] = {
    "em": ({"d": 8, "K": 5, "N": 128}, {"d": 12, "K": 6, "N": 192}),
    "tensor-power": ({"d": 8, "d0": 8}, {"d": 16, "d0": 16}),
    "softmax-tensor-power": ({"d": 8, "d0": 8}, {"d": 16, "d0": 16}),
}
"""Sizes beside those of the theorem, by its key."""

ERROR_ALONE = ("spectral", "spectral-squares", "spectral-variance")
"""Keys of theorems whose layers are not evaluated in balls: a pass takes seconds, and loses every bit."""


@dataclass(frozen=True, eq=False)
class Case:
    """A theorem at one size, at its finest accuracy, for L = ``steps`` steps."""

    theorem: Theorem[Any]
    sizes: Sizes
    steps: int

    @property
    def accuracy(self) -> str:
        """As in "2048 pieces"; a dash where the construction is exact."""
        name = self.theorem.accuracy
        return "-" if name is None else f"{name.values[-1]:g} {name.name}"

    @property
    def size(self) -> str:
        """As in "d=2 N=40"."""
        return described(self.sizes)

    @property
    def name(self) -> str:
        """Of both."""
        return f"{self.theorem.key}, {self.size}"

    def weights(self) -> Any:
        """What runs the case."""
        return self.theorem.construct(self.sizes, self.steps, self.theorem.accuracies[-1])

    def tasks(self, count: int, seed: int) -> Iterator[tuple[str, Any]]:
        """So many instances of one task with their families, evenly spaced in the theorem's list of them."""
        names, generator = list(self.theorem.families), torch.Generator().manual_seed(seed)
        for turn in range(count):
            family = names[turn * max(1, len(names) // count) % len(names)]
            yield family, self.theorem.families[family](self.sizes, 1, generator)


def cases(theorems: Mapping[str, Theorem[Any]]) -> list[Case]:
    """Every size of these theorems: its own for :data:`STEPS`, larger ones for one step."""
    return [
        Case(theorem, sizes, steps)
        for key, theorem in theorems.items()
        for steps, all_sizes in ((theorem.within(STEPS), theorem.sizes), (1, LARGER.get(key, ())))
        for sizes in all_sizes
    ]
