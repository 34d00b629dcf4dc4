"""Parts of an MLP that read behind gates: products of two parts of one token, of which one is 0 or 1.

Attention forms no product of two parts of one token; a gate ``relu(x + B e - B)`` forms x e for e in {0, 1}.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from constructions.language.curves import Array
from constructions.language.piecewise import PiecewiseLinear
from constructions.language.shown import short_repr
from constructions.language.stream import Block
from constructions.language.units import Columns, Units, check_scale


@dataclass(frozen=True)
class ByGates:
    """What is read, the gates, and what is written."""

    read: Block
    by: Block
    write: Block

    __repr__ = short_repr

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

    def _columns(self, m: int, q: int) -> tuple[Columns, Columns, Columns]:
        """Columns read, of gates, and written, for ``write_(n, q) += by_(n, m) read``, one each a product."""
        n = self.by.width // m
        gates = np.repeat(np.array(self.by.columns), q)
        writes = np.tile(np.array(self.write.columns).reshape(n, 1, q), (1, m, 1)).flatten()
        reads = np.array(self.read.columns)
        return np.tile(reads, len(gates) // len(reads)), gates, writes


@dataclass(frozen=True)
class ApplyWhere(ByGates):
    """``write_(n, q) += sum_m factor_m by_(n, m) f(read_q)`` for ``by`` in {0, 1}.

    Use :func:`apply_where`.
    """

    function: PiecewiseLinear
    factors: tuple[float, ...]

    __repr__ = short_repr

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
        reads, gates, writes = self._columns(m, w)
        factors = np.tile(np.repeat(np.array(self.factors), w), self.by.width // m)
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
class Gated(ByGates):
    """``write_(n, q) += sum_m by_(n, m) read_(m, q)`` for ``by`` in {0, 1} and ``|read| <= bound``, exactly.

    Entries are read where an entry of ``by`` is 1 and count as 0 where it is 0. Use :func:`pick`,
    :func:`place` or :func:`contract`.
    """

    bound: float

    __repr__ = short_repr

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
        _, m, w = self.sizes
        reads, gates, writes = (np.repeat(columns, 2) for columns in self._columns(m, w))
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
        check_scale(factor)
    return ApplyWhere(read, by, write, function, factors)


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
