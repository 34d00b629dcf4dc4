"""Every score block of a head between two named variables, whether or not EM has it: sizes alone.

size (a, b) = std over keys j of (z_a(i) E_a)^T A (z_b(j) E_b), root mean square over queries i and tasks
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from constructions.language.shown import short_repr
from training.comparison.weights.block_verdicts import NATS, SHARE
from training.comparison.weights.encoder_verdicts import LEAST_MASS, HeadRow, over_heads
from training.comparison.weights.encoders import (
    SIDES,
    THEOREM,
    Encoded,
    EncodedBlocks,
    Named,
    PairSize,
    Variables,
    root_mean,
)

SAME_FOR_ALL = "E one e"
"""A preference of points for token k: no task changes it, and no shuffling tells it from anything."""

SYMBOLS = {
    "one": "1",
    "x": "x",
    "half_square": "|x|\u00b2/2",
    "log_resp": "log r",
    "e": "e_k",
    "mu": "\u03bc_k",
    "half_norm2": "|\u03bc_k|\u00b2/2",
    "log_pi": "log \u03c0_k",
}


@dataclass(frozen=True, eq=False)
class Moments:
    """Of every variable, by its name: second moments over the tokens of a task, and covariances there.

    squares, covariances  (T, w, w).
    """

    squares: dict[str, Tensor]
    covariances: dict[str, Tensor]

    __repr__ = short_repr


def moments(named: Named) -> tuple[Moments, Moments]:
    """Of the variables of points, and of component tokens."""
    return _moments(named.points), _moments(named.tokens)


def _moments(variables: Variables) -> Moments:
    """Of variables (T, n, w)."""
    centred = {name: z - z.mean(1, keepdim=True) for name, z in variables.items()}
    return Moments(
        {name: z.mT @ z / z.shape[1] for name, z in variables.items()},
        {name: z.mT @ z / z.shape[1] for name, z in centred.items()},
    )


def pair_sizes(encoded: Encoded, found: tuple[Moments, Moments], form: Tensor) -> dict[str, PairSize]:
    """The size of every pair, and the half width of its 95 % interval over tasks.

    With B = E_a A E_b^T, a task has size^2 = tr(M_a B C_b B^T), M_a the second moments of the queries'
    variable and C_b the covariances of the keys'.

    Args:
        encoded: with its encoders. found: of its variables. form: A (D, D) of one head.

    Returns:
        "E x mu" (points attend to component tokens) or "M mu x" (the other way) -> the two numbers.
    """
    sizes = {}
    for step, (query, key) in SIDES.items():
        for a, left in encoded.encoders[query].items():
            for b, right in encoded.encoders[key].items():
                block = left @ form @ right.T
                products = found[query].squares[a] @ block @ found[key].covariances[b] * block
                sizes[f"{step} {a} {b}"] = PairSize(*root_mean(products.sum((1, 2))))
    return sizes


@dataclass(frozen=True)
class Beyond:
    """A block that EM has not, in the head where it is largest, and how many heads pass.

    shuffled, untrained  the largest size in each of the two controls.
    """

    step: str
    query: str
    key: str
    best: HeadRow[PairSize]
    heads: int
    shuffled: float
    untrained: float


def largest_beyond(blocks: EncodedBlocks) -> list[Beyond]:
    """Blocks that EM has not and the learned network has, the largest first; the largest head of each.

    In that head the lower end of the size's interval exceeds every head's size with shuffled variables and in
    the untrained network, the size is at least NATS and SHARE of the whole score's, and the keys get at least
    LEAST_MASS of the attention.
    """
    theorem = {" ".join(block) for block in THEOREM}
    found = []
    for label, shuffled in blocks.pair_floors.items():
        if label in theorem or label == SAME_FOR_ALL:
            continue

        def rows_of(name: str, label: str = label) -> Iterator[HeadRow[PairSize]]:
            return over_heads(blocks.networks[name], label, lambda head: head.pairs[label])

        untrained = max(row.sizes.size for row in rows_of("untrained"))
        rows = [
            row
            for row in rows_of("learned")
            if row.sizes.size - row.sizes.half_width > max(shuffled, untrained)
            and row.sizes.size >= max(NATS, SHARE * row.score)
            and row.mass >= LEAST_MASS
        ]
        if rows:
            best = max(rows, key=lambda row: row.sizes.size)
            step, query, key = label.split()
            found.append(Beyond(step, SYMBOLS[query], SYMBOLS[key], best, len(rows), shuffled, untrained))
    return sorted(found, key=lambda one: -one.best.sizes.size)
