"""A sum of hinges of one number as a table: knot, value, slope of each piece, all exact rationals.

    F(x) = slope x + sum_m c_m relu(a_m x + b_m),      kinks t_m = -b_m / a_m

Between two kinks the same hinges are open, so that F is there exactly ``A x + B`` with A, B the sums of
``c_m a_m`` and ``c_m b_m`` over these: an identity of rationals, with nothing left to estimate. Of a ball the
range is that of the two ends and of the knots in between, since F is linear elsewhere.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from verify.balls.flint import arb, fmpq

Hinge = tuple[float, float, float]
"""(a, b, c) of ``c relu(a x + b)``, with a not 0; each number is read exactly."""


@dataclass(frozen=True, eq=False)
class Table:
    """F by pieces; piece i lies between knots i - 1 and i.

    Attributes:
        knots: where the slope changes, increasing. values: F there, or at 0 where there is no knot.
        slopes: one more than knots.
        marks: balls that hold the knots.
    """

    knots: tuple[fmpq, ...]
    values: tuple[fmpq, ...]
    slopes: tuple[fmpq, ...]
    marks: tuple[arb, ...]

    @property
    def is_zero(self) -> bool:
        """Whether F is 0 everywhere."""
        return not any(self.slopes) and not any(self.values)

    def __call__(self, x: arb) -> arb:
        """A ball that holds F of every number in x."""
        lowest, highest = x.lower(), x.upper()
        first = bisect_left(self.marks, lowest)
        last = bisect_right(self.marks, highest, lo=first)
        if first == last:
            return self._on(first, x)
        if self.marks[first] == x:  # both are exact
            return arb(self.values[first])
        found = self._on(first, lowest).union(self._on(last, highest))
        for value in self.values[first:last]:
            found = found.union(arb(value))
        return found

    def exact(self, x: fmpq) -> fmpq:
        """F of a rational."""
        piece = bisect_left(self.knots, x)
        knot, value = self._start(piece)
        return value + self.slopes[piece] * (x - knot)

    def _start(self, piece: int) -> tuple[fmpq, fmpq]:
        """A knot at an end of the piece, and F there."""
        at = max(piece - 1, 0)
        return (self.knots[at] if self.knots else fmpq(0)), self.values[at]

    def _on(self, piece: int, x: arb) -> arb:
        """The line of a piece at x, which may reach beyond the piece by the rounding of its ends alone."""
        knot, value = self._start(piece)
        slope = self.slopes[piece]
        if not slope:
            return arb(value)
        return arb(value) + arb(slope) * (x - arb(knot))


def table(hinges: Sequence[Hinge], slope: int = 0) -> Table:
    """The table of ``slope x + sum c relu(a x + b)``.

    Raises:
        ArithmeticError: two neighbouring lines that do not meet at the knot between them: the sweep over the
            kinks is wrong, and so no table is given.
    """
    a_sum, b_sum = fmpq(slope), fmpq(0)
    turns: list[tuple[fmpq, fmpq, fmpq]] = []
    for hinge in hinges:
        a, b, c = (fmpq(*x.as_integer_ratio()) for x in hinge)
        steeper, higher = c * a, c * b
        # As x passes its kink, a hinge with a > 0 opens and one with a < 0 closes.
        if a < 0:
            a_sum, b_sum = a_sum + steeper, b_sum + higher
            steeper, higher = -steeper, -higher
        turns.append((-b / a, steeper, higher))
    knots, values, slopes = [], [], [a_sum]
    for kink, group in groupby(sorted(turns, key=_kink), _kink):
        before = a_sum * kink + b_sum
        for _, steeper, higher in group:
            a_sum, b_sum = a_sum + steeper, b_sum + higher
        if a_sum * kink + b_sum != before:
            raise ArithmeticError(f"the lines left and right of the knot {kink} do not meet there")
        if a_sum != slopes[-1]:
            knots.append(kink)
            values.append(before)
            slopes.append(a_sum)
    marks = tuple(_mark(knot) for knot in knots)
    return Table(tuple(knots), tuple(values) or (b_sum,), tuple(slopes), marks)


def _kink(turn: tuple[fmpq, fmpq, fmpq]) -> fmpq:
    return turn[0]


def _mark(knot: fmpq) -> arb:
    """The knot itself where it is dyadic, or a ball around it."""
    denominator = int(knot.q)
    if denominator & (denominator - 1) == 0:
        return arb((int(knot.p), 1 - denominator.bit_length()))
    return arb(knot)
