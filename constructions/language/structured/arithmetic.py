"""What the structured evaluation asks of an arithmetic, in floating point and in fractions.

Arrays are torch tensors in the first, numpy arrays of fractions in the second; both know ``+ - * @``,
``reshape`` and ``sum``. Only what they spell in different ways stands here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from constructions.language.piecewise import PiecewiseLinear
from constructions.language.structured.partitions import Numbers, Partition, Places, Tokens, Value
from constructions.language.structured.piece_table import ExactPieces, PieceTable

ZERO = np.array(Fraction(0), dtype=object)


class Arithmetic(ABC):
    """Arrays of one kind of number."""

    @abstractmethod
    def constants(self, numbers: NDArray[np.float64]) -> Any:
        """Numbers of the formulas as an array of this arithmetic."""

    @abstractmethod
    def function(self, f: PiecewiseLinear) -> Callable[[Numbers], Numbers]:
        """``f``, entry by entry."""

    @abstractmethod
    def whole(self, counts: Tensor) -> Numbers:
        """Whole numbers as numbers of this arithmetic."""

    @abstractmethod
    def swap(self, x: Numbers) -> Numbers:
        """The last two axes exchanged."""

    @abstractmethod
    def take(self, x: Numbers, labels: Tensor) -> Numbers:
        """(B, w, C) and labels (B, N) -> (B, w, N)."""

    @abstractmethod
    def expand(self, x: Numbers, size: int) -> Numbers:
        """A last axis of size 1 repeated."""

    @abstractmethod
    def relu(self, x: Numbers) -> Numbers:
        """``max(x, 0)``."""

    @abstractmethod
    def shares(self, scores: Numbers, counts: Tensor | None, axis: int) -> Numbers:
        """``n_c e^s_c / sum_c n_c e^s_c`` along an axis; the counts are shaped to broadcast."""

    @abstractmethod
    def emptied(self, x: Numbers, counts: Tensor) -> Numbers:
        """(B, w, C) with zeros in the classes that no real token has."""

    @abstractmethod
    def unit(self, parts: list[Numbers], width: int, counts: Tensor | None) -> list[Numbers]:
        """(B, w, C) arrays divided by their common Euclidean length, as an RMS norm over ``width`` does.

        Classes that no real token has, by ``counts`` (B, C), hold anything finite.
        """


class FloatArithmetic(Arithmetic):
    """Tensors of a dtype on a device."""

    def __init__(self, dtype: torch.dtype, device: torch.device | str) -> None:
        self.dtype, self.device = dtype, device

    def constants(self, numbers: NDArray[np.float64]) -> Tensor:
        return torch.as_tensor(numbers).to(self.dtype).to(self.device)

    def function(self, f: PiecewiseLinear) -> Callable[[Tensor], Tensor]:
        return PieceTable(f, self.dtype, self.device)

    def whole(self, counts: Tensor) -> Tensor:
        return counts.to(self.dtype)

    def swap(self, x: Tensor) -> Tensor:
        return x.mT

    def take(self, x: Tensor, labels: Tensor) -> Tensor:
        return x.gather(2, labels[:, None].expand(-1, x.shape[1], -1))

    def expand(self, x: Tensor, size: int) -> Tensor:
        return x.expand(*x.shape[:-1], size)

    def relu(self, x: Tensor) -> Tensor:
        return x.relu()

    def shares(self, scores: Tensor, counts: Tensor | None, axis: int) -> Tensor:
        if counts is None:
            return scores.softmax(axis)
        open_scores = scores.masked_fill(counts == 0, -torch.inf)
        weights = (open_scores - open_scores.amax(axis, keepdim=True)).exp() * self.whole(counts)
        return weights / weights.sum(axis, keepdim=True)

    def emptied(self, x: Tensor, counts: Tensor) -> Tensor:
        return x.masked_fill(counts[:, None] == 0, 0.0)

    def unit(self, parts: list[Tensor], width: int, counts: Tensor | None) -> list[Tensor]:
        mean = torch.stack([part.square().sum(1, keepdim=True) for part in parts]).sum(0) / width
        if counts is not None:  # the norm of 0 has no derivative
            mean = mean.masked_fill(counts[:, None] == 0, 1.0)
        scale = torch.rsqrt(mean)
        return [part * scale * width**-0.5 for part in parts]


class ExactArithmetic(Arithmetic):
    """Numpy arrays of fractions; no softmax and no root."""

    def constants(self, numbers: NDArray[np.float64]) -> NDArray[np.object_]:
        return _fractions(numbers)

    def function(self, f: PiecewiseLinear) -> Callable[[Numbers], Numbers]:
        return ExactPieces(f)

    def whole(self, counts: Tensor) -> NDArray[np.object_]:
        return _fractions(counts.numpy())

    def swap(self, x: Numbers) -> Numbers:
        return np.swapaxes(x, -1, -2)

    def take(self, x: Numbers, labels: Tensor) -> Numbers:
        return np.take_along_axis(x, labels.numpy()[:, None], 2)

    def expand(self, x: Numbers, size: int) -> Numbers:
        return np.broadcast_to(x, (*x.shape[:-1], size))

    def relu(self, x: Numbers) -> Numbers:
        return np.maximum(x, ZERO)

    def shares(self, scores: Numbers, counts: Tensor | None, axis: int) -> Numbers:
        raise ValueError("softmax attention is no rational function; exact arithmetic takes relu alone")

    def emptied(self, x: Numbers, counts: Tensor) -> Numbers:
        return np.where(counts.numpy()[:, None] == 0, ZERO, x)

    def unit(self, parts: list[Numbers], width: int, counts: Tensor | None) -> list[Numbers]:
        raise ValueError("a norm takes a root, which is no fraction; exact arithmetic refuses it")


def _fractions(numbers: NDArray[Any]) -> NDArray[np.object_]:
    return np.vectorize(Fraction, otypes=[object])(numbers)


def spread(value: Value, target: Partition, arithmetic: Arithmetic, places: Places) -> Numbers:
    """The numbers of a value in a partition at least as fine as its own.

    Raises:
        ValueError: a partition that would put together tokens which the value tells apart.
    """
    if value.partition is target:
        return value.numbers
    if value.partition.kind == "same":
        return arithmetic.expand(value.numbers, places.size_of(target))
    if value.partition.labels is None:
        raise ValueError(f"values of each token have no single value in a class of {target.kind!r} tokens")
    return arithmetic.take(value.numbers, value.partition.labels)


def in_fractions(tokens: Tokens) -> Tokens:
    """The same tokens for :class:`ExactArithmetic`: every float is a fraction."""
    values = {
        block: Value(value.partition, _fractions(value.numbers.numpy()))
        for block, value in tokens.values.items()
    }
    return Tokens(tokens.stream, tokens.places, values)


def rows_of(tokens: Tokens) -> NDArray[np.object_]:
    """(B, N, D) of tokens in fractions, 0 in blocks that hold nothing."""
    places = tokens.places
    h = np.full((*places.mask.shape, tokens.stream.width), Fraction(0), dtype=object)
    for block, value in tokens.values.items():
        h[..., block.slice] = np.swapaxes(spread(value, places.each, ExactArithmetic(), places), 1, 2)
    return h
