"""Heads that differ in the part of a block they read, and in numbers, evaluated together at their own rank.

The heads of one sum stand in a grid of M parts that are read and P heads a part:

    write_i += sum_m sum_c n_c (sum_p scale_mp A_mp(i, c)) read_m(c)

over the classes c of tokens that hold equal keys and equal values, n_c of them each. What queries have in
common is computed once: the sum runs over classes of queries, not over tokens. A pair of ReLU heads with
opposite scores and scales is the linear map that it is, ``relu(a) - relu(-a) = a``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from constructions.language.heads import Head, HeadSum
from constructions.language.scores import Term
from constructions.language.shown import short_repr
from constructions.language.stream import Block, Stream
from constructions.language.structured.arithmetic import Arithmetic, spread
from constructions.language.structured.partitions import Numbers, Partition, Places, Value


@dataclass(frozen=True, eq=False)
class Selection:
    """Columns of a block that the heads of a grid read.

    Attributes:
        block: the whole block. width: columns that a head reads.
        starts: (M, P) the first of them for each head, counted within the block.
    """

    block: Block
    width: int
    starts: NDArray[np.int64]

    __repr__ = short_repr

    @classmethod
    def of(cls, grid: Sequence[Sequence[Block]]) -> Selection:
        """The blocks that the heads of a grid read at one place of their formulas."""
        first = grid[0][0]
        starts = np.array([[block.start for block in row] for row in grid]) - first.whole.start
        return cls(first.whole, first.width, starts)

    def of_value(self, numbers: Numbers) -> Numbers:
        """(B, W, C) -> (B, M, P, width, C); M or P is 1 where it makes no difference."""
        B, W, C = numbers.shape
        rows, heads = self.starts.shape
        if (self.starts == self.starts[0, 0]).all():
            first = int(self.starts[0, 0])
            kept = numbers if self.width == W else numbers[:, first : first + self.width]
            return kept.reshape(B, 1, 1, self.width, C)
        starts = self.starts
        if (starts == starts[:, :1]).all():
            starts, heads = starts[:, :1], 1
        if np.array_equal(starts.flatten(), np.arange(0, W, self.width)) and W % self.width == 0:
            return numbers.reshape(B, rows, heads, self.width, C)  # all parts in order: no copy
        columns = (starts[:, :, None] + np.arange(self.width)).flatten()
        return numbers[:, columns.tolist()].reshape(B, rows, heads, self.width, C)


@dataclass(frozen=True, eq=False)
class TermGrid:
    """``coefficient <query, key>`` for every head of a grid; ``coefficient`` is None where all are 1."""

    coefficient: Any
    query: Selection
    key: Selection

    __repr__ = short_repr

    def scores(self, q: Numbers, k: Numbers, keys_first: bool, arithmetic: Arithmetic) -> Numbers:
        """(B, M, P, Cq, Ck), or (B, M, P, Ck, Cq) with ``keys_first``; M, P and C may be 1 for all."""
        query, key = self.query.of_value(q), self.key.of_value(k)
        left, right = (key, query) if keys_first else (query, key)
        # An outer product of two vectors needs no sum, and broadcasts without a copy.
        left = arithmetic.swap(left)
        found = left * right if self.key.width == 1 else left @ right
        return found if self.coefficient is None else found * self.coefficient


@dataclass(frozen=True, eq=False)
class Attending:
    """What a group of heads looks at.

    Attributes:
        values: what the blocks hold. places: the tokens.
        asking, attended: classes of equal queries, and of equal keys and values.
    """

    values: Mapping[Block, Value]
    places: Places
    asking: Partition
    attended: Partition

    __repr__ = short_repr

    @property
    def keys_first(self) -> bool:
        """Whether scores are laid out (Ck, Cq): the longer axis is the last."""
        return self.asking.kind == "each" and self.attended.kind != "each"

    @property
    def key_axis(self) -> int:
        """Of the scores."""
        return -2 if self.keys_first else -1


@dataclass(frozen=True, eq=False)
class HeadGroup:
    """A grid of M x P heads that write one block.

    Attributes:
        kind: softmax, relu, or linear for pairs of ReLU heads.
        terms: of the score. read, write: what is read and written.
        scale: (M, P, 1, 1), or None for one head with scale 1.
    """

    kind: Literal["softmax", "relu", "linear"]
    terms: tuple[TermGrid, ...]
    read: Selection
    write: Block
    scale: Any
    arithmetic: Arithmetic

    __repr__ = short_repr

    def __call__(self, values: Mapping[Block, Value], places: Places, divide: bool) -> Value:
        """What the heads add to the block they write; with ``divide`` over the number of real tokens."""
        asking = places.join(*(values[term.query.block].partition for term in self.terms))
        keys = (self.read.block, *(term.key.block for term in self.terms))
        at = Attending(values, places, asking, places.join(*(values[block].partition for block in keys)))
        read = self.read.of_value(spread(values[self.read.block], at.attended, self.arithmetic, places))
        weights = self._weights(at)
        weights = weights[:, :, 0] if weights.shape[2] == 1 else weights.sum(2)
        if divide:
            weights = weights / self.arithmetic.whole(places.real)[:, :, None, None]
        written = read[:, :, 0] @ (weights if at.keys_first else self.arithmetic.swap(weights))
        return Value(asking, written[:, 0] if written.shape[1] == 1 else written.sum(1))

    def _weights(self, at: Attending) -> Numbers:
        """``scale n_c A(i, c)``, shaped as the scores."""
        scores, counts = self._scores(at), at.attended.counts
        if counts is not None:
            counts = counts[:, None, None, :, None] if at.keys_first else counts[:, None, None, None, :]
        if self.kind == "softmax":
            weights = self.arithmetic.shares(scores, counts, at.key_axis)
        else:
            weights = self.arithmetic.relu(scores) if self.kind == "relu" else scores
            weights = weights if counts is None else weights * self.arithmetic.whole(counts)
        return weights if self.scale is None else weights * self.scale

    def _scores(self, at: Attending) -> Numbers:
        """The sum of the terms, with an entry for every class of keys."""
        scores: Any = None
        for term in self.terms:
            q, k = (
                value.numbers  # one for all tokens broadcasts
                if value.partition.kind == "same"
                else spread(value, partition, self.arithmetic, at.places)
                for value, partition in (
                    (at.values[term.query.block], at.asking),
                    (at.values[term.key.block], at.attended),
                )
            )
            found = term.scores(q, k, at.keys_first, self.arithmetic)
            scores = found if scores is None else scores + found
        if scores is None:
            scores = self.arithmetic.constants(np.zeros((1, 1, 1, 1, 1)))
        size = at.places.size_of(at.attended)
        if scores.shape[at.key_axis] == size:
            return scores
        if not at.keys_first:
            return self.arithmetic.expand(scores, size)
        return self.arithmetic.swap(self.arithmetic.expand(self.arithmetic.swap(scores), size))


def groups_of(heads: Head | HeadSum, stream: Stream, arithmetic: Arithmetic) -> list[HeadGroup]:
    """The grids that the heads of one sum form: one for each form of score and block that is read."""
    alike: dict[object, dict[Block, list[Head]]] = defaultdict(lambda: defaultdict(list))
    for head in heads.heads if isinstance(heads, HeadSum) else (heads,):
        blocks = [(block.whole, block.width) for term in head.score.terms for block in _read_by(term, stream)]
        form = (head.attention, tuple(blocks), head.read.whole, head.read.width)
        alike[form][head.read].append(head)
    groups = []
    for rows in alike.values():
        ordered = [rows[block] for block in sorted(rows, key=lambda block: block.start)]
        if len({len(row) for row in ordered}) == 1:
            groups.append(_group(ordered, stream, arithmetic))
        else:
            groups += [_group([row], stream, arithmetic) for row in ordered]
    return groups


def _read_by(term: Term, stream: Stream) -> tuple[Block, Block]:
    return (stream.one if term.query is None else term.query), term.key


def _group(grid: list[list[Head]], stream: Stream, arithmetic: Arithmetic) -> HeadGroup:
    """``grid``: rows of heads that read one part each."""
    kind = grid[0][0].attention
    if kind == "relu" and all(len(row) == 2 and _are_a_pair(*row) for row in grid):
        kind, grid = "linear", [row[:1] for row in grid]
    terms = []
    for place in range(len(grid[0][0].score.terms)):
        at = [[head.score.terms[place] for head in row] for row in grid]
        reads = [[_read_by(term, stream) for term in row] for row in at]
        terms.append(
            TermGrid(
                _constants([[term.coefficient for term in row] for row in at], arithmetic),
                Selection.of([[query for query, _ in row] for row in reads]),
                Selection.of([[key for _, key in row] for row in reads]),
            )
        )
    return HeadGroup(
        kind,
        tuple(terms),
        Selection.of([[head.read for head in row] for row in grid]),
        grid[0][0].write,
        _scale([[head.scale for head in row] for row in grid], arithmetic),
        arithmetic,
    )


def _are_a_pair(one: Head, other: Head) -> bool:
    """Whether the scores and the scales of two heads are opposite: ``s relu(a) - s relu(-a) = s a``."""
    return one.scale == -other.scale and one.score == -other.score


def _constants(numbers: list[list[float]], arithmetic: Arithmetic) -> Any:
    """(M, P, 1, 1); None where all are 1."""
    return None if (np.array(numbers) == 1).all() else _grid(numbers, arithmetic)


def _scale(numbers: list[list[float]], arithmetic: Arithmetic) -> Any:
    """(M, P, 1, 1), also where all are 1: equal heads count one by one. None for one head with scale 1."""
    return None if numbers == [[1]] else _grid(numbers, arithmetic)


def _grid(numbers: list[list[float]], arithmetic: Arithmetic) -> Any:
    return arithmetic.constants(np.array(numbers)[:, :, None, None])
