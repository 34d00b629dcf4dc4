"""Parts of an MLP layer ``h <- h + relu(h W_1 + b_1) W_2 + b_2``, each a formula on named blocks.

``relu(a) - relu(-a) = a`` carries a value through the ReLU unchanged, in floating point too, so moving and
clearing are exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from constructions.language.curves import Array
from constructions.language.piecewise import PiecewiseLinear
from constructions.language.stream import Block

Columns = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Units:
    """Hidden units, each writing one column, and the constants they add.

    Attributes:
        reads, writes: (H,) column indices.
        gains: (H,) entry of W_1. biases: (H,) entry of b_1. weights: (H,) entry of W_2.
        offsets: column -> amount added to b_2.
        second_reads, second_gains: (H,) a second column that each unit reads, or empty.
    """

    reads: Columns
    writes: Columns
    gains: Array
    biases: Array
    weights: Array
    offsets: dict[int, float]
    second_reads: Columns = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    second_gains: Array = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True)
class Apply:
    """``write += scale * f(read)``, entry by entry; summed over the entries where ``write`` is a scalar.

    Use :func:`apply`.
    """

    function: PiecewiseLinear
    read: Block
    write: Block
    scale: float
    clears: tuple[Block, ...]

    @property
    def reads(self) -> tuple[Block, ...]:
        """Blocks read."""
        return (self.read,)

    @property
    def writes(self) -> tuple[Block, ...]:
        """Blocks written."""
        return (self.write,)

    @property
    def approximation_error(self) -> float:
        """Largest error of one entry written, in exact arithmetic."""
        summed = self.read.width // self.write.width
        return abs(self.scale) * summed * self.function.approximation_error

    def units(self) -> list[Units]:
        """The hidden units."""
        f = self.function
        width = self.read.width
        targets = list(self.write.columns) * (1 if self.write.width == width else width)
        offsets: dict[int, float] = {}
        for column in targets:
            offsets[column] = offsets.get(column, 0.0) + self.scale * f.offset
        hinge = Units(
            reads=np.repeat(np.array(self.read.columns), f.units),
            writes=np.repeat(np.array(targets), f.units),
            gains=np.tile(f.hinge_signs, width),
            biases=np.tile(-f.hinge_signs * f.hinge_knots, width),
            weights=np.tile(self.scale * f.hinge_weights, width),
            offsets=offsets,
        )
        return [hinge, *(_carry(block, block, -1.0) for block in self.clears)]

    def __str__(self) -> str:
        scale = "" if self.scale == 1 else f"{self.scale:g} "
        total = "sum " if self.write.width != self.read.width else ""
        return f"{scale}{total}{self.function}({self.read.name})"


@dataclass(frozen=True)
class Carry:
    """``write += scale * read`` exactly, then ``read`` set to 0 where it is in ``clears``.

    Use :func:`move` or :func:`clear`.
    """

    read: Block
    write: Block | None
    scale: float
    clears: tuple[Block, ...]

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
class Gated:
    """Entries read where an entry of ``by`` is 1, 0 where it is 0: :class:`Pick` and :class:`Place`."""

    read: Block
    by: Block
    write: Block
    bound: float

    @property
    def reads(self) -> tuple[Block, ...]:
        """Blocks read."""
        return (self.read, self.by)

    @property
    def writes(self) -> tuple[Block, ...]:
        """Blocks written."""
        return (self.write,)

    @property
    def clears(self) -> tuple[Block, ...]:
        """No block."""
        return ()

    @property
    def approximation_error(self) -> float:
        """0: exact within the bound."""
        return 0.0

    def _gates(self) -> tuple[Columns, Columns, Columns]:
        """Columns read, of their gates, and written: one each for every product."""
        raise NotImplementedError

    def units(self) -> list[Units]:
        """``relu(x + B e - B) - relu(-x + B e - B)``: x at e = 1, and 0 at e = 0."""
        reads, gates, writes = (np.repeat(columns, 2) for columns in self._gates())
        signs = np.tile([1.0, -1.0], len(reads) // 2)
        return [
            Units(
                reads=reads,
                writes=writes,
                gains=signs,
                biases=np.full(len(reads), -self.bound),
                weights=signs,
                offsets={},
                second_reads=gates,
                second_gains=np.full(len(reads), self.bound),
            )
        ]

    def _range(self) -> str:
        return f"for |{self.read.name}| <= {self.bound:g}"


@dataclass(frozen=True)
class Pick(Gated):
    """``write_n += sum_k by_(n, k) read_k`` for ``by`` in {0, 1}: the entries that ``by`` points at.

    Use :func:`pick`.
    """

    def _gates(self) -> tuple[Columns, Columns, Columns]:
        reads = np.tile(np.array(self.read.columns), self.write.width)
        return reads, np.array(self.by.columns), np.repeat(np.array(self.write.columns), self.read.width)

    def __str__(self) -> str:
        return f"<{self.by.name}, {self.read.name}> {self._range()}"


@dataclass(frozen=True)
class Place(Gated):
    """``write_(k, q) += by_k read_q`` for ``by`` in {0, 1}: the vector read, put where ``by`` points.

    Use :func:`place`.
    """

    def _gates(self) -> tuple[Columns, Columns, Columns]:
        reads = np.tile(np.array(self.read.columns), self.by.width)
        return reads, np.repeat(np.array(self.by.columns), self.read.width), np.array(self.write.columns)

    def __str__(self) -> str:
        return f"{self.by.name} (x) {self.read.name} {self._range()}"


MLPPart = Apply | Carry | Pick | Place


def apply(
    function: PiecewiseLinear, read: Block, write: Block, scale: float = 1.0, overwrite: bool = False
) -> Apply:
    """``write += scale * function(read)``, entry by entry.

    Where ``write`` has width 1 and ``read`` more, the results are summed. With ``overwrite`` the old value
    of ``write`` is subtracted in the same layer.

    Raises:
        ValueError: widths that are neither equal nor many to one, or a scale that is not finite.
    """
    if write.width not in (read.width, 1):
        raise ValueError(
            f"apply reads {read!r} and writes {write!r}; the widths must agree or the second be 1"
        )
    _check_scale(scale)
    return Apply(function, read, write, scale, (write,) if overwrite else ())


def move(read: Block, write: Block, scale: float = 1.0) -> Carry:
    """``write += scale * read; read = 0``, exactly.

    Raises:
        ValueError: blocks of different width, the same block twice, or a scale that is not finite.
    """
    if read.width != write.width or read == write:
        raise ValueError(f"move needs two blocks of one width, got {read!r} and {write!r}")
    _check_scale(scale)
    return Carry(read, write, scale, (read,))


def pick(read: Block, by: Block, write: Block, bound: float) -> Pick:
    """``write_n += sum_k by_(n, k) read_k`` for ``by`` in {0, 1} and ``|read_k| <= bound``, exactly.

    With ``write`` of width 1 it is the entry that ``by`` points at. It is a product of two parts of one
    token, which attention cannot form; outside the bound it is wrong.

    Raises:
        ValueError: ``by`` not as wide as the product of the widths of ``write`` and ``read``, or with columns
            of ``read``; a bound that is not positive and finite.
    """
    if by.width != write.width * read.width:
        raise ValueError(
            f"pick reads {read!r} by {by!r} and writes {write!r}; "
            f"the width of by must be {write.width} * {read.width} = {write.width * read.width}"
        )
    if set(read.columns) & set(by.columns):
        raise ValueError(f"pick reads {read!r} by {by!r}, which have columns in common; a unit reads two")
    if not 0 < bound < math.inf:
        raise ValueError(f"pick's bound is {bound}; it must be positive and finite")
    return Pick(read, by, write, bound)


def place(read: Block, by: Block, write: Block, bound: float) -> Place:
    """``write_(k, q) += by_k read_q`` for ``by`` in {0, 1}^n and ``|read_q| <= bound``, exactly.

    The outer product of two parts of one token, which attention cannot form. Outside the bound it is wrong;
    where ``by`` is 0 it writes 0 for every ``|read_q| <= bound``.

    Raises:
        ValueError: ``write`` not as wide as the product of the widths of ``by`` and ``read``; ``read`` and
            ``by`` with columns in common; a bound that is not positive and finite.
    """
    if write.width != by.width * read.width:
        raise ValueError(
            f"place reads {read!r} by {by!r} and writes {write!r}; "
            f"its width must be {by.width} * {read.width} = {by.width * read.width}"
        )
    if set(read.columns) & set(by.columns):
        raise ValueError(f"place reads {read!r} by {by!r}, which have columns in common; a unit reads two")
    if not 0 < bound < math.inf:
        raise ValueError(f"place's bound is {bound}; it must be positive and finite")
    return Place(read, by, write, bound)


def copy(read: Block, write: Block, scale: float = 1.0) -> Carry:
    """``write += scale * read``, exactly; ``read`` keeps its value.

    Raises:
        ValueError: blocks of different width, the same block twice, or a scale that is not finite.
    """
    if read.width != write.width or read == write:
        raise ValueError(f"copy needs two blocks of one width, got {read!r} and {write!r}")
    _check_scale(scale)
    return Carry(read, write, scale, ())


def clear(block: Block) -> Carry:
    """``block = 0``, exactly."""
    return Carry(block, None, 1.0, (block,))


def _check_scale(scale: float) -> None:
    if not math.isfinite(scale):
        raise ValueError(f"scale is {scale}; it must be finite")


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
