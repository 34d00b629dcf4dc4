"""Loss along the straight line between two networks' weights, before and after alignment.

    w(t) = (1 - t) a + t b,  t in [0, 1];   barrier = max_t loss(w(t)) / max(loss(a), loss(b))

Two networks of one orbit of the symmetries compute one function, yet the line between them usually climbs;
after alignment it must not.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.language.stream import Block
from constructions.language.transformer import Transformer
from training.comparison.symmetry.alignment import align_transformers
from training.comparison.symmetry.group import check_same_shape
from training.model.balance import balanced


@torch.no_grad()
def straight_line(a: Transformer, b: Transformer, t: float) -> Transformer:
    """The transformer with weights (1 - t) a + t b, in float64; t may lie outside [0, 1].

    Raises:
        ValueError: another shape.
    """
    check_same_shape(a, b)
    between = copy.deepcopy(a).double()
    for weight, other in zip(between.parameters(), b.parameters(), strict=True):
        weight.lerp_(other.double(), t)
    return between


def line_losses(
    a: Transformer, b: Transformer, loss: Callable[[Transformer], Tensor | float], places: Sequence[float]
) -> list[float]:
    """The loss at each t of `places`; NaN or infinite where the network's output is."""
    with torch.no_grad():
        return [float(loss(straight_line(a, b, t))) for t in places]


def barrier(losses: Sequence[float]) -> float:
    """max over the line / the larger end: 1 where the line never rises above its ends."""
    return max(losses) / max(losses[0], losses[-1])


@dataclass(frozen=True)
class Line:
    """Losses at the places t, before and after alignment, their barriers, and the distance after it."""

    t: list[float]
    before: list[float]
    after: list[float]
    barrier_before: float
    barrier_after: float
    distance: float


def compare_lines(
    constructed: Transformer,
    other: Transformer,
    slots: Sequence[Block],
    loss: Callable[[Transformer], Tensor | float],
    points: int,
) -> Line:
    """From the construction to `other`: the line between the balanced weights as they stand, and aligned."""
    places = torch.linspace(0, 1, points, dtype=torch.float64).tolist()
    found = align_transformers(constructed, other, slots)
    before = line_losses(balanced(constructed), balanced(other), loss, places)
    after = line_losses(found.reference, found.other, loss, places)
    return Line(places, before, after, barrier(before), barrier(after), found.distance)
