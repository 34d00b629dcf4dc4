"""In which order layers are applied: loops within loops, one set of weights a layer.

    layers, order = in_order(first, Repeat(16, (multiply, Repeat(8, (gram, correct)))), last)

A layer that stands at several places is stored once: its weights are shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from constructions.language.arguments import check_whole
from constructions.language.shown import short_repr

if TYPE_CHECKING:
    from constructions.language.assembly import Layer


@dataclass(frozen=True)
class Repeat:
    """Layers, or loops of layers, applied ``times`` times one after another.

    Raises:
        ValueError: ``times`` not a whole number from 1 on, or nothing to repeat.
    """

    times: int
    parts: tuple[Layer | Repeat, ...]

    __repr__ = short_repr

    def __post_init__(self) -> None:
        check_whole(times=self.times)
        if not self.parts:
            raise ValueError("nothing to repeat; a loop needs at least one layer")


@dataclass(frozen=True)
class Times:
    """The same with the numbers of layers, from 0 on."""

    times: int
    order: Order

    __repr__ = short_repr


Order = tuple[int | Times, ...]
"""Numbers of layers in the order in which they are applied, loops not written out."""


def in_order(*parts: Layer | Repeat) -> tuple[tuple[Layer, ...], Order]:
    """The layers, each once, and the order in which they are applied."""
    layers: list[Layer] = []

    def place(layer: Layer) -> int:
        for number, known in enumerate(layers):
            if known is layer:
                return number
        layers.append(layer)
        return len(layers) - 1

    def follow(parts: tuple[Layer | Repeat, ...]) -> Order:
        return tuple(
            Times(part.times, follow(part.parts)) if isinstance(part, Repeat) else place(part)
            for part in parts
        )

    order = follow(parts)
    return tuple(layers), order


def flat(order: Order) -> tuple[int, ...]:
    """The numbers with all loops written out."""
    numbers: list[int] = []
    for part in order:
        if isinstance(part, Times):
            numbers += flat(part.order) * part.times
        else:
            numbers.append(part)
    return tuple(numbers)


def outline(order: Order) -> str:
    """As in ``1, 16 x (2, 8 x (3, 4)), 5``: numbers from 1 on."""
    return ", ".join(
        f"{part.times} x ({outline(part.order)})" if isinstance(part, Times) else str(part + 1)
        for part in order
    )
