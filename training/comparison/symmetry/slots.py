"""The order of the component slots that brings one network nearest to another."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations, permutations
from typing import Protocol, TypeVar

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from constructions.language.stream import Block
from training.comparison.symmetry.invariants import LayerForms

MOST_EXHAUSTIVE = 5
"""So many slots have all their orders tried."""


class Matching(Protocol):
    """What is found for one order of the slots."""

    @property
    def cost(self) -> float:
        """Squared distance."""
        ...


Found = TypeVar("Found", bound=Matching)


def slot_orders(
    n_slots: int,
    matched: Callable[[tuple[int, ...], float], Found | None],
    mine: Sequence[LayerForms],
    theirs: Sequence[LayerForms],
    slot_blocks: Sequence[Block],
) -> tuple[Found, tuple[int, ...], bool]:
    """The best matching, its order, and whether every order was looked at.

    `matched(order, most)` is the best matching for one order, or None when it costs `most` or more.
    """
    start = _by_statistics(mine, theirs, slot_blocks, n_slots)
    best = matched(start, math.inf)
    if best is None:
        raise ValueError("the squared distance is not finite, needs smaller weights")
    if n_slots <= MOST_EXHAUSTIVE:
        for order in permutations(range(n_slots)):
            found = matched(order, best.cost) if order != start else None
            if found is not None:
                best, start = found, order
        return best, start, True
    identity = tuple(range(n_slots))
    if identity != start:
        first = _descended(identity, matched(identity, math.inf), matched)
        second = _descended(start, best, matched)
        best, start = min(first, second, key=lambda pair: pair[0].cost)
    else:
        best, start = _descended(start, best, matched)
    return best, start, False


def _descended(
    order: tuple[int, ...], best: Found | None, matched: Callable[[tuple[int, ...], float], Found | None]
) -> tuple[Found, tuple[int, ...]]:
    """Exchange two slots as long as that helps."""
    if best is None:
        raise ValueError("the squared distance is not finite, needs smaller weights")
    better = True
    while better:
        better = False
        for i, j in combinations(range(len(order)), 2):
            exchanged = list(order)
            exchanged[i], exchanged[j] = order[j], order[i]
            found = matched(tuple(exchanged), best.cost)
            if found is not None:
                best, order, better = found, tuple(exchanged), True
    return best, order


def _by_statistics(
    mine: Sequence[LayerForms], theirs: Sequence[LayerForms], slot_blocks: Sequence[Block], n_slots: int
) -> tuple[int, ...]:
    """Slots paired by numbers that neither the order of heads nor that of units changes."""
    if n_slots == 0:
        return ()
    cost = torch.cdist(_statistics(mine, slot_blocks), _statistics(theirs, slot_blocks))
    return tuple(int(place) for place in linear_sum_assignment(cost.numpy())[1])


def _statistics(layers: Sequence[LayerForms], slot_blocks: Sequence[Block]) -> Tensor:
    """(K0, n): of every slot, the sorted weights of the units at its coordinates, the sorted entries of the
    forms of the heads there, and its b_2."""
    columns = torch.tensor([list(block.columns) for block in slot_blocks])  # (blocks, K0)
    found = []
    for forms in layers:
        for weights in (forms.reads, forms.writes):
            found.append(weights[:, columns].sort(0).values.permute(2, 0, 1).flatten(1))
        for form in (forms.scores, forms.values):
            own = form[:, columns[:, None], columns[None, :]]  # (H, blocks, blocks, K0)
            found.append(own.sort(0).values.permute(3, 0, 1, 2).flatten(1))
        found.append(forms.bias[columns].T)
    return torch.cat(found, dim=1)
