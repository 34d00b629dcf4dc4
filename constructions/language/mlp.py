"""Parts of an MLP layer ``h <- h + relu(h W_1 + b_1) W_2 + b_2``, each a formula on named blocks.

``relu(a) - relu(-a) = a`` carries a value through the ReLU unchanged, in floating point too, so moving and
clearing are exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

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
class ApplyWhere:
    """``write_(n, q) += sum_m factor_m by_(n, m) f(read_q)`` for ``by`` in {0, 1}.

    Use :func:`apply_where`.
    """

    function: PiecewiseLinear
    read: Block
    by: Block
    write: Block
    factors: tuple[float, ...]

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
        """Largest error of one entry written where one entry of ``by`` is 1, in exact arithmetic."""
        return max(map(abs, self.factors)) * self.function.approximation_error

    @property
    def shut(self) -> Array:
        """(H,) B, which closes a hinge where ``by`` is 0: how far its knot and an argument may be apart.

        Of a hinge that opens to the left B = t, if arguments begin at 0, and so its bias is 0: the gate costs
        no rounding, however wide the range.
        """
        (low, high), f = self.function.inputs, self.function
        return np.maximum(np.where(f.hinge_signs < 0, f.hinge_knots - low, high - f.hinge_knots), 0.0)

    def units(self) -> list[Units]:
        """``c relu(s (x - t) + B e - B)`` for every hinge, and ``relu(e)`` times the value at the anchor."""
        f, m, w = self.function, len(self.factors), self.read.width
        gates = np.repeat(np.array(self.by.columns), w)
        n = self.by.width // m
        writes = np.tile(np.array(self.write.columns).reshape(n, 1, w), (1, m, 1)).flatten()
        reads = np.tile(np.array(self.read.columns), n * m)
        factors = np.tile(np.repeat(np.array(self.factors), w), n)
        entries = len(reads)
        hinge = Units(
            reads=np.repeat(reads, f.units),
            writes=np.repeat(writes, f.units),
            gains=np.tile(f.hinge_signs, entries),
            biases=np.tile(-f.hinge_signs * f.hinge_knots - self.shut, entries),
            weights=np.outer(factors, f.hinge_weights).flatten(),
            offsets={},
            second_reads=np.repeat(gates, f.units),
            second_gains=np.tile(self.shut, entries),
        )
        anchor = Units(
            reads=gates,
            writes=writes,
            gains=np.ones(entries),
            biases=np.zeros(entries),
            weights=factors * f.offset,
            offsets={},
        )
        return [hinge, anchor]

    def __str__(self) -> str:
        by = self.by.name if len(self.factors) == 1 else f"({self.by.name} . factors)"
        return f"{by} (x) {self.function}({self.read.name})"


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
    """``write_(n, q) += sum_m by_(n, m) read_(m, q)`` for ``by`` in {0, 1} and ``|read| <= bound``, exactly.

    Entries are read where an entry of ``by`` is 1 and count as 0 where it is 0. Use :func:`pick`,
    :func:`place` or :func:`contract`.
    """

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

    @property
    def sizes(self) -> tuple[int, int, int]:
        """How many n, m and q there are."""
        return _sizes(self.read.width, self.by.width, self.write.width)

    def units(self) -> list[Units]:
        """``relu(x + B e - B) - relu(-x + B e - B)``: x at e = 1, and 0 at e = 0."""
        n, m, w = self.sizes
        reads = np.tile(np.array(self.read.columns), n)
        gates = np.repeat(np.array(self.by.columns), w)
        writes = np.tile(np.array(self.write.columns).reshape(n, 1, w), (1, m, 1)).flatten()
        reads, gates, writes = (np.repeat(columns, 2) for columns in (reads, gates, writes))
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

    def __str__(self) -> str:
        _, m, w = self.sizes
        if w == 1:
            product = f"<{self.by.name}, {self.read.name}>"
        else:
            product = f"{self.by.name} {'(x) ' if m == 1 else ''}{self.read.name}"
        return f"{product} for |{self.read.name}| <= {self.bound:g}"


def _sizes(read: int, by: int, write: int) -> tuple[int, int, int]:
    """n, m, q of widths n m, m q and n q; not their sizes if these widths are none such."""
    return tuple(
        math.isqrt(max(first * second // third, 0))
        for first, second, third in ((by, write, read), (by, read, write), (read, write, by))
    )  # pyright: ignore[reportReturnType]


@dataclass(frozen=True)
class PartSum:
    """Several parts that together write one block: what they add is summed, on purpose. Use :func:`summed`.

    Raises:
        ValueError: fewer than two parts, or parts that do not write one block.
    """

    parts: tuple[Apply | ApplyWhere | Carry | Gated, ...]

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
    _check_scale(scale)
    return Apply(function, read, write, scale, (write,) if overwrite else (), minus)


def apply_where(
    function: PiecewiseLinear, read: Block, by: Block, write: Block, factors: tuple[float, ...] = (1.0,)
) -> ApplyWhere:
    """``write_(n, q) += sum_m factor_m by_(n, m) function(read_q)`` for ``by`` in {0, 1}.

    It holds while ``read_q`` lies in the function's ``inputs``.

    Raises:
        ValueError: ``by`` not a multiple of the number of factors wide, ``write`` not as wide as that
            multiple times ``read``; ``read`` and ``by`` with columns in common; a factor that is not finite.
    """
    if by.width % len(factors) or write.width != by.width // len(factors) * read.width:
        raise ValueError(
            f"apply_where reads {read!r} by {by!r} with {len(factors)} factors and writes {write!r}; "
            f"its width must be {by.width} / {len(factors)} * {read.width}"
        )
    _check_apart("apply_where", read, by)
    for factor in factors:
        _check_scale(factor)
    return ApplyWhere(function, read, by, write, factors)


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
    _check_scale(scale)
    return Carry(read, write, scale, (read,))


def pick(read: Block, by: Block, write: Block, bound: float) -> Gated:
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
    return _gated("pick", read, by, write, bound)


def place(read: Block, by: Block, write: Block, bound: float) -> Gated:
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
    return _gated("place", read, by, write, bound)


def contract(read: Block, by: Block, write: Block, bound: float) -> Gated:
    """``write_(n, q) += sum_m by_(n, m) read_(m, q)`` for ``by`` in {0, 1} and ``|read| <= bound``, exactly.

    Rows of a matrix within one token are picked: with n = 1 the row that ``by`` points at. The widths n m,
    m q and n q say what n, m and q are. :func:`pick` is q = 1, :func:`place` m = 1.

    Raises:
        ValueError: widths that are no such products; ``read`` and ``by`` with columns in common; a bound that
            is not positive and finite.
    """
    n, m, q = _sizes(read.width, by.width, write.width)
    if (n * m, m * q, n * q) != (by.width, read.width, write.width):
        raise ValueError(
            f"contract reads {read!r} by {by!r} and writes {write!r}; "
            "the widths must be m q, n m and n q for whole n, m, q"
        )
    return _gated("contract", read, by, write, bound)


def _gated(name: str, read: Block, by: Block, write: Block, bound: float) -> Gated:
    _check_apart(name, read, by)
    if not 0 < bound < math.inf:
        raise ValueError(f"{name}'s bound is {bound}; it must be positive and finite")
    return Gated(read, by, write, bound)


def _check_apart(name: str, read: Block, by: Block) -> None:
    if set(read.columns) & set(by.columns):
        raise ValueError(f"{name} reads {read!r} by {by!r}, which have columns in common; a unit reads two")


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
