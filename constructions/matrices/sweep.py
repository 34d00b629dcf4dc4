"""Inverse and log-determinant of a symmetric positive definite matrix by the SWEEP operator, n sweeps.

Sweep k, with the pivot ``p = A_kk``, the unit vector e and ``u = A e - s e``:

    A <- A - 2 s e e^T - u u^T / p
    A_ij <- A_ij - A_ik A_kj / p,    A_ik <- s A_ik / p,    A_kk <- -s^2 / p          (i, j not k)

After all of them ``A = -s^2 A_0^-1``, and ``log det A_0 = sum_k log p_k``: the pivots are the diagonal of the
Schur complements, so they lie between the least and the largest eigenvalue. Any s gives the same inverse; a
power of two from the largest eigenvalue on, so that ``u_k = p - s <= 0`` and no sum cancels more than a Schur
complement does.

In tokens: ``turn`` is 1 at the token of the pivot, E has there the row e, Q the row ``q e`` with ``q = 1/p``;
then ``u u^T / p = U Q U`` for ``U = A - s E``. With t Newton steps a sweep takes t + 3 layers:

    chords      p = A_kk; chords of 1/x
    shifted     U = A - s E; Q = the start of 1/p
    Newton      t times: Q <- 2 Q - Q A Q, which is q (2 - p q)
    sweep       A <- U - s E - U Q U; the pivot is kept; turn and E go to the next token of the matrix

and all sweeps share these four. One layer before makes E, and two after give ``X = -A / s^2`` and the sum of
logarithms. Many matrices
can be swept at once: blocks of A on its diagonal, of one size, each with its own turn and its own ``group``.
Bounds: constructions/matrices/sweep_error.py.

Source: Goodnight 1979; in attention ours, paper_notes/matrix_machine.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.language import curves
from constructions.language.arguments import check_whole
from constructions.language.assembly import Construction, Layer
from constructions.language.gates import Gated, place
from constructions.language.heads import linear_pair
from constructions.language.mlp import apply, clear, move
from constructions.language.piecewise import PiecewiseLinear, chords, geometric
from constructions.language.program import Repeat, in_order
from constructions.language.scores import Score, dot
from constructions.language.shown import short_repr
from constructions.language.stream import Block, Operand, Stream
from constructions.matrices.inverse import newton_layer
from constructions.matrices.machine import Matrices, MatrixAlgorithm, above, check_range
from constructions.matrices.newton import Start, chord_layer, put_layer, start_of
from constructions.matrices.newton_error import ScalarError, reciprocal_error
from constructions.matrices.products import scaled, score, times, total, triple
from constructions.matrices.sweep_error import SweepError, sweep_error

SOURCE = "SWEEP operator (Goodnight 1979); in ReLU attention, paper_notes/matrix_machine.md"


@dataclass(frozen=True)
class SweepBlocks:
    """The blocks of the sweeps.

    Attributes:
        ids: one-hot over all rows. A: the matrix, as wide.
        turn: 1 at the token of the pivot, else 0. pivots: 0, and in the end the pivots.
        E: as wide; made by :func:`first_turn`.
        Q, U, spare: as wide, empty before and after a sweep. entry, value, next_turn, next_pivots: of width
            1, empty too.
    """

    ids: Block
    A: Block
    turn: Block
    pivots: Block
    E: Block
    Q: Block
    U: Block
    spare: Block
    entry: Block
    value: Block
    next_turn: Block
    next_pivots: Block

    __repr__ = short_repr


def next_row(ids: Block, size: int) -> Score:
    """1 where the asking token has the row after that of the attended one, in turn within ``size`` rows.

    Raises:
        ValueError: ids whose width is no multiple of ``size``.
    """
    check_whole(size=size)
    if ids.width % size:
        raise ValueError(f"{ids!r} does not hold matrices of {size} rows; its width must be a multiple")
    found = Score()
    for row in range(ids.width):
        first = row - row % size
        after = first + (row + 1 - first) % size
        found = found + dot(Operand(ids.part(after), "query"), Operand(ids.part(row), "key"))
    return found


def first_turn(b: SweepBlocks) -> Layer:
    """E = the one-hot row where it is the turn."""
    return Layer("turn", mlp=(_to_turn(b, b.turn),))


def _to_turn(b: SweepBlocks, turn: Block) -> Gated:
    return place(b.ids, by=turn, write=b.E, bound=1.0)


def sweep_layers(b: SweepBlocks, start: Start, scale: float, size: int, steps: int) -> list[Layer | Repeat]:
    """One sweep of every matrix of ``size`` rows: 3 + steps layers, four of them different."""
    pivot = chord_layer(start, b.entry, b.value, linear_pair(score(b.E, b.A), b.turn, b.entry))
    shifted = Layer(
        "shifted",
        heads=(total(scaled(b.ids, b.A, b.U), scaled(b.ids, b.E, b.U, -scale)),),
        mlp=put_layer(start, b.E, b.Q, b.value).mlp,
    )
    swept = total(
        scaled(b.ids, b.U, b.spare), scaled(b.ids, b.E, b.spare, -scale), triple(b.U, b.Q, b.U, b.spare, -1.0)
    )
    pivot_again = linear_pair(score(b.E, b.A), b.turn, b.next_pivots)
    kept = total(times(b.ids, b.ids, b.pivots, b.next_pivots), pivot_again)
    turned = linear_pair(next_row(b.ids, size), b.turn, b.next_turn)
    replaced = ((b.A, b.spare), (b.pivots, b.next_pivots), (b.turn, b.next_turn))
    sweep = Layer(
        "sweep",
        heads=(swept, kept, turned),
        mlp=(
            *(part for old, new in replaced for part in (clear(old), move(new, old))),
            *(clear(block) for block in (b.E, b.Q, b.U)),
            _to_turn(b, b.next_turn),
        ),
    )
    return [pivot, shifted, Repeat(steps, (newton_layer(b.ids, b.A, b.Q, b.spare),)), sweep]


def end_layers(
    b: SweepBlocks,
    scale: float,
    log: PiecewiseLinear,
    group: Block,
    X: Block,
    logs: Block,
    log_det: Block,
) -> list[Layer]:
    """``X = A_0^-1``, and the log-determinant at every token of the matrix: two layers.

    ``group`` is one-hot over the matrices; of width 1 where there is one.
    """
    return [
        Layer("inverse", (scaled(b.ids, b.A, X, -(scale**-2)),), (apply(log, b.pivots, logs), clear(b.E))),
        Layer("log det", (linear_pair(score(group, group), logs, log_det),), (clear(logs),)),
    ]


@dataclass(frozen=True, eq=False)
class Sweep(MatrixAlgorithm):
    """The weights, made by :func:`sweep_construction`; results are A^-1, log det A and the pivots.

    Attributes:
        start: of 1/p. log: chords of the logarithm. scale: s. newton_steps: t.
    """

    start: Start
    log: PiecewiseLinear
    scale: float
    newton_steps: int

    __repr__ = short_repr

    def further(self, like: Tensor, mask: Tensor) -> dict[Block, Tensor]:
        """The first row has its turn; one group; no pivot yet."""
        zeros = like.new_zeros(*mask.shape, 1)
        turn = zeros.clone()
        turn[:, 0] = 1.0
        return {self.stream.turn: turn, self.stream.pivots: zeros, self.stream.group: zeros + 1}

    def reciprocal_error(self, dtype: torch.dtype | None = None, beyond: float = 0.0) -> ScalarError:
        """Bound on the relative error of 1/p in a sweep; with no dtype in exact arithmetic.

        Args:
            dtype: in which it runs. beyond: p may lie outside ``[low, high]`` by this part of itself.
        """
        s, steps = self.start, self.newton_steps
        return reciprocal_error(s.function, s.scale, s.bound, None, steps, dtype, beyond)

    def error(self, matrices: Matrices, dtype: torch.dtype | None = None) -> list[SweepError]:
        """Bounds for these matrices, one by one; with no dtype in exact arithmetic."""

        def reciprocal(gap: float) -> float:
            return float(self.reciprocal_error(dtype, gap / self.low).total)

        return [sweep_error(A, self.scale, reciprocal, self.log, self.size, dtype) for A in matrices]


def sweep_construction(size: int, low: float, high: float, pieces: int, steps: int, log_pieces: int) -> Sweep:
    """A^-1 and log det A for symmetric n x n matrices A, n <= size, with eigenvalues in ``[low, high]``.

    Args:
        size: n0; one construction serves every n up to it, and always makes n0 sweeps.
        pieces, steps: chords of 1/x and Newton steps. log_pieces: chords of the logarithm.

    Raises:
        ValueError: a number outside its range, named in the message.
    """
    check_whole(size=size, steps=steps, log_pieces=log_pieces)
    check_range(low, high)
    start = start_of("1/x", low, high, pieces)
    top = start.high
    log = chords(curves.log, geometric(low, top, log_pieces), inputs=(0.0, 2 * top))
    wide = dict.fromkeys(("ids", "A", "E", "Q", "U", "spare", "X"), size)
    narrow = ("turn", "pivots", "group", "entry", "value", "next_turn", "next_pivots", "logs", "log_det")
    s = Stream(**wide, **dict.fromkeys(narrow, 1))
    b = SweepBlocks(
        s.ids, s.A, s.turn, s.pivots, s.E, s.Q, s.U, s.spare, s.entry, s.value, s.next_turn, s.next_pivots
    )
    scale = above(high)
    once = sweep_layers(b, start, scale, size, steps)
    end = end_layers(b, scale, log, s.group, s.X, s.logs, s.log_det)
    layers, order = in_order(first_turn(b), Repeat(size, tuple(once)), *end)
    name = f"SWEEP, n <= {size}, {pieces} chords and {steps} step{'s' if steps > 1 else ''} for 1/p"
    inputs = (s.ids, s.A, s.turn, s.pivots, s.group)
    construction = Construction(name, SOURCE, s, inputs, layers, order=order)
    return Sweep(construction, size, low, high, (s.X, s.log_det, s.pivots), start, log, scale, steps)
