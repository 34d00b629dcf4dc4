"""Which tokens hold equal values: a partition of the tokens, and the values of its classes.

Many blocks of a construction hold one value at all tokens, or one value for each slot. They are stored and
computed once a class, with the number of tokens in the class.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from constructions.language.shown import short_repr
from constructions.language.stream import Block, Stream

Numbers = Any
"""(B, width, C): a torch tensor, or a numpy array of fractions."""


@dataclass(frozen=True, eq=False)
class Partition:
    """C classes of N tokens.

    Attributes:
        kind: "same", one class of all tokens; "each", every token by itself; "classes", by labels.
        labels: (B, N) the class of each token; only for "classes".
        counts: (B, C) how many real tokens each class has; None where that is 1 for each.
        has_empty: whether a class has no real token.
    """

    kind: Literal["same", "each", "classes"]
    counts: Tensor | None
    labels: Tensor | None = None
    has_empty: bool = field(init=False)

    __repr__ = short_repr

    def __post_init__(self) -> None:
        object.__setattr__(self, "has_empty", self.counts is not None and bool((self.counts == 0).any()))


@dataclass(frozen=True, eq=False)
class Value:
    """What a block holds: ``numbers`` (B, width, C), column c at the tokens of class c of the partition."""

    partition: Partition
    numbers: Numbers

    __repr__ = short_repr


class Places:
    """The tokens of B tasks, and the partitions that every layer knows.

    Args:
        mask: (B, N) bool, True at real tokens.

    Attributes:
        real: (B, 1) the number of real tokens.
        same, each: all tokens together, and each by itself.
    """

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask
        self.real = mask.sum(-1, keepdim=True)
        self.same = Partition("same", self.real)
        self.each = Partition("each", None if bool(mask.all()) else mask.to(torch.int64))

    def size_of(self, partition: Partition) -> int:
        """C."""
        counts = self.mask if partition.counts is None else partition.counts
        return counts.shape[1]

    def classes(self, labels: Tensor, number: int) -> Partition:
        """Tokens of one label together; labels (B, N) from 0 to ``number - 1``."""
        return Partition("classes", self.counts(labels, number), labels)

    def counts(self, labels: Tensor, number: int) -> Tensor:
        """(B, number) how many real tokens have each label."""
        counts = torch.zeros(len(labels), number, dtype=torch.int64, device=labels.device)
        return counts.scatter_add_(1, labels, self.mask.to(torch.int64))

    def first_and_rest(self) -> Partition:
        """Class 0 is the first token, class 1 all the others."""
        labels = torch.arange(self.mask.shape[1], device=self.mask.device).clamp_max(1)
        return self.classes(labels.expand(len(self.mask), -1), 2)

    def join(self, *partitions: Partition) -> Partition:
        """The finest of them; tokens by themselves where two have different classes."""
        found = self.same
        for partition in partitions:
            if partition is found or partition.kind == "same":
                continue
            found = partition if found.kind == "same" else self.each
        return found


@dataclass(frozen=True, eq=False)
class Pooled:
    """Rows that stand for tokens: what a read-out needs.

    Attributes:
        rows: (B, C, D). mask: (B, C) True where a real token is behind the row; None where all are.
        counts: (B, C) how many real tokens; None where 1 each.
    """

    rows: Tensor
    mask: Tensor | None
    counts: Tensor | None

    __repr__ = short_repr


@dataclass(frozen=True, eq=False)
class Tokens:
    """The residual stream of B tasks, block by block; a block that is not there holds 0.

    Attributes:
        stream: its blocks. places: its tokens. values: what each block holds.
    """

    stream: Stream
    places: Places
    values: dict[Block, Value]

    __repr__ = short_repr

    @classmethod
    def of_dense(cls, stream: Stream, blocks: tuple[Block, ...], h: Tensor, mask: Tensor) -> Tokens:
        """The blocks of a dense stream h (B, N, D): together where all real tokens hold one value."""
        places = Places(mask)
        first = mask.to(torch.int64).argmax(-1)
        values = {}
        for block in blocks:
            numbers = h[..., block.slice].mT
            one = numbers.gather(2, first[:, None, None].expand(-1, block.width, 1))
            alike = bool(((numbers == one) | ~mask[:, None]).all())
            kept = one if alike else numbers.masked_fill(~mask[:, None], 0.0)
            values[block] = Value(places.same if alike else places.each, kept)
        return cls(stream, places, values)

    def dense(self) -> Tensor:
        """(B, N, D), zeros at padding.

        Raises:
            ValueError: no block holds a value, and so no dtype is known.
        """
        if not self.values:
            raise ValueError("no block of the stream holds a value")
        like = next(iter(self.values.values())).numbers
        h = like.new_zeros(*self.places.mask.shape, self.stream.width)
        for block in self.values:
            h[..., block.slice] = self.read(block)
        return h if self.places.each.counts is None else h.masked_fill(~self.places.mask[:, :, None], 0.0)

    def read(self, block: Block, first: int | None = None) -> Tensor:
        """(B, N, width) what the tokens hold in a block that is live, or the first tokens alone."""
        value = self.values[block]
        labels, numbers = value.partition.labels, value.numbers
        tokens = self.places.mask.shape[1] if first is None else min(first, self.places.mask.shape[1])
        if value.partition.kind == "same":
            return numbers.expand(-1, -1, tokens).mT
        if labels is None:
            return numbers[:, :, :tokens].mT
        return numbers.gather(2, labels[:, None, :tokens].expand(-1, block.width, -1)).mT

    def pooled(self, blocks: tuple[Block, ...]) -> Pooled:
        """Rows that hold these blocks, as few as tell apart what differs in them."""
        partition = self.places.join(*(self.values[block].partition for block in blocks))
        mask = None if partition.counts is None else partition.counts > 0
        if partition.kind == "each":
            return Pooled(self.dense(), mask, None)
        like = self.values[blocks[0]].numbers
        rows = like.new_zeros(len(like), self.places.size_of(partition), self.stream.width)
        for block in blocks:
            rows[..., block.slice] = self.values[block].numbers.mT  # one row for all: broadcast
        return Pooled(rows, mask, partition.counts)
