"""A map of R^2, layer by target, over several splits of the tasks, with its shuffled control."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.language.shown import short_repr
from training.comparison.probes.ridge import Split, probe, shuffled, split_tasks
from training.comparison.probes.trend import interval, resampled_r2

DRAWS = 400
"""Bootstrap resamples of the tasks."""


@dataclass(frozen=True)
class Draw:
    """What one seed decides: which tasks are for the test, and how the control is shuffled."""

    split: Split
    shuffle: int

    __repr__ = short_repr


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

    __repr__ = short_repr

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

    All sums of a target that does not vary on some seed's test tasks are NaN there: its R^2 is 0/0.
    """
    found: list[list[Tensor]] = [[], [], [], []]
    for draw in seeds:
        control = shuffled(targets, torch.Generator().manual_seed(draw.shuffle))
        for place, wanted in ((0, targets), (2, control)):
            sums = [probe(state.double(), wanted, draw.split) for state in states]
            constant = ~varies(wanted, draw.split)
            for offset, part in enumerate(("error", "total")):
                layers = torch.stack([getattr(layer, part) for layer in sums], 1)
                found[place + offset].append(layers.masked_fill(constant, torch.nan))
    return ProbeMap(*(torch.stack(part) for part in found))


def varies(targets: Tensor, split: Split) -> Tensor:
    """(G,) whether a test row of the targets (B, P, G, W) is away from the average of the training rows.

    The average of n equal numbers is off by up to n u of their size: no more than that is no variation.
    """
    train, test = (targets[part].flatten(0, 1) for part in (split.train, split.test))
    bound = len(train) * torch.finfo(targets.dtype).eps * targets.abs().amax((0, 1))
    return ((test - train.mean(0)).abs() > bound).flatten(2).any(2).any(0)


@dataclass(frozen=True)
class Summary:
    """R^2 with its 95 % interval over tasks, and the control's, layer by target.

    seed_deviation  the largest deviation of an R^2 between seeds.
    """

    r2: list[list[float]]
    low: list[list[float]]
    high: list[list[float]]
    shuffled: list[list[float]]
    seed_deviation: float


def summary(found: ProbeMap, resampled: Tensor) -> Summary:
    """Of a map, with its resamples."""
    low, high = interval(resampled)
    deviation = found.by_seed.std(0)
    known = deviation[~deviation.isnan()]
    parts = (rounded(part) for part in (found.r2, low, high, found.control))
    return Summary(*parts, seed_deviation=float(known.max()) if len(known) else math.nan)


def rounded(values: Tensor) -> list[list[float]]:
    """Rows of five decimals: an R^2 is known to two or three."""
    return values.mul(1e5).round().div(1e5).tolist()
