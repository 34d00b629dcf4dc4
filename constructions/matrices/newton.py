"""1/p and 1/sqrt(p) of positive scalars, to the last digits: chords, then Newton steps of one layer each.

Many scalars are one diagonal matrix: token k holds the row ``a_k e_k``. One layer reads a_k as a column, by
attention where a block ``member`` is 1 at these tokens (else the MLP picks it by the one-hot ``ids``, one
layer more), and takes chords of the curve, with a relative error ``e_0 < 1``; one puts them on the diagonal;

    y <- y (2 - a y)            e -> e^2                       layer of constructions.matrices.inverse
    y <- y (3 - a y^2) / 2      |e| -> (3/2) e^2 + |e|^3 / 2   layer of constructions.matrices.inverse_sqrt

are the steps of the matrix iterations: products are exact, so the error of the chords disappears. The chords
lie above the curve by at most ``e_c``; scaled by ``2 / (2 + e_c)`` they err by ``e_c / (2 + e_c)`` to both
sides. On a piece from x to q x

    1/x:         e_c = (q - 1)^2 / (4 q)
    1/sqrt(x):   e_c = 2 ((1 + s + s^2) / 3)^(3/2) / (s + s^2) - 1,   s = sqrt(q)

Two layers start (three for the root, which also gives sqrt(a)); a token whose ids are 0 writes 0. Bounds:
constructions/matrices/newton_error.py.

Source: ours; paper_notes/matrix_machine.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from constructions.language import curves
from constructions.language.arguments import check_whole
from constructions.language.assembly import Construction, Layer
from constructions.language.gates import place
from constructions.language.heads import HeadSum
from constructions.language.hypotheses import HypothesisError
from constructions.language.mlp import apply, clear
from constructions.language.piecewise import PiecewiseLinear, chords, geometric
from constructions.language.program import Repeat, in_order
from constructions.language.shown import short_repr
from constructions.language.stream import Block, Stream
from constructions.matrices.inverse import newton_layer
from constructions.matrices.inverse_sqrt import RootBlocks, newton_schulz_layer
from constructions.matrices.machine import Matrices, MatrixAlgorithm, above, check_range
from constructions.matrices.newton_error import ScalarError, chord_excess, reciprocal_error, root_error
from constructions.matrices.products import times
from constructions.matrices.traces import as_column, diagonal

Power = Literal["1/x", "1/sqrt"]

SOURCE = "Newton's iteration from chords; one ReLU layer a step, paper_notes/matrix_machine.md"


@dataclass(frozen=True, eq=False)
class Start:
    """A first value of 1/x or 1/sqrt(x) for x in ``[low, high]``.

    Attributes:
        function: chords on geometric knots. scale: what they are multiplied by.
    """

    function: PiecewiseLinear
    scale: float

    __repr__ = short_repr

    @property
    def low(self) -> float:
        """Least argument."""
        return self.function.domain[0]

    @property
    def high(self) -> float:
        """Largest argument."""
        return self.function.domain[1]

    @property
    def bound(self) -> float:
        """A power of two above every value, also one that rounding enlarges by a sixteenth."""
        return above(1.0625 * float(self.function.values[0]))

    @property
    def error(self) -> float:
        """``e_0 = e_c / (2 + e_c)``: the largest relative error, in exact arithmetic."""
        excess = chord_excess(self.function)
        return excess / (2 + excess)


def start_of(power: Power, low: float, high: float, pieces: int) -> Start:
    """Chords on ``pieces`` geometric pieces, scaled to err equally to both sides.

    Raises:
        ValueError: no such power, no range, or pieces not a whole number from 1 on.
    """
    if power not in ("1/x", "1/sqrt"):
        raise ValueError(f"power is {power!r}; it is 1/x or 1/sqrt")
    check_range(low, high)
    high = high if high > low else 2 * low  # knots must increase
    curve = curves.reciprocal if power == "1/x" else curves.inverse_sqrt
    function = chords(curve, geometric(low, high, pieces), inputs=(0.0, 2 * high))
    return Start(function, 2 / (2 + chord_excess(function)))


@dataclass(frozen=True)
class ScalarBlocks:
    """The blocks that a start takes.

    Attributes:
        ids: one-hot, or 0 at tokens that shall write 0. A: diagonal, as wide.
        entry, value: of width 1, empty before and after.
        member: 1 at the tokens with ids, else 0; None where there is no such block.
    """

    ids: Block
    A: Block
    entry: Block
    value: Block
    member: Block | None = None

    __repr__ = short_repr


def start_layers(start: Start, b: ScalarBlocks, X: Block) -> list[Layer]:
    """X = the start for the diagonal of A, a row ``f(a_k) e_k`` a token.

    Two layers where there is a member block, and a_k is then read exactly; otherwise three, MLPs alone, and
    it is read up to the rounding of a pick.
    """
    if b.member is None:
        read = Layer("entry", mlp=(diagonal(b.A, b.ids, b.entry, above(start.high)),))
        return [read, chord_layer(start, b.entry, b.value), put_layer(start, b.ids, X, b.value)]
    read = as_column(b.ids, b.A, b.member, b.entry)
    return [chord_layer(start, b.entry, b.value, read), put_layer(start, b.ids, X, b.value)]


def chord_layer(start: Start, entry: Block, value: Block, *heads: HeadSum) -> Layer:
    """``value = f(entry)``, and entry is cleared; ``heads`` may write the entry."""
    return Layer("chords", heads, (apply(start.function, entry, value, start.scale), clear(entry)))


def put_layer(start: Start, by: Block, X: Block, value: Block) -> Layer:
    """X = value in the column that ``by`` points at, 0 where it is 0; value is cleared."""
    return Layer("put", mlp=(place(value, by=by, write=X, bound=start.bound), clear(value)))


def reciprocal_steps(
    start: Start, b: ScalarBlocks, X: Block, spare: Block, steps: int
) -> list[Layer | Repeat]:
    """X = 1/a_k on the diagonal: 2 + steps layers (3 without a member block), as few weights for any steps.

    Args:
        start: of 1/x. X, spare: as wide as ids, empty before; spare after too.

    Raises:
        ValueError: steps not a whole number from 1 on.
    """
    check_whole(steps=steps)
    return [*start_layers(start, b, X), Repeat(steps, (newton_layer(b.ids, b.A, X, spare),))]


def root_steps(start: Start, b: ScalarBlocks, roots: RootBlocks, steps: int) -> list[Layer | Repeat]:
    """Z = 1/sqrt(a_k) and Y = sqrt(a_k) on the diagonal: 3 + steps layers (4 without a member block).

    Args:
        start: of 1/sqrt. roots: with the same ids and A; the others are empty before.

    Raises:
        ValueError: steps not a whole number from 1 on.
    """
    check_whole(steps=steps)
    paired = Layer("pair", (times(roots.A, roots.ids, roots.Z, roots.Y),))  # Y = A Z
    return [*start_layers(start, b, roots.Z), paired, Repeat(steps, (newton_schulz_layer(roots),))]


@dataclass(frozen=True, eq=False)
class Scalars(MatrixAlgorithm):
    """The weights, made by :func:`reciprocal_construction` or :func:`scalar_root_construction`.

    Attributes:
        power: 1/x or 1/sqrt. start: the chords. newton_steps: t.
    """

    power: Power
    start: Start
    newton_steps: int

    __repr__ = short_repr

    def error(self, dtype: torch.dtype | None = None) -> ScalarError:
        """Bound on the relative error of every scalar; with no dtype in exact arithmetic."""
        bound = reciprocal_error if self.power == "1/x" else root_error
        start = self.start
        return bound(start.function, start.scale, start.bound, None, self.newton_steps, dtype)

    def further(self, like: Tensor, mask: Tensor) -> dict[Block, Tensor]:
        """Every real token is a member."""
        return {self.stream.member: mask[:, :, None].to(like)}

    def check(self, matrices: Matrices) -> None:
        """As for matrices, and they are diagonal.

        Raises:
            HypothesisError: an entry off the diagonal, or one on it outside ``[low, high]``.
        """
        for number, A in enumerate(matrices):
            if A.ndim == 2 and not torch.equal(A, torch.diag(A.diagonal())):
                raise HypothesisError(f"matrix {number} is not diagonal; one scalar a row is needed")
        super().check(matrices)

    def of(self, scalars: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        """(B, n) -> (B, n): the function itself, structured evaluation."""
        return self.run(torch.diag_embed(scalars), dtype)[0].diagonal(dim1=-2, dim2=-1)


def reciprocal_construction(size: int, low: float, high: float, pieces: int, steps: int) -> Scalars:
    """1/a of up to ``size`` scalars in ``[low, high]``, held as a diagonal matrix.

    Raises:
        ValueError: a number outside its range, named in the message.
    """
    check_whole(size=size, steps=steps)
    start = start_of("1/x", low, high, pieces)
    s = Stream(ids=size, A=size, X=size, spare=size, member=1, entry=1, value=1)
    b = ScalarBlocks(s.ids, s.A, s.entry, s.value, s.member)
    layers, order = in_order(*reciprocal_steps(start, b, s.X, s.spare, steps))
    name = f"reciprocals, {pieces} chords and {steps} step{'s' if steps > 1 else ''}, n <= {size}"
    construction = Construction(name, SOURCE, s, (s.ids, s.A, s.member), layers, order=order)
    return Scalars(construction, size, low, high, (s.X,), "1/x", start, steps)


def scalar_root_construction(size: int, low: float, high: float, pieces: int, steps: int) -> Scalars:
    """1/sqrt(a) and sqrt(a) of up to ``size`` scalars in ``[low, high]``, held as a diagonal matrix.

    Raises:
        ValueError: a number outside its range, named in the message.
    """
    check_whole(size=size, steps=steps)
    start = start_of("1/sqrt", low, high, pieces)
    n = size
    s = Stream(ids=n, A=n, Y=n, Z=n, Y_spare=n, Z_spare=n, member=1, entry=1, value=1)
    b = ScalarBlocks(s.ids, s.A, s.entry, s.value, s.member)
    roots = RootBlocks(s.ids, s.A, s.Y, s.Z, s.Y_spare, s.Z_spare)
    layers, order = in_order(*root_steps(start, b, roots, steps))
    name = f"inverse roots, {pieces} chords and {steps} step{'s' if steps > 1 else ''}, n <= {size}"
    construction = Construction(name, SOURCE, s, (s.ids, s.A, s.member), layers, order=order)
    return Scalars(construction, size, low, high, (s.Z, s.Y), "1/sqrt", start, steps)
