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


Line = tuple[arb, arb, arb]
"""(x, F, slope): a point of a line and its slope. Dyadic numbers all, and so exact as balls."""


@dataclass(frozen=True, eq=False)
class Table:
    """F by pieces; piece i lies between knots i - 1 and i.

    Attributes:
        knots: where the slope changes, increasing. values: F there.
        marks: balls that hold the knots.
        slopes, offsets: F is ``slope x + offset`` on a piece; one more than knots.
        lines: the same from a point near the piece, where little cancels.
    """

    knots: tuple[fmpq, ...]
    values: tuple[fmpq, ...]
    marks: tuple[arb, ...]
    slopes: tuple[fmpq, ...]
    offsets: tuple[fmpq, ...]
    lines: tuple[Line, ...]

    @property
    def is_zero(self) -> bool:
        """Whether F is 0 everywhere."""
        return not any(self.slopes) and not any(self.offsets)

    def __call__(self, x: arb) -> arb:
        """A ball that holds F of every number in x."""
        lowest, highest = x.lower(), x.upper()
        first = bisect_left(self.marks, lowest)
        last = bisect_right(self.marks, highest, lo=first)
        if first == last or self.marks[first] == x:  # the latter are both exact: a knot ends its piece
            return _on(self.lines[first], x)
        found = _on(self.lines[first], lowest).union(_on(self.lines[last], highest))
        for value in self.values[first:last]:
            found = found.union(arb(value))
        return found

    def exact(self, x: fmpq) -> fmpq:
        """F of a rational."""
        piece = bisect_left(self.knots, x)
        return self.slopes[piece] * x + self.offsets[piece]


def _on(line: Line, x: arb) -> arb:
    """A line at x, which may reach beyond the piece by the rounding of its ends alone."""
    start, value, slope = line
    return value + slope * (x - start)


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
    knots, values, slopes, offsets = [], [], [a_sum], [b_sum]
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
            offsets.append(b_sum)
    marks = [_mark(knot) for knot in knots]
    starts = [marks[0], *marks] if marks else [arb(0)]
    lines = tuple(_line(start.mid(), a, b) for start, a, b in zip(starts, slopes, offsets, strict=True))
    return Table(tuple(knots), tuple(values), tuple(marks), tuple(slopes), tuple(offsets), lines)


def _kink(turn: tuple[fmpq, fmpq, fmpq]) -> fmpq:
    return turn[0]


def _mark(knot: fmpq) -> arb:
    """The knot itself where it is dyadic, or a ball around it."""
    denominator = int(knot.q)
    return arb(knot) if denominator & (denominator - 1) else _dyadic(knot)


def _line(start: arb, slope: fmpq, offset: fmpq) -> Line:
    power, exponent = start.man_exp()
    x = fmpq(power) * fmpq(2) ** int(exponent)
    return start, _dyadic(slope * x + offset), _dyadic(slope)


def _dyadic(x: fmpq) -> arb:
    """A rational whose denominator is a power of 2, exactly."""
    return arb((int(x.p), 1 - int(x.q).bit_length()))
