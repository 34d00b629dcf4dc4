"""Attention heads: a score, what is read from the attended token, where the result is written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from constructions.language.scores import Score
from constructions.language.shown import short_repr
from constructions.language.stream import Block

Attention = Literal["softmax", "relu"]


@dataclass(frozen=True)
class Head:
    """``write_i += scale * sum_j A_ij read_j`` with ``A = softmax_j(score)`` or ``A = relu(score)``.

    Use :class:`SoftmaxHead` or :class:`ReluHead`.

    Raises:
        ValueError: ``read`` and ``write`` of different width, or a scale that is not finite.
    """

    score: Score
    read: Block
    write: Block
    scale: float = 1.0
    attention: Attention = "softmax"

    __repr__ = short_repr

    def __post_init__(self) -> None:
        if self.read.width != self.write.width:
            raise ValueError(
                f"a head reads {self.read!r} and writes {self.write!r}; their widths "
                f"{self.read.width} and {self.write.width} must be the same"
            )
        if not math.isfinite(self.scale):
            raise ValueError(f"a head writes {self.write!r} scaled by {self.scale}; the scale must be finite")

    @property
    def size(self) -> int:
        """Head dimension needed: the larger of the score's rank and the width read."""
        return max(self.score.rank, self.read.width)

    def __str__(self) -> str:
        scale = "" if self.scale == 1 else f"{self.scale:g} "
        return f"{scale}{self.attention}({self.score}) k.{self.read.name}"


def SoftmaxHead(score: Score, read: Block, write: Block, scale: float = 1.0) -> Head:  # noqa: N802
    """``write_i += scale * sum_j softmax_j(score(i, j)) read_j``."""
    return Head(score, read, write, scale, "softmax")


def ReluHead(score: Score, read: Block, write: Block, scale: float = 1.0) -> Head:  # noqa: N802
    """``write_i += scale * sum_j relu(score(i, j)) read_j``; no division by the number of tokens."""
    return Head(score, read, write, scale, "relu")


@dataclass(frozen=True)
class HeadSum:
    """Several heads that together write one block: their results add, on purpose.

    Raises:
        ValueError: no head, or heads that write different blocks.
    """

    heads: tuple[Head, ...]

    __repr__ = short_repr

    def __post_init__(self) -> None:
        targets = {head.write for head in self.heads}
        if len(targets) != 1:
            raise ValueError(f"the heads of a sum write one block, got {sorted(map(repr, targets))}")

    @property
    def write(self) -> Block:
        """The block that the heads write."""
        return self.heads[0].write


def linear_pair(score: Score, read: Block, write: Block, scale: float = 1.0) -> HeadSum:
    """``relu(a) - relu(-a) = a``: two ReLU heads that apply the score itself, with no nonlinearity left."""
    return HeadSum((ReluHead(score, read, write, scale), ReluHead(-score, read, write, -scale)))
