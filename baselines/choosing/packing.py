"""Data sets of many lengths in few padded blocks, each prepared once for all candidates."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from baselines.em_pass import numbers_per_point
from baselines.estimator_sets import Array, stack, to_tensor
from baselines.points import Points, prepare
from baselines.shown import short_repr
from baselines.ward import ward_labels

NUMBERS_AT_ONCE = 2**20  # of a block, as in baselines.em


@dataclass(frozen=True, eq=False)
class Block:
    """Data sets `places`, padded to one length: their Points, and the groups of Ward's tree, K -> (G, N)."""

    places: list[int]
    points: Points
    labels: dict[int, Tensor]

    __repr__ = short_repr


def pack(sets: Sequence[Array], counts: Sequence[int]) -> list[Block]:
    """Blocks of the data sets (N_b, d), all of which have at least max(counts) points.

    Lengths in a block differ so little that padding at most doubles the work, and a block has at most
    NUMBERS_AT_ONCE numbers at the largest K, unless it is one data set, which is then worked on in chunks.
    """
    most = max(counts)
    per_point = numbers_per_point("full", sets[0].shape[1], most)
    at_once = max(1, NUMBERS_AT_ONCE // per_point)
    blocks = []
    for places in _alike([len(points) for points in sets], at_once):
        X, weight = stack(list(sets), places)
        chunk_size = at_once if X.shape[1] > at_once else None
        points = prepare(to_tensor(X), None if weight is None else to_tensor(weight), chunk_size)
        labels = np.zeros((len(counts), *X.shape[:2]), dtype=np.int64)
        for row, place in enumerate(places):
            labels[:, row, : len(sets[place])] = ward_labels(sets[place], counts)
        found = {K: torch.from_numpy(part) for K, part in zip(counts, labels, strict=True)}
        blocks.append(Block(places, points, found))
    return blocks


def _alike(lengths: Sequence[int], at_once: int) -> list[list[int]]:
    """Places in groups: ascending lengths, at most as much padding as there are points."""
    groups: list[list[int]] = []
    total = 0
    for place in sorted(range(len(lengths)), key=lambda place: lengths[place]):
        longest = lengths[place]
        size = len(groups[-1]) + 1 if groups else 1
        if groups and size * longest <= min(at_once, 2 * (total + longest)):
            groups[-1].append(place)
            total += longest
        else:
            groups.append([place])
            total = longest
    return groups
