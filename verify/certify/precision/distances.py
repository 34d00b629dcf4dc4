"""How far a run is from the algorithm, and from its own weights in real arithmetic: upper ends of balls.

    error      |run - algorithm| / scale       what stands after the last step, against the exact algorithm
    weights    |layers - algorithm| / scale    the same weights on the same tokens in real arithmetic
    rounding   |run - layers| / scale          what floating point adds;  error <= weights + rounding
    scale      the largest length of an item on the exact path, the start included; 1 if all are 0

Each is the largest over the items of all quantities. Lengths are Euclidean. Bits are doubled until every ball
is as narrow as a thousandth of its upper end, or of what no dtype tells from 0, the square of its roundoff.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from constructions.language.rounding import unit_roundoff
from verify.balls.arithmetic import ball_arithmetic
from verify.balls.array import Balls, balls, entries_of, shape_of
from verify.balls.flint import Undecided, arb, precision
from verify.balls.numbers import ONE, ZERO, ends
from verify.certify.network.interpreter import Interpreter
from verify.certify.precision.running import Read
from verify.engine.theorem import Theorem

BITS = (128, 256, 512)
"""Precisions tried, one after another."""

Held = Mapping[str, Tensor]
"""Quantities after the last step, (1, items, width) each."""


@dataclass(frozen=True)
class Off:
    """Of one run, upper ends.

    Attributes:
        error, weights, rounding: as above; the last two None where the layers are not evaluated in balls.
        quantity: whose error is the largest. bits: that decided.
    """

    error: float
    weights: float | None
    rounding: float | None
    quantity: str
    bits: int


@dataclass(frozen=True, eq=False)
class Truth:
    """In balls: what the algorithm gives, the layers in real arithmetic (None: not evaluated), the scales."""

    algorithm: Mapping[str, Balls]
    layers: Mapping[str, Balls] | None
    scale: Mapping[str, arb]


def off(
    theorem: Theorem[Any],
    weights: Any,
    network: Interpreter | None,
    read: Read,
    steps: int,
    runs: Mapping[str, Held],
) -> dict[str, Off] | None:
    """Each run of the task by its name; None where no number of bits decides what the algorithm gives."""
    found = None
    for bits in BITS:
        try:
            truth = _truth(theorem, weights, network, read, steps, bits)
        except Undecided:
            continue
        with ball_arithmetic(bits):
            tried = {name: _off(held, truth, bits) for name, held in runs.items()}
        if all(one is not None for one, _ in tried.values()):
            found = {name: one for name, (one, _) in tried.items() if one is not None}
        if found is not None and all(narrow for _, narrow in tried.values()):
            return found
    return found


def _truth(
    theorem: Theorem[Any], weights: Any, network: Interpreter | None, read: Read, steps: int, bits: int
) -> Truth:
    with ball_arithmetic(bits):
        path = theorem.exact(read.instance, steps)
        scale = {name: _scale(states) for name, states in path.items()}
        algorithm = {name: balls(states[:, -1]) for name, states in path.items()}
    layers = None if network is None else layers_in_balls(theorem, weights, network, read, bits)
    return Truth(algorithm, layers, scale)


def layers_in_balls(
    theorem: Theorem[Any], weights: Any, network: Interpreter, read: Read, bits: int
) -> dict[str, Balls]:
    """What the very weights and tokens give in real arithmetic, decoded."""
    real = read.mask[0].tolist()
    with precision(bits):
        rows = network.rows(read.tokens[0], read.mask[0])
        for after in network.passes(rows):
            rows = after
        left, width = iter(rows), read.tokens.shape[2]
        entries = [ball for one in real for ball in (next(left) if one else [ZERO] * width)]
        # Outside of ball_arithmetic: what a decoder reads of the task are whole numbers and masks.
        held = theorem.decode(weights, read.instance, Balls.of(entries, (1, len(real), width)))
        return {name: balls(x) for name, x in held.items()}


def _scale(path: Tensor) -> arb:
    found = ZERO
    for entry in entries_of(torch.linalg.vector_norm(balls(path), dim=-1)):
        found = found.max(entry) if entry.is_finite() else found
    return found if found > 0 else ONE


def _off(held: Held, truth: Truth, bits: int) -> tuple[Off | None, bool]:
    """None where the error has no finite upper end; whether every ball is narrow enough."""
    least = unit_roundoff(next(iter(held.values())).dtype) ** 2
    narrow = True
    error, weights, rounding, quantity = -1.0, 0.0, 0.0, ""
    for name, algorithm in truth.algorithm.items():
        run, scale = balls(held[name].double()), truth.scale[name]
        pairs = [(run, algorithm)]
        if truth.layers is not None:
            pairs += [(truth.layers[name], algorithm), (run, truth.layers[name])]
        largest = [_largest(one, other, scale) for one, other in pairs]
        narrow &= all(high - low <= max(high / 1000, least) for low, high in largest)
        if largest[0][1] > error:
            error, quantity = largest[0][1], name
        if truth.layers is not None:
            weights, rounding = max(weights, largest[1][1]), max(rounding, largest[2][1])
    if not error < torch.inf:
        return None, False
    known = truth.layers is not None and weights < torch.inf and rounding < torch.inf
    parts = (weights, rounding) if known else (None, None)
    return Off(error, *parts, quantity, bits), narrow


def _largest(one: Balls, other: Balls, scale: arb) -> tuple[float, float]:
    """Ends of the largest distance of an item, over the scale."""
    if shape_of(one) != shape_of(other):
        raise ValueError(f"states are {shape_of(one)} and {shape_of(other)}")
    found = [ends(x / scale) for x in entries_of(torch.linalg.vector_norm(one - other, dim=-1))]
    lows, highs = zip(*found, strict=True)
    return max(lows), max(highs)
