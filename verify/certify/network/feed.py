"""``h <- h + relu(h W_1 + b_1) W_2 + b_2`` in balls, hidden units with one argument put together.

Units that read multiples of one linear form x of the stream make of it, column written by column written, a
function F(x) that is piecewise linear: a :class:`verify.certify.network.hinges.Table`. Where x is the column
that is written, the residual stream is part of F: a column that is cleared becomes the function 0, not a
difference of two equal balls.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from verify.balls.flint import arb, fmpq
from verify.certify.network.hinges import Hinge, Table, table
from verify.certify.network.reading import Form, LayerWeights
from verify.certify.network.rows import Name, Pool, Rows, name

Direction = tuple[tuple[int, fmpq], ...]
"""A linear form whose first coefficient is 1: (column, coefficient)."""


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
        x = x + arb(coefficient) * row[column]
    return x


def feed_forward(weights: LayerWeights) -> FeedForward | None:
    """The tables of a layer's MLP; None without one."""
    if not weights.units and not weights.offsets:
        return None
    exact = _Exact()
    offsets = defaultdict(fmpq, {column: exact(x) for column, x in weights.offsets})
    hinges: dict[int, dict[Direction, list[Hinge]]] = defaultdict(lambda: defaultdict(list))
    directions: dict[Form, tuple[Direction, fmpq]] = {}
    for unit in weights.units:
        if not unit.reads:
            for column, x in unit.writes:
                offsets[column] += exact(max(unit.bias, 0.0)) * exact(x)
            continue
        if unit.reads not in directions:
            directions[unit.reads] = _direction(unit.reads, exact)
        direction, gain = directions[unit.reads]
        for column, x in unit.writes:
            hinges[column][direction].append((gain, exact(unit.bias), exact(x)))
    make = _tables()
    targets = (
        _target(column, hinges.get(column, {}), offsets[column], make)
        for column in sorted(hinges.keys() | offsets.keys())
    )
    return FeedForward(tuple(targets))


Make = Callable[[tuple[Hinge, ...], fmpq], Table]


def _target(column: int, hinges: dict[Direction, list[Hinge]], offset: fmpq, make: Make) -> Target:
    own: Direction = ((column, fmpq(1)),)
    terms = [
        (direction, make(tuple(of_it), fmpq(1 if direction == own else 0)))
        for direction, of_it in hinges.items()
    ]
    terms = [(direction, function) for direction, function in terms if not function.is_zero]
    kept = own not in hinges
    reads = {c for direction, _ in terms for c, _ in direction} | ({column} if kept else set())
    return Target(column, kept, offset, tuple(terms), tuple(sorted(reads)))


def _tables() -> Make:
    """Tables of hinges of one argument, each made once: columns often share a function."""
    known: dict[tuple[tuple[Hinge, ...], fmpq], Table] = {}

    def make(hinges: tuple[Hinge, ...], slope: fmpq) -> Table:
        if (hinges, slope) not in known:
            known[hinges, slope] = table(hinges, slope, fmpq(0))
        return known[hinges, slope]

    return make


def _direction(reads: Form, exact: _Exact) -> tuple[Direction, fmpq]:
    """The form with the first coefficient 1, and what it is multiplied by."""
    gain = exact(reads[0][1])
    return tuple((column, exact(x) / gain) for column, x in reads), gain


class _Exact(dict[float, fmpq]):
    """Floats as rationals, each made once."""

    def __call__(self, x: float) -> fmpq:
        return self[x]

    def __missing__(self, x: float) -> fmpq:
        made = self[x] = fmpq(*x.as_integer_ratio())
        return made
