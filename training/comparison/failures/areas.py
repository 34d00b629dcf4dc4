"""How well the hardness of a task foretells failures, with a p that bears several hardnesses side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from scipy import stats
from torch import Tensor

from console.phrases import Interval
from console.typed_json import Absent, Key
from training.comparison.common.regimes import SHUFFLED
from training.comparison.common.task_statistics import pooled_area
from training.comparison.failures.strata import Stratum

SCORES = ("closest", "least", "moment", "sample", "floor", "em")
AREA_DRAWS = 200
PERMUTATIONS = 1999


@dataclass(frozen=True)
class Area:
    """How well a score foretells a method's failures: area under the curve within K.

    shuffled          the same of the scores of the next task, the control.
    p, p_of_control   of the network alone, see :func:`area_p`.
    """

    area: Interval
    shuffled: Annotated[Interval, Key(SHUFFLED)]
    p: Annotated[float | None, Absent()] = None
    p_of_control: Annotated[float | None, Absent(), Key("p of control")] = None

    @property
    def network_p(self) -> float:
        """p, NaN for another method."""
        return math.nan if self.p is None else self.p


def areas(strata: list[Stratum], generator: torch.Generator) -> dict[str, dict[str, Area]]:
    """Of every score and method; 0.5 says nothing, 1 says all."""
    who = [name for name in strata[-1].fails if name not in ("em random-points", "k-means")]
    found: dict[str, dict[str, Area]] = {}
    for score in SCORES:
        used = [s for s in strata if score in s.scores]
        if not used:
            continue
        found[score] = {}
        for name in who:
            mine = [s for s in used if name in s.fails]
            values = [s.scores[score] for s in mine]
            fails = [s.fails[name] for s in mine]
            turned = [v.roll(-1) for v in values]
            own, control = (pooled_area(v, fails, generator, AREA_DRAWS) for v in (values, turned))
            tested = (values, turned) if name == "network" else ()
            found[score][name] = Area(own, control, *(area_p(v, fails, generator) for v in tested))
    return found


def area_p(
    scores: list[Tensor], failed: list[Tensor], generator: torch.Generator, draws: int = PERMUTATIONS
) -> float:
    """Two-sided p of the area within strata, the failures permuted within each; 1 where there is no area.

    The pooled area is a constant plus the sum over strata of the failed tasks' ranks, over the number of
    pairs. p = (1 + number of draws at least as far from the expectation as the observed) / (1 + draws).
    """
    observed, drawn = 0.0, torch.zeros(draws, dtype=torch.float64)
    for score, fails in zip(scores, failed, strict=True):
        ranks = torch.from_numpy(stats.rankdata(score.numpy()))
        ranks -= ranks.mean()  # so that the expectation is 0
        n = int(fails.sum())
        observed += float(ranks[fails].sum())
        chosen = torch.rand(draws, len(ranks), generator=generator).topk(n, dim=1).indices
        drawn += ranks[chosen].sum(1)
    slack = 1e-9 * sum(len(fails) ** 2 for fails in failed)  # sums of half integers: only rounding is between
    return (1 + int((drawn.abs() >= abs(observed) - slack).sum())) / (1 + draws)
