"""Statistics over tasks: bootstrap and exact intervals, 2x2 tables, areas under the curve.

An interval is of 95 %, tasks drawn again with replacement unless it says otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from scipy.stats.contingency import odds_ratio
from torch import Tensor

from console.phrases import UNKNOWN, Interval

DRAWS = 1000
TAIL = 0.025
Z = 1.959963984540054


def resampled(n: int, generator: torch.Generator, draws: int = DRAWS) -> Tensor:
    """(draws, n) indices of tasks."""
    return torch.randint(n, (draws, n), generator=generator)


def mean_interval(values: Tensor, generator: torch.Generator) -> Interval:
    """Mean of (T,), NaN left out; NaN three times for none."""
    values = values[~values.isnan()]
    if len(values) == 0:
        return UNKNOWN
    return around(float(values.mean()), values[resampled(len(values), generator)].mean(1))


def median_interval(values: Tensor) -> Interval:
    """Median of (T,), the average of the middle two; NaN left out.

    Limits are the order statistics r and T + 1 - r, r the largest with P(Binomial(T, 1/2) < r) <= 2.5 %:
    they hold for every continuous law; for T < 6 there is no such r and the limits are NaN.
    """
    values = values[~values.isnan()].sort().values
    n = len(values)
    if n == 0:
        return UNKNOWN
    rank = int(stats.binom.ppf(TAIL, n, 0.5))  # the least k with P(<= k) >= 2.5 %, so P(< k) < 2.5 %
    limits = (float(values[rank - 1]), float(values[n - rank])) if rank >= 1 else (math.nan, math.nan)
    return Interval(float(values.quantile(0.5)), *limits)


def around(value: float, drawn: Tensor) -> Interval:
    """The value with the 2.5 and 97.5 % quantiles of what was drawn."""
    low, high = np.quantile(drawn.double().numpy(), [TAIL, 1 - TAIL])
    return Interval(value, float(low), float(high))


def share_interval(hits: int, n: int) -> Interval:
    """hits / n with Wilson's interval; NaN three times for n = 0. Source: Wilson 1927."""
    if n == 0:
        return UNKNOWN
    found = stats.binomtest(hits, n).proportion_ci(method="wilson")
    return Interval(hits / n, float(found.low), float(found.high))


@dataclass(frozen=True)
class FourFold:
    """How two failures meet: numbers of tasks."""

    both: int
    first_only: int
    second_only: int
    neither: int

    @property
    def counts(self) -> list[int]:
        """[both, first only, second only, neither]."""
        return [self.both, self.first_only, self.second_only, self.neither]

    @property
    def phi(self) -> float:
        """(a d - b c) / sqrt of the product of the margins, NaN where one is 0."""
        a, b, c, d = map(float, self.counts)
        margins = (a + b) * (c + d) * (a + c) * (b + d)
        return (a * d - b * c) / math.sqrt(margins) if margins else math.nan

    @property
    def fisher_p(self) -> float:
        """Two-sided, given the margins. Source: Fisher 1934."""
        return float(stats.fisher_exact(self._array).pvalue)  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def odds(self) -> Interval:
        """Conditional maximum-likelihood odds ratio with its exact interval; NaN where a margin is 0."""
        if math.isnan(self.phi):
            return UNKNOWN
        found = odds_ratio(self._array)
        limits = found.confidence_interval(0.95)
        return Interval(float(found.statistic), float(limits.low), float(limits.high))

    @property
    def _array(self) -> np.ndarray:
        return np.array([[self.both, self.first_only], [self.second_only, self.neither]])


def four_fold(first: Tensor, second: Tensor) -> FourFold:
    """Of two boolean tensors (T,)."""
    pairs = ((first & second), (first & ~second), (~first & second), (~first & ~second))
    return FourFold(*(int(cell.sum()) for cell in pairs))


def pooled_odds(tables: list[FourFold]) -> Interval:
    """Odds ratio common to several strata, sum(a d / n) / sum(b c / n), with the interval of its logarithm.

    NaN limits where a sum is 0. Source: Mantel and Haenszel 1959; Robins, Breslow and Greenland 1986.
    """
    strata = [list(map(float, table.counts)) for table in tables if sum(table.counts)]
    r = [a * d / (a + b + c + d) for a, b, c, d in strata]
    s = [b * c / (a + b + c + d) for a, b, c, d in strata]
    p = [(a + d) / (a + b + c + d) for a, b, c, d in strata]
    q = [1 - value for value in p]
    R, S = sum(r), sum(s)
    if R == 0 or S == 0:
        return UNKNOWN._replace(value=math.nan if R == S else (0.0 if R == 0 else math.inf))
    variance = sum(pi * ri for pi, ri in zip(p, r, strict=True)) / (2 * R * R)
    variance += sum(pi * si + qi * ri for pi, qi, ri, si in zip(p, q, r, s, strict=True)) / (2 * R * S)
    variance += sum(qi * si for qi, si in zip(q, s, strict=True)) / (2 * S * S)
    spread = Z * math.sqrt(variance)
    log = math.log(R / S)
    return Interval(R / S, math.exp(log - spread), math.exp(log + spread))


def permutation_p(
    first: list[Tensor], second: list[Tensor], generator: torch.Generator, draws: int = DRAWS
) -> float:
    """Two-sided p of `sum over strata of the tasks where both fail`, the second permuted within each stratum.

    (1 + number of draws at least as far from their average as the observed) / (1 + draws).
    """
    observed, drawn = 0.0, torch.zeros(draws, dtype=torch.float64)
    for one, other in zip(first, second, strict=True):
        observed += float((one & other).sum())
        orders = torch.rand(draws, len(other), generator=generator).argsort(1)
        drawn += (one & other[orders]).sum(1)
    centre = drawn.mean()
    slack = 1e-9  # sums of integers: only rounding of the average is between equals
    beyond = (drawn - centre).abs() >= (observed - centre).abs() - slack
    return (1 + int(beyond.sum())) / (1 + draws)


def area(scores: Tensor, failed: Tensor) -> float:
    """P(score of a failed task > score of another) + half of P(equal); NaN without both kinds. (T,) twice."""
    known = ~scores.isnan()
    scores, failed = scores[known], failed[known]
    n, m = int(failed.sum()), int((~failed).sum())
    if n == 0 or m == 0:
        return math.nan
    ranks = torch.from_numpy(stats.rankdata(scores.numpy()))
    return float((ranks[failed].sum() - n * (n + 1) / 2) / (n * m))


def pooled_area(
    scores: list[Tensor], failed: list[Tensor], generator: torch.Generator, draws: int = 300
) -> Interval:
    """`area` within strata, averaged with weights (failed x others), and its interval over tasks."""

    def pooled(parts: list[tuple[Tensor, Tensor]]) -> float:
        total = weight = 0.0
        for score, fails in parts:
            known = ~score.isnan()
            pairs = float((fails & known).sum()) * float((~fails & known).sum())
            if pairs:
                total, weight = total + pairs * area(score, fails), weight + pairs
        return total / weight if weight else math.nan

    parts = list(zip(scores, failed, strict=True))
    value = pooled(parts)
    if math.isnan(value):
        return UNKNOWN
    drawn = []
    for _ in range(draws):
        picks = [torch.randint(len(f), (len(f),), generator=generator) for _, f in parts]
        drawn.append(pooled([(s[i], f[i]) for (s, f), i in zip(parts, picks, strict=True)]))
    return around(value, torch.tensor([d for d in drawn if not math.isnan(d)] or [math.nan]))
