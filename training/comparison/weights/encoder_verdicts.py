"""Which heads have a score block of EM: cosine, size and strength against the thresholds and the control."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from training.comparison.weights.block_verdicts import HALF, NATS
from training.comparison.weights.encoders import BEYOND, BLOCKS

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


@dataclass(frozen=True)
class Verdicts:
    """Of one network; keys are labels of blocks.

    heads    (layer, head), from 1, that have it. n_heads: of the network.
    best     numbers of the head that is nearest to having it, with its layer and head, the standard deviation
             of its whole score over these keys, and the attention that goes to them (mass).
    verdict  "has", "weak" (less than half of EM's strength), "lacks"; "in addition" or "neither" for a
             block beyond the theorem.
    """

    heads: dict[str, list[tuple[int, int]]]
    best: dict[str, dict[str, float]]
    verdict: dict[str, str]
    n_heads: int
    names = NAMES
    least_cosine = HALF
    least_size = NATS
    least_coefficient = HALF
    least_mass = LEAST_MASS


def judge(blocks: dict[str, Any], name: str) -> Verdicts:
    """Of the network `name`.

    Every one, the controls too, must exceed blocks["floors"], the sizes with shuffled variables; the
    learned one also every head of the untrained one.
    """
    heads: dict[str, list[tuple[int, int]]] = {}
    best: dict[str, dict[str, float]] = {}
    verdict: dict[str, str] = {}
    for label in LABELS:
        rows = list(over_heads(blocks["networks"][name], label))
        floor = blocks["floors"][label]
        if name == "learned":
            others = over_heads(blocks["networks"]["untrained"], label)
            floor = max(floor, *(row["size"] for row in others))
        passed = [row for row in rows if _passes(row, floor)]
        heads[label] = [(int(row["layer"]), int(row["head"])) for row in passed]
        best[label] = max(passed or rows, key=_closeness)
        verdict[label] = _verdict(label, passed)
    return Verdicts(heads, best, verdict, len(list(over_heads(blocks["networks"][name], LABELS[0]))))


def over_heads(
    layers: list[dict[str, Any]], label: str, group: str | None = None
) -> Iterator[dict[str, float]]:
    """Numbers of a block in every head, with layer, head, the whole score's deviation and attention."""
    for place, layer in enumerate(layers, 1):
        for number, head in enumerate(layer["heads"], 1):
            more = {"score": head[label[0]], "mass": head["mass"][label[0]]}
            yield (head[group] if group else head)[label] | {"layer": place, "head": number} | more


def _passes(row: dict[str, float], floor: float) -> bool:
    """A block without size has no cosine (None)."""
    if row["cosine"] is None or row["cosine"] < HALF or row["size"] < NATS or row["mass"] < LEAST_MASS:
        return False
    return row["size"] - row["half_width"] > floor


def _closeness(row: dict[str, float]) -> float:
    return row["size"] * (row["cosine"] or 0.0)


def _verdict(label: str, passed: list[dict[str, float]]) -> str:
    if label in BEYOND_LABELS:
        return "in addition" if passed else "neither"
    if not passed:
        return "lacks"
    return "has" if any(row["coefficient"] >= HALF for row in passed) else "weak"
