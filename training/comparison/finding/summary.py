"""Several seeds in one line: mean with 95 % interval, smallest and largest; who found the theorem."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from console.phrases import number
from training.comparison.finding.measure import CellResult

FOUND = 0.75
"""A network has found the theorem when it has this share of its blocks: 15 of 20."""


@dataclass(frozen=True)
class Spread:
    """Of several seeds; NaN where nothing is known, and no interval of a single one.

    value, low, high   mean and its 95 % interval (Student's t). least, most: of the seeds.
    """

    value: float
    low: float
    high: float
    least: float
    most: float

    def __str__(self) -> str:
        if not math.isfinite(self.value):
            return "-"
        if self.least == self.most:
            return number(self.value)
        ends = f"{number(self.low)} to {number(self.high)}"
        return f"{number(self.value)} ({ends}) [{number(self.least)}, {number(self.most)}]"


UNKNOWN = Spread(*[math.nan] * 5)


def by_number(values: Sequence[float]) -> Spread:
    """Of the values that are finite, as they are."""
    known = np.array([value for value in values if math.isfinite(value)])
    if not len(known):
        return UNKNOWN
    mean = float(known.mean())
    half = math.nan
    if len(known) > 1:
        half = float(stats.t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / math.sqrt(len(known)))
    return Spread(mean, mean - half, mean + half, float(known.min()), float(known.max()))


def by_ratio(values: Sequence[float]) -> Spread:
    """The same of their logarithms: the geometric mean; values that are not above 0 are left out."""
    logs = by_number([math.log(value) for value in values if math.isfinite(value) and value > 0])
    return Spread(*(math.exp(end) for end in (logs.value, logs.low, logs.high, logs.least, logs.most)))


def verdict(cell: CellResult) -> Literal["all", "some", "none"]:
    """Which networks of a cell have found the theorem."""
    found = [len(network.has) >= FOUND * len(cell.theorem) for network in cell.networks]
    return "all" if all(found) else "some" if any(found) else "none"
