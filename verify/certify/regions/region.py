"""``certify_region``: how far the construction is from EM, at most, for every task of a box."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from constructions.em.constructed import ConstructedEM
from constructions.language.arguments import check_whole
from verify.certify.regions.box import Box
from verify.certify.regions.intervals import Array, check_arithmetic, quietly
from verify.certify.regions.path import RegionPath, region_path


@dataclass(frozen=True, eq=False)
class RegionCertificate:
    """What is known of every task of a box.

    Attributes:
        verdict: "certified": after the last step no mean (Euclidean) and no weight of the construction, in
            real arithmetic, is farther from EM's than ``bound``, which is at most ``target``; "unknown": that
            was not shown within the budget.
        bound: B, the largest of the last row of ``mean`` and ``weight``; infinite where nothing is known. It
            holds whatever the verdict.
        target: the B that was asked for; None where the least one was.
        mean, weight: (L, K) bounds after each step.
        boxes: how many boxes were evaluated.
    """

    verdict: Literal["certified", "unknown"]
    bound: float
    target: float | None
    mean: Array
    weight: Array
    boxes: int


@quietly()
def certify_region(
    em: ConstructedEM, box: Box, steps: int, target: float | None = None, budget: int = 1
) -> RegionCertificate:
    """Bound ``steps`` constructed steps against EM for all tasks of ``box``.

    The box with the largest bound is cut in two, across the number that moves the state most, until the bound
    is at most ``target`` (without one, to make it smaller) or the budget is spent.

    Args:
        em: a construction of unit covariances. box: of points, weights and means. steps: L.
        target: the B that is asked for. budget: boxes to evaluate, at least 1.

    Raises:
        TypeError, ValueError: names what does not fit (see Box.check). ArithmeticModeError: see intervals.
    """
    check_whole(steps=steps, budget=budget)
    if target is not None and not target > 0:
        raise ValueError(f"target is {target}; a number above 0 is needed")
    checked = box.check(em)
    check_arithmetic()
    path = region_path(checked, box, steps)
    heap, count = [(-_largest(path), 0, box, path)], 1
    while count + 2 <= budget and -heap[0][0] > (0.0 if target is None else target):
        _, _, worst, found = heap[0]
        place = _across(worst, found)
        if place is None:
            break
        heapq.heappop(heap)
        for half in worst.halves(place):
            part = region_path(checked, half, steps)
            heapq.heappush(heap, (-_largest(part), count, half, part))
            count += 1
    mean, weight = (np.max([getattr(p, name) for *_, p in heap], axis=0) for name in ("mean", "weight"))
    bound = max(float(mean[-1].max()), float(weight[-1].max()))
    reached = bound < math.inf and (target is None or bound <= target)
    return RegionCertificate("certified" if reached else "unknown", bound, target, mean, weight, count)


def _largest(path: RegionPath) -> float:
    return max(float(path.mean[-1].max()), float(path.weight[-1].max()))


def _across(box: Box, path: RegionPath) -> int | None:
    """The number to cut: the one that moves the state most; where that is not known, the longest interval."""
    lengths = box.ranges()
    influence = np.where(lengths > 0, path.influence, 0.0)
    if not np.isfinite(influence).all() or not influence.any():
        influence = lengths
    place = int(influence.argmax())
    cut = box.halves(place)[0].ranges()[place]
    return place if 0 < cut < lengths[place] else None
