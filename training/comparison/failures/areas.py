"""How well the hardness of a task foretells failures, with a p that bears several hardnesses side by side."""

from __future__ import annotations

from typing import Any

import torch
from scipy import stats
from torch import Tensor

from training.comparison.common.regimes import SHUFFLED
from training.comparison.common.task_statistics import pooled_area

SCORES = ("closest", "least", "moment", "sample", "floor", "em")
AREA_DRAWS = 200
PERMUTATIONS = 1999


def areas(strata: list[dict[str, Any]], generator: torch.Generator) -> dict[str, Any]:
    """How well each score foretells failures: area under the curve within K, of several methods.

    0.5 says nothing, 1 says all. For the network with `area_p`. Control: the scores of the next task.
    """
    who = [name for name in strata[-1]["fails"] if name not in ("em random-points", "k-means")]
    found: dict[str, Any] = {}
    for score in SCORES:
        used = [s for s in strata if score in s["scores"]]
        if not used:
            continue
        found[score] = {}
        for name in who:
            mine = [s for s in used if name in s["fails"]]
            values = [s["scores"][score] for s in mine]
            fails = [s["fails"][name] for s in mine]
            turned = [v.roll(-1) for v in values]
            found[score][name] = {
                "area": pooled_area(values, fails, generator, AREA_DRAWS),
                SHUFFLED: pooled_area(turned, fails, generator, AREA_DRAWS),
            }
            if name == "network":
                found[score][name]["p"] = area_p(values, fails, generator)
                found[score][name]["p of control"] = area_p(turned, fails, generator)
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
