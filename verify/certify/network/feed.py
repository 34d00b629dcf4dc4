"""``h <- h + relu(h W_1 + b_1) W_2 + b_2`` in balls, hidden units with one argument put together.

Units that read multiples of one linear form x of the stream make of it, column written by column written, a
function F(x) that is piecewise linear: a :class:`verify.certify.network.hinges.Table`. Where x is the column
that is written, the residual stream is part of F: a column that is cleared becomes the function 0, not a
difference of two equal balls.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from verify.balls.flint import arb, fmpq
from verify.certify.network.hinges import Hinge, Table, table
from verify.certify.network.reading import Form, LayerWeights
from verify.certify.network.rows import Name, Pool, Rows, name

Direction = tuple[tuple[int, tuple[int, int]], ...]
"""A linear form whose first coefficient is 1: (column, coefficient as a ratio of integers)."""

ONE = (1, 1)


@dataclass(frozen=True, eq=False)
class Target:
    """A column that is written: ``offset + sum_m F_m(direction m)``, and the column itself if ``kept``.

    Attributes:
        column: written. reads: all columns that decide it, its own among them where it counts.
    """

    column: int
    kept: bool
    offset: fmpq
    terms: tuple[tuple[Direction, Table], ...]
    reads: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class FeedForward:
    """The MLP of a layer, by the columns that it writes."""

    targets: tuple[Target, ...]

    def __call__(self, rows: Rows, pool: Pool) -> Rows:
        """The tokens after it."""
        after = [list(row) for row in rows]
        arguments: dict[tuple[Direction, Name], arb] = {}
        values: dict[tuple[int, int], arb] = {}
        for target in self.targets:
            known: dict[Name, arb] = {}
            for row, out in zip(rows, after, strict=True):
                key = name(row, target.reads)
                if key not in known:
                    total = arb(target.offset)
                    if target.kept:
                        total += row[target.column]
                    for direction, function in target.terms:
                        place = direction, name(row, [column for column, _ in direction])
                        if place not in arguments:
                            arguments[place] = _argument(row, direction)
                        x = arguments[place]
                        where = id(function), id(x)
                        if where not in values:
                            values[where] = function(x)
                        total += values[where]
                    known[key] = pool.keep(total)
                out[target.column] = known[key]
        return after


def _argument(row: list[arb], direction: Direction) -> arb:
    (first, _), *others = direction
    x = row[first]
    for column, coefficient in others:
        x = x + arb(fmpq(*coefficient)) * row[column]
    return x


def feed_forward(weights: LayerWeights) -> FeedForward | None:
    """The tables of a layer's MLP; None without one."""
    if not weights.units and not weights.offsets:
        return None
    offsets = defaultdict(fmpq, {column: _exact(x) for column, x in weights.offsets})
    hinges: dict[int, dict[Direction, list[Hinge]]] = defaultdict(lambda: defaultdict(list))
    directions: dict[Form, tuple[Direction, float]] = {}
    for reads, bias, writes in weights.units:
        if not reads:
            for column, x in writes:
                offsets[column] += _exact(max(bias, 0.0)) * _exact(x)
            continue
        if reads not in directions:
            directions[reads] = _direction(reads)
        direction, gain = directions[reads]
        for column, x in writes:
            hinges[column][direction].append((gain, bias, x))
    make = functools.cache(table)  # columns often share a function
    targets = (
        _target(column, hinges.get(column, {}), offsets[column], make)
        for column in sorted(hinges.keys() | offsets.keys())
    )
    return FeedForward(tuple(targets))


def _target(
    column: int,
    hinges: dict[Direction, list[Hinge]],
    offset: fmpq,
    make: Callable[[tuple[Hinge, ...], int], Table],
) -> Target:
    own: Direction = ((column, ONE),)
    terms = [(form, make(tuple(of_it), 1 if form == own else 0)) for form, of_it in hinges.items()]
    terms = [(form, function) for form, function in terms if not function.is_zero]
    kept = own not in hinges
    reads = {c for form, _ in terms for c, _ in form} | ({column} if kept else set())
    return Target(column, kept, offset, tuple(terms), tuple(sorted(reads)))


def _direction(reads: Form) -> tuple[Direction, float]:
    """The form with the first coefficient 1, and what it is multiplied by."""
    gain = reads[0][1]
    ratios = ((column, (Fraction(x) / Fraction(gain)).as_integer_ratio()) for column, x in reads)
    return tuple(ratios), gain


def _exact(x: float) -> fmpq:
    return fmpq(*x.as_integer_ratio())
