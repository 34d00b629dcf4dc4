"""Parts of an MLP layer ``h <- h + relu(h W_1 + b_1) W_2 + b_2``, each a formula on named blocks.

``relu(a) - relu(-a) = a`` carries a value through the ReLU unchanged, in floating point too, so moving and
clearing are exact.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from constructions.language.gates import ApplyWhere, Gated
from constructions.language.piecewise import PiecewiseLinear
from constructions.language.shown import short_repr
from constructions.language.stream import Block
from constructions.language.units import Units, check_scale


@dataclass(frozen=True)
class Apply:
    """``write += scale * f(read - minus)``, entry by entry; sums of entries where ``write`` is narrower.

    ``read`` is repeated as often as it goes into ``minus``; without ``minus`` it is read itself. Use
    :func:`apply`.
    """

    function: PiecewiseLinear
    read: Block
    write: Block
    scale: float
    clears: tuple[Block, ...]
    minus: Block | None = None

    __repr__ = short_repr

    @property
    def reads(self) -> tuple[Block, ...]:
        """Blocks read."""
        return (self.read,) if self.minus is None else (self.read, self.minus)

    @property
    def writes(self) -> tuple[Block, ...]:
        """Blocks written."""
        return (self.write,)

    @property
    def entries(self) -> int:
        """How many values the function takes."""
        return self.read.width if self.minus is None else self.minus.width

    @property
    def summed(self) -> int:
        """How many of them, one after the other, each entry written adds up."""
        return self.entries // self.write.width

    @property
    def approximation_error(self) -> float:
        """Largest error of one entry written, in exact arithmetic."""
        return abs(self.scale) * self.summed * self.function.approximation_error

    def units(self) -> list[Units]:
        """The hidden units."""
        f, entries = self.function, self.entries
        targets = np.repeat(np.array(self.write.columns), self.summed)
        offsets: dict[int, float] = {}
        for column in targets.tolist():
            offsets[column] = offsets.get(column, 0.0) + self.scale * f.offset
        hinge = Units(
            reads=np.repeat(np.tile(np.array(self.read.columns), entries // self.read.width), f.units),
            writes=np.repeat(targets, f.units),
            gains=np.tile(f.hinge_signs, entries),
            biases=np.tile(-f.hinge_signs * f.hinge_knots, entries),
            weights=np.tile(self.scale * f.hinge_weights, entries),
            offsets=offsets,
        )
        if self.minus is not None:
            hinge = replace(
                hinge,
                second_reads=np.repeat(np.array(self.minus.columns), f.units),
                second_gains=-hinge.gains,
            )
        return [hinge, *(_carry(block, block, -1.0) for block in self.clears)]

    def __str__(self) -> str:
        scale = "" if self.scale == 1 else f"{self.scale:g} "
        total = "sum " if self.summed > 1 else ""
        argument = self.read.name if self.minus is None else f"{self.read.name} - {self.minus.name}"
        return f"{scale}{total}{self.function}({argument})"


@dataclass(frozen=True)
class Carry:
    """``write += scale * read`` exactly, then ``read`` set to 0 where it is in ``clears``.

    Use :func:`move` or :func:`clear`.
    """

    read: Block
    write: Block | None
    scale: float
    clears: tuple[Block, ...]

    __repr__ = short_repr

    @property
    def reads(self) -> tuple[Block, ...]:
        """Blocks whose value is used."""
        return () if self.write is None else (self.read,)

    @property
    def writes(self) -> tuple[Block, ...]:
        """Blocks written."""
        return () if self.write is None else (self.write,)

    @property
    def approximation_error(self) -> float:
        """0: carrying a value through the ReLU is exact."""
        return 0.0

    def units(self) -> list[Units]:
        """The hidden units."""
        carried = [] if self.write is None else [_carry(self.read, self.write, self.scale)]
        return carried + [_carry(block, block, -1.0) for block in self.clears]

    def __str__(self) -> str:
        scale = "" if self.scale == 1 else f"{self.scale:g} "
        return "0" if self.write is None else f"{scale}{self.read.name}"


@dataclass(frozen=True)
class PartSum:
    """Several parts that together write one block: what they add is summed, on purpose. Use :func:`summed`.

    Raises:
        ValueError: fewer than two parts, or parts that do not write one block.
    """

    parts: tuple[Apply | ApplyWhere | Carry | Gated, ...]

    __repr__ = short_repr

    def __post_init__(self) -> None:
        if len(self.parts) < 2 or len({part.writes for part in self.parts}) != 1 or not self.parts[0].writes:
            written = [block for part in self.parts for block in part.writes]
            raise ValueError(f"the parts of a sum, two or more, write one block; got {written}")

    @property
    def reads(self) -> tuple[Block, ...]:
        """Blocks read."""
        return tuple(dict.fromkeys(block for part in self.parts for block in part.reads))

    @property
    def writes(self) -> tuple[Block, ...]:
        """The block written."""
        return self.parts[0].writes

    @property
    def clears(self) -> tuple[Block, ...]:
        """Blocks emptied."""
        return tuple(block for part in self.parts for block in part.clears)

    @property
    def approximation_error(self) -> float:
        """The sum of theirs."""
        return sum(part.approximation_error for part in self.parts)

    def units(self) -> list[Units]:
        """The hidden units."""
        return [units for part in self.parts for units in part.units()]

    def __str__(self) -> str:
        return " + ".join(map(str, self.parts))


MLPPart = Apply | ApplyWhere | Carry | Gated | PartSum


def apply(
    function: PiecewiseLinear,
    read: Block,
    write: Block,
    scale: float = 1.0,
    overwrite: bool = False,
    minus: Block | None = None,
) -> Apply:
    """``write += scale * function(read)``, entry by entry, or of ``read - minus``.

    ``minus`` may be wider than ``read``, which is then repeated: ``read`` of width d against n rows of width
    d. Where ``write`` is narrower than what the function gives, entries one after the other are summed: all
    for a ``write`` of width 1. With ``overwrite`` the old value of ``write`` is subtracted in the same layer.

    Raises:
        ValueError: widths that do not divide one another, blocks that share columns, or a scale that is not
            finite.
    """
    entries = read.width if minus is None else minus.width
    if entries % read.width or entries % write.width:
        less = "" if minus is None else f" less {minus!r}"
        raise ValueError(
            f"apply reads {read!r}{less} and writes {write!r}; "
            f"the widths read and written must divide {entries}"
        )
    if minus is not None and set(read.columns) & set(minus.columns):
        raise ValueError(f"apply reads {read!r} less {minus!r}, which have columns in common")
    check_scale(scale)
    return Apply(function, read, write, scale, (write,) if overwrite else (), minus)


def summed(*parts: Apply | ApplyWhere | Carry | Gated) -> PartSum:
    """Parts that write one block, added up."""
    return PartSum(parts)


def move(read: Block, write: Block, scale: float = 1.0) -> Carry:
    """``write += scale * read; read = 0``, exactly.

    Raises:
        ValueError: blocks of different width, the same block twice, or a scale that is not finite.
    """
    if read.width != write.width or read == write:
        raise ValueError(f"move needs two blocks of one width, got {read!r} and {write!r}")
    check_scale(scale)
    return Carry(read, write, scale, (read,))


def copy(read: Block, write: Block, scale: float = 1.0) -> Carry:
    """``write += scale * read``, exactly; ``read`` keeps its value.

    Raises:
        ValueError: blocks of different width, the same block twice, or a scale that is not finite.
    """
    if read.width != write.width or read == write:
        raise ValueError(f"copy needs two blocks of one width, got {read!r} and {write!r}")
    check_scale(scale)
    return Carry(read, write, scale, ())


def clear(block: Block) -> Carry:
    """``block = 0``, exactly."""
    return Carry(block, None, 1.0, (block,))


def _carry(read: Block, write: Block, scale: float) -> Units:
    signs = np.tile([1.0, -1.0], read.width)
    return Units(
        reads=np.repeat(np.array(read.columns), 2),
        writes=np.repeat(np.array(write.columns), 2),
        gains=signs,
        biases=np.zeros(2 * read.width),
        weights=scale * signs,
        offsets={},
    )
