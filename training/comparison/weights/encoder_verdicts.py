"""Which heads have a score block of EM: cosine, size and strength against the thresholds and the control."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from training.comparison.weights.block_verdicts import HALF, NATS
from training.comparison.weights.encoders import (
    BEYOND,
    BLOCKS,
    EncodedBlocks,
    HeadBlocks,
    LayerBlocks,
    PairSize,
    Sizes,
)

NAMES = {
    "E one log_pi": "E step: log \u03c0_k",
    "E one half_norm2": "E step: -|\u03bc_k|\u00b2/2",
    "E x mu": "E step: \u27e8x_i, \u03bc_k\u27e9",
    "M e log_resp": "M step: log r_ik",
    "M mu x": "beyond the theorem, M: \u27e8\u03bc_k, x_i\u27e9",
}
LEAST_MASS = 0.05
"""A head that gives the keys in question less of its attention than this cannot do the step with them."""

LABELS = tuple(" ".join(block) for block in BLOCKS)
BEYOND_LABELS = tuple(" ".join(block) for block in BEYOND)


S = TypeVar("S", bound=PairSize)


@dataclass(frozen=True)
class HeadRow(Generic[S]):
    """A block in one head, counted from 1: its sizes, the whole score's deviation and the attention there."""

    sizes: S
    layer: int
    head: int
    score: float
    mass: float


@dataclass(frozen=True)
class Verdicts:
    """Of one network; keys are labels of blocks.

    heads    (layer, head), from 1, that have it. n_heads: of the network.
    best     the head that is nearest to having it.
    verdict  "has", "weak" (less than half of EM's strength), "lacks"; "in addition" or "neither" for a
             block beyond the theorem.
    """

    heads: dict[str, list[tuple[int, int]]]
    best: dict[str, HeadRow[Sizes]]
    verdict: dict[str, str]
    n_heads: int
    names = NAMES
    least_cosine = HALF
    least_size = NATS
    least_coefficient = HALF
    least_mass = LEAST_MASS


def judge(blocks: EncodedBlocks, name: str) -> Verdicts:
    """Of the network `name`.

    Every one, the controls too, must exceed the floors, the sizes with shuffled variables; the learned one
    also every head of the untrained one.
    """
    heads: dict[str, list[tuple[int, int]]] = {}
    best: dict[str, HeadRow[Sizes]] = {}
    verdict: dict[str, str] = {}
    for label in LABELS:

        def rows_of(name: str, label: str = label) -> list[HeadRow[Sizes]]:
            return list(over_heads(blocks.networks[name], label, lambda head: head.blocks[label]))

        rows, floor = rows_of(name), blocks.floors[label]
        if name == "learned":
            floor = max(floor, *(row.sizes.size for row in rows_of("untrained")))
        passed = [row for row in rows if _passes(row, floor)]
        heads[label] = [(row.layer, row.head) for row in passed]
        best[label] = max(passed or rows, key=_closeness)
        verdict[label] = _verdict(label, passed)
    return Verdicts(heads, best, verdict, sum(len(layer.heads) for layer in blocks.networks[name]))


def over_heads(layers: list[LayerBlocks], label: str, of: Callable[[HeadBlocks], S]) -> Iterator[HeadRow[S]]:
    """What `of` says of a block, in every head."""
    step = label[0]
    for place, layer in enumerate(layers, 1):
        for number, head in enumerate(layer.heads, 1):
            yield HeadRow(of(head), place, number, head.score(step), head.mass[step])


def _passes(row: HeadRow[Sizes], floor: float) -> bool:
    """A block without size has no cosine (NaN)."""
    sizes = row.sizes
    if not sizes.cosine >= HALF or sizes.size < NATS or row.mass < LEAST_MASS:
        return False
    return sizes.size - sizes.half_width > floor


def _closeness(row: HeadRow[Sizes]) -> float:
    return 0.0 if math.isnan(row.sizes.cosine) else row.sizes.size * row.sizes.cosine


def _verdict(label: str, passed: list[HeadRow[Sizes]]) -> str:
    if label in BEYOND_LABELS:
        return "in addition" if passed else "neither"
    if not passed:
        return "lacks"
    return "has" if any(row.sizes.coefficient >= HALF for row in passed) else "weak"
