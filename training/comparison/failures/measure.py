"""Where a network fails, and whether that is where EM or the moment method fails.

A task is failed when its total error is above ten times that of EM from the truth on the same points. Tasks
of one K are a stratum: association is measured within strata, so that "more components, more failures" is not
one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from console.phrases import CountedInterval, Interval
from console.typed_json import Key
from constructions.language.shown import short_repr
from training.comparison.common.parts import AboutNetwork, Start, Subject
from training.comparison.common.random_paths import Purpose, TaskSet
from training.comparison.common.regimes import BAD, SHUFFLED, Regime, component_regimes, regime_tasks
from training.comparison.common.task_statistics import (
    FourFold,
    four_fold,
    mean_interval,
    permutation_p,
    pooled_odds,
    share_interval,
)
from training.comparison.failures.areas import Area, areas
from training.comparison.failures.kinds import KINDS
from training.comparison.failures.strata import CONTROL_TASKS, RESTARTS, Stratum, stratum

MORE_TASKS = 3
"""Failures are rare: so many times the tasks of a regime."""
BINS = 4


@dataclass(frozen=True)
class StratumResult:
    """Of one K: the share of the tasks that each method fails. beyond: K > d."""

    title: str
    K: int
    beyond: bool
    spectral_refusal: str
    tasks: int
    shares: dict[str, Interval]

    __repr__ = short_repr


@dataclass(frozen=True)
class TwoByTwo:
    """A 2x2 table; counts as FourFold has them."""

    counts: list[int]
    phi: float
    odds: Interval


@dataclass(frozen=True)
class PairTable(TwoByTwo):
    """That of one K, with Fisher's p. shuffled: the control, of the network's failures on the next task."""

    K: int
    p: float
    shuffled: Annotated[TwoByTwo, Key(SHUFFLED)]


@dataclass(frozen=True)
class Together:
    """The odds ratio of failing together, common to all K, and its permutation p."""

    odds: Interval
    p: float


@dataclass(frozen=True)
class Pair(Together):
    """Of two methods, with the tables of each K. shuffled: of the failures on the next task."""

    tables: list[PairTable]
    shuffled: Annotated[Together, Key(SHUFFLED)]


@dataclass(frozen=True)
class Bins:
    """Share of failures of each method in BINS groups of tasks, at these means of a score."""

    centres: list[float]
    shares: dict[str, list[Interval]]


@dataclass(frozen=True)
class Kinds:
    """Failures of each method by kind, and the share of them that EM solves from there."""

    counts: dict[str, dict[str, int]]
    repaired: dict[str, CountedInterval]


@dataclass(frozen=True)
class FailuresResult(AboutNetwork):
    """Of all K; bad is BAD. Keys of pairs are methods, of areas and bins scores."""

    bad: float
    restarts: int
    control_tasks: int
    strata: list[StratumResult]
    pairs: dict[str, Pair]
    areas: dict[str, dict[str, Area]]
    bins: dict[str, Bins]
    kinds: Kinds

    __repr__ = short_repr


def compute(subject: Subject, start: Start) -> FailuresResult:
    """Strata, tables, areas and kinds."""
    strata = []
    for regime in regimes_of(subject):
        start(f"{regime.title}: failures")
        tasks = regime_tasks(subject, regime, MORE_TASKS * subject.effort.tasks, TaskSet.FAILURES)
        strata.append(stratum(tasks))
    generator = subject.generator(Purpose.FAILURES_RESAMPLED)
    start("failures against each other")
    return FailuresResult(  # in this order: pairs, areas and bins draw from the one generator
        **vars(subject.about),
        bad=BAD,
        restarts=RESTARTS,
        control_tasks=CONTROL_TASKS,
        strata=[_described(one) for one in strata],
        pairs=pairs(strata, generator),
        areas=areas(strata, generator),
        bins=bins(strata, generator),
        kinds=_kind_table(strata),
    )


def regimes_of(subject: Subject) -> list[Regime]:
    """The component regimes; with --quick the largest K alone, where failures are most frequent."""
    regimes = component_regimes(subject)
    return regimes[-1:] if subject.effort.quick else regimes


def pairs(strata: list[Stratum], generator: torch.Generator) -> dict[str, Pair]:
    """Does the network fail where another fails? 2x2 tables by K, odds ratio common to all K, permutation p.

    Controls: the network's failures on the next task, and two unrelated runs of EM from random starts, which
    shows how large the association of two methods is that share nothing but the tasks.
    """
    names = [name for name in strata[-1].fails if name != "network"]
    found = {}
    for name in names:
        used = [one for one in strata if name in one.fails]
        found[name] = _pair([(s.fails["network"], s.fails[name]) for s in used], used, generator)
    both = [(s.fails["em normal"], s.fails["em random-points"]) for s in strata]
    found["reference"] = _pair(both, strata, generator)
    return found


def _pair(columns: list[tuple[Tensor, Tensor]], strata: list[Stratum], generator: torch.Generator) -> Pair:
    turned = [(one.roll(-1), other) for one, other in columns]
    tables = [(four_fold(*one), four_fold(*other)) for one, other in zip(columns, turned, strict=True)]
    own, control = (
        Together(
            pooled_odds([table[place] for table in tables]),
            permutation_p([a for a, _ in pairs], [b for _, b in pairs], generator),
        )
        for place, pairs in enumerate((columns, turned))
    )
    rows = [
        PairTable(*_numbers(table), s.tasks.regime.n_components, table.fisher_p, TwoByTwo(*_numbers(other)))
        for s, (table, other) in zip(strata, tables, strict=True)
    ]
    return Pair(**vars(own), tables=rows, shuffled=control)


def _numbers(table: FourFold) -> tuple[list[int], float, Interval]:
    return table.counts, table.phi, table.odds


def bins(strata: list[Stratum], generator: torch.Generator) -> dict[str, Bins]:
    """Share of failures against three scores, tasks of all K in BINS groups of equal size within each K."""
    found = {}
    for score, sign in (("closest", -1.0), ("least", -1.0), ("floor", 1.0)):
        members = [_binned(s.scores[score]) for s in strata]
        values = torch.cat([sign * s.scores[score] for s in strata])
        groups = torch.cat(members)
        centres = [mean_interval(values[groups == k], generator).value for k in range(BINS)]
        columns = {
            name: [(s.fails[name], m) for s, m in zip(strata, members, strict=True) if name in s.fails]
            for name in strata[-1].fails
        }
        pairs = list(zip(strata, members, strict=True))
        columns["untrained"] = [(s.untrained, m[: len(s.untrained)]) for s, m in pairs]
        columns[SHUFFLED] = [(s.fails["network"].roll(-1), m) for s, m in pairs]
        shares = {name: [_share(parts, k) for k in range(BINS)] for name, parts in columns.items()}
        found[score] = Bins(centres, shares)
    return found


def _share(parts: list[tuple[Tensor, Tensor]], group: int) -> Interval:
    """Of failures (T,) of each stratum, with the groups (T,) of its tasks."""
    hits = torch.cat([fails[groups == group] for fails, groups in parts])
    return share_interval(int(hits.sum()), len(hits))


def _binned(values: Tensor) -> Tensor:
    """(T,) which of BINS equal groups, 0 for the hardest (the largest score)."""
    ranks = values.argsort(descending=True).argsort()
    return ranks * BINS // len(values)


def _kind_table(strata: list[Stratum]) -> Kinds:
    """Failures of each kind over all K, and how many EM repairs."""
    names = list(dict.fromkeys(name for s in strata for name in s.kinds))
    counts = {
        name: {
            kind: sum(int((s.kinds[name] == i).sum()) for s in strata if name in s.kinds)
            for i, kind in enumerate(KINDS)
        }
        for name in names
    }
    repaired = {
        name: [sum(s.repaired[name][i] for s in strata) for i in (0, 1)] for name in strata[0].repaired
    }
    shares = {name: CountedInterval(*share_interval(*pair), pair[1]) for name, pair in repaired.items()}
    return Kinds(counts, shares)


def _described(one: Stratum) -> StratumResult:
    shares = {name: share_interval(int(f.sum()), len(f)) for name, f in one.fails.items()}
    shares["untrained"] = share_interval(int(one.untrained.sum()), len(one.untrained))
    regime = one.tasks.regime
    return StratumResult(
        title=regime.title,
        K=regime.n_components,
        beyond=regime.n_components > regime.n_features,
        spectral_refusal=regime.spectral_refusal,
        tasks=one.tasks.n_tasks,
        shares=shares,
    )
