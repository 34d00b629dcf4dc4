"""Which data sets of a `fit_many` are fitted together, and what one worker is given at a time.

Pieces depend on the data sets and the estimator alone, and so do the random numbers of each: whoever computes
them, and how many, the fits are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from baselines.data_sets import Alike, DataSets, received
from baselines.estimator_sets import Array, weighted
from baselines.shown import short_repr

NUMBERS_A_PIECE = 2**18
"""Coordinates of points, 2 MiB: 256 data sets of (128, 8). A larger data set is a piece by itself."""


@dataclass(frozen=True)
class Batch:
    """Data sets of one K that are fitted together: their places, numbers (data_sets.received) and weights."""

    places: Sequence[int]
    n_components: int
    sent: Any
    weights: list[Array] | None

    __repr__ = short_repr

    def read(self) -> tuple[Array, Array | None]:
        """X (G, N, d) in float64 and its weights (G, N), or None.

        They are copied to where torch puts its own: from other addresses sums may round otherwise.
        """
        X, padding = received(self.sent)
        weight = weighted(padding, self.weights, range(len(self.places)))
        return _in_torchs_memory(X), None if weight is None else _in_torchs_memory(weight)


@dataclass(frozen=True)
class Piece:
    """Batches that are fitted one after the other, with one generator of this seed."""

    batches: list[Batch]
    seed: int

    def __str__(self) -> str:
        places = [place for batch in self.batches for place in batch.places]
        return f"{len(places)} data sets from X[{min(places)}] to X[{max(places)}]"

    def generator(self) -> torch.Generator:
        """For all draws of the piece."""
        return torch.Generator().manual_seed(self.seed)


def pieces(
    sets: DataSets,
    counts: Sequence[int],
    weights: list[Array] | None,
    pads: bool,
    seed: int,
    by_name: bool,
) -> Iterator[Piece]:
    """All of the work, a piece at a time. The first has the seed itself, so what fits it needs no other."""
    for number, chosen in enumerate(cut(sets.lengths, counts, sets.n_features, pads)):
        batches = [
            Batch(
                places,
                counts[places[0]],
                sets.sent(places, by_name),
                None if weights is None else [weights[place] for place in places],
            )
            for places in chosen
        ]
        yield Piece(batches, seed if number == 0 else _seed(seed, number))


def cut(
    lengths: Sequence[int], counts: Sequence[int], n_features: int, pads: bool
) -> Iterator[list[Sequence[int]]]:
    """Places of the batches of every piece: groups in turn, each cut where a piece has NUMBERS_A_PIECE."""
    piece: list[Sequence[int]] = []
    room = NUMBERS_A_PIECE
    for group in groups(lengths, counts, pads):
        first = 0
        while first < len(group):
            stop = first
            while stop < len(group) and (size := lengths[group[stop]] * n_features) <= room:
                room -= size
                stop += 1
            if stop == first and not piece:  # too large for any piece
                stop, room = first + 1, 0
            if stop > first:
                piece.append(group[first:stop])
            first = stop
            if first < len(group):
                yield piece
                piece, room = [], NUMBERS_A_PIECE
    yield piece


def groups(lengths: Sequence[int], counts: Sequence[int], pads: bool) -> Iterator[Sequence[int]]:
    """Places of the data sets that can be fitted together: of one K and, unless they are padded, one N.

    Padded sets share N rounded up to three binary digits, so that padding adds less than a quarter.
    """
    if isinstance(lengths, Alike) and len(set(counts)) == 1:
        yield range(len(lengths))
        return
    together: dict[tuple[int, int], list[int]] = {}
    for place, (length, count) in enumerate(zip(lengths, counts, strict=True)):
        step = 2 ** max(0, length.bit_length() - 3) if pads else 1
        together.setdefault((count, -(-length // step) * step), []).append(place)
    for key in sorted(together):
        yield together[key]


def _seed(seed: int, number: int) -> int:
    """63 bits for a piece."""
    state = np.random.SeedSequence(seed, spawn_key=(number,)).generate_state(1, np.uint64)
    return int(state[0]) >> 1


def _in_torchs_memory(values: Any) -> Array:
    found = torch.empty(values.shape, dtype=torch.float64).numpy()
    found[...] = values
    return found
