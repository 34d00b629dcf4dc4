"""Which changes of the weights carry what training gained: blocks put in, taken out, and shared fairly.

gain         loss(construction) - loss(trained)
alone        the share of it when only this group of weights is the trained one
without      the share that is lost when this group is put back to the construction's
fair share   Shapley value: the mean over all orders of what a group adds to those before it; these sum to 1
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import factorial

from training.comparison.rule.groups import Forms, Group, mixed

Loss = Callable[[Sequence[Forms]], float]


@dataclass(frozen=True)
class GroupShare:
    """Of one group; change: norm of the difference of its weights over that of all."""

    name: str
    change: float
    alone: float
    without: float


@dataclass(frozen=True)
class FairShare:
    """Shapley value of one group, as a share of the gain."""

    name: str
    share: float


def group_shares(
    constructed: Sequence[Forms], trained: Sequence[Forms], groups: Sequence[Group], loss: Loss
) -> list[GroupShare]:
    """Every group alone, and everything without it."""
    before, after = loss(constructed), loss(trained)
    squared = [_squared_change(constructed, trained, group) for group in groups]
    return [
        GroupShare(
            name=group.name,
            change=(change / sum(squared)) ** 0.5,
            alone=(before - loss(mixed(constructed, trained, [group]))) / (before - after),
            without=(loss(mixed(trained, constructed, [group])) - after) / (before - after),
        )
        for group, change in zip(groups, squared, strict=True)
    ]


def fair_shares(
    constructed: Sequence[Forms], trained: Sequence[Forms], groups: Sequence[Group], loss: Loss
) -> list[FairShare]:
    """Shapley values of groups that have every weight between them, by all 2^n sets."""
    places = range(len(groups))
    sets = [frozenset(chosen) for size in range(len(groups) + 1) for chosen in combinations(places, size)]
    losses = {chosen: loss(mixed(constructed, trained, [groups[i] for i in chosen])) for chosen in sets}
    gain = losses[frozenset()] - losses[frozenset(places)]
    n, found = len(groups), []
    for place in places:
        value = 0.0
        for chosen in (one for one in sets if place not in one):
            orders = factorial(len(chosen)) * factorial(n - len(chosen) - 1) / factorial(n)
            value += orders * (losses[chosen] - losses[chosen | {place}])
        found.append(FairShare(groups[place].name, value / gain))
    return found


def _squared_change(constructed: Sequence[Forms], trained: Sequence[Forms], group: Group) -> float:
    triples = zip(group.masks, constructed, trained, strict=True)
    return sum(
        float((mask * (theirs - mine).square()).sum())
        for masks, ours, others in triples
        for mask, mine, theirs in zip(masks, ours, others, strict=True)
    )
