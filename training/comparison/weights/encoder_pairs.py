"""Every score block of a head between two named variables, whether or not EM has it: sizes alone.

size (a, b) = std over keys j of (z_a(i) E_a)^T A (z_b(j) E_b), root mean square over queries i and tasks
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from training.comparison.weights.block_verdicts import NATS, SHARE
from training.comparison.weights.encoder_verdicts import LEAST_MASS, over_heads
from training.comparison.weights.encoders import THEOREM, Variables, root_mean

Encoders = Mapping[str, Tensor]

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


def moments(variables: Variables) -> Moments:
    """Of variables (T, n, w)."""
    centred = {name: z - z.mean(1, keepdim=True) for name, z in variables.items()}
    return Moments(
        {name: z.mT @ z / z.shape[1] for name, z in variables.items()},
        {name: z.mT @ z / z.shape[1] for name, z in centred.items()},
    )


def pair_sizes(
    encoders: tuple[Encoders, Encoders], found: tuple[Moments, Moments], form: Tensor
) -> dict[str, dict[str, float]]:
    """The size of every pair, and the half width of its 95 % interval over tasks.

    With B = E_a A E_b^T, a task has size^2 = tr(M_a B C_b B^T), M_a the second moments of the queries'
    variable and C_b the covariances of the keys'.

    Args:
        encoders, found: of points and of component tokens. form: A (D, D) of one head.

    Returns:
        "E x mu" (points attend to component tokens) or "M mu x" (the other way) -> the two numbers.
    """
    sizes = {}
    for step, query, key in (("E", 0, 1), ("M", 1, 0)):
        for a, left in encoders[query].items():
            for b, right in encoders[key].items():
                block = left @ form @ right.T
                products = found[query].squares[a] @ block @ found[key].covariances[b] * block
                size, half_width = root_mean(products.sum((1, 2)))
                sizes[f"{step} {a} {b}"] = {"size": size, "half_width": half_width}
    return sizes


def largest_beyond(blocks: dict[str, Any]) -> list[dict[str, Any]]:
    """Blocks that EM has not and the learned network has, the largest first; the largest head of each.

    In that head the lower end of the size's interval exceeds every head's size with shuffled variables and in
    the untrained network, the size is at least NATS and SHARE of the whole score's, and the keys get at least
    LEAST_MASS of the attention.
    """
    theorem = {" ".join(block) for block in THEOREM}
    found = []
    for label, shuffled in blocks["pair_floors"].items():
        if label in theorem or label == SAME_FOR_ALL:
            continue
        untrained = max(row["size"] for row in over_heads(blocks["networks"]["untrained"], label, "pairs"))
        rows = [
            row
            for row in over_heads(blocks["networks"]["learned"], label, "pairs")
            if row["size"] - row["half_width"] > max(shuffled, untrained)
            and row["size"] >= max(NATS, SHARE * row["score"])
            and row["mass"] >= LEAST_MASS
        ]
        if rows:
            best = max(rows, key=lambda row: row["size"])
            step, query, key = label.split()
            more = {"step": step, "query": SYMBOLS[query], "key": SYMBOLS[key], "heads": len(rows)}
            found.append(best | more | {"shuffled": shuffled, "untrained": untrained})
    return sorted(found, key=lambda row: -row["size"])
