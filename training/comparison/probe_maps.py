"""A map of R^2, layer by target, over several splits of the tasks, with its shuffled control."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from training.comparison.probe_ridge import Split, probe, shuffled, split_tasks
from training.comparison.probe_trend import interval, resampled_r2

DRAWS = 400
"""Bootstrap resamples of the tasks."""


@dataclass(frozen=True)
class Draw:
    """What one seed decides: which tasks are for the test, and how the control is shuffled."""

    split: Split
    shuffle: int


def draws(n_tasks: int, seeds: int, generator: torch.Generator) -> list[Draw]:
    """One for each seed, from the generator."""
    return [
        Draw(split_tasks(n_tasks, generator), int(torch.randint(2**62, (), generator=generator)))
        for _ in range(seeds)
    ]


@dataclass(frozen=True, eq=False)
class ProbeMap:
    """Sums of squares by seed, task, layer and target: error and total (S, B, L + 1, G).

    control_error, control_total: of the probes on shuffled targets.
    """

    error: Tensor
    total: Tensor
    control_error: Tensor
    control_total: Tensor

    @property
    def r2(self) -> Tensor:
        """(L + 1, G), all seeds' test tasks together."""
        return 1 - self.error.sum((0, 1)) / self.total.sum((0, 1))

    @property
    def control(self) -> Tensor:
        """(L + 1, G): R^2 on shuffled targets; selectivity is r2 - control."""
        return 1 - self.control_error.sum((0, 1)) / self.control_total.sum((0, 1))

    @property
    def by_seed(self) -> Tensor:
        """(S, L + 1, G)."""
        return 1 - self.error.sum(1) / self.total.sum(1)

    def resampled(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, L + 1, G): tasks drawn with replacement, their seeds together; probes as they are."""
        return resampled_r2(self.error.sum(0), self.total.sum(0), count, generator)

    def __getitem__(self, columns: Sequence[int]) -> ProbeMap:
        """The map of some of the targets."""
        kept = list(columns)
        parts = (self.error, self.total, self.control_error, self.control_total)
        return ProbeMap(*(part[..., kept] for part in parts))


def probe_map(states: Tensor, targets: Tensor, seeds: Sequence[Draw]) -> ProbeMap:
    """Probe every layer's stream (L + 1, B, P, D) for targets (B, P, G, W); see probe_ridge.probe.

    Raises ValueError where a target does not vary on some seed's test tasks: its R^2 is 0/0.
    """
    found: list[list[Tensor]] = [[], [], [], []]
    for draw in seeds:
        control = shuffled(targets, torch.Generator().manual_seed(draw.shuffle))
        for place, wanted in ((0, targets), (2, control)):
            sums = [probe(state.double(), wanted, draw.split) for state in states]
            found[place].append(torch.stack([layer.error for layer in sums], 1))
            found[place + 1].append(torch.stack([layer.total for layer in sums], 1))
    whole = ProbeMap(*(torch.stack(part) for part in found))
    constant = (whole.total.sum(1) == 0).any(0).any(0)
    if bool(constant.any()):
        raise ValueError(f"target {int(constant.nonzero()[0])} does not vary over the test tasks")
    return whole


def summary(found: ProbeMap, resampled: Tensor) -> dict[str, Any]:
    """R^2 with its 95 % interval over tasks, the control's, and the largest deviation between seeds."""
    low, high = interval(resampled)
    return {
        "r2": rounded(found.r2),
        "low": rounded(low),
        "high": rounded(high),
        "shuffled": rounded(found.control),
        "seed_deviation": float(found.by_seed.std(0).max()),
    }


def rounded(values: Tensor) -> list:
    """Nested lists of five decimals: an R^2 is known to two or three."""
    return values.mul(1e5).round().div(1e5).tolist()
