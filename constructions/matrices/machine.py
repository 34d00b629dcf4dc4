"""Matrices as tokens, a row a token, and constructions that take them and give matrices back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from constructions.algorithm import ConstructedAlgorithm
from constructions.language.assembly import Construction
from constructions.language.hypotheses import HypothesisError
from constructions.language.rounding import gamma, unit_roundoff
from constructions.language.shown import short_repr
from constructions.language.stream import Block, Stream
from constructions.language.structured.evaluation import Evaluation, Evaluator
from constructions.language.structured.partitions import Places, Tokens, Value

Matrices = Tensor | Sequence[Tensor]
"""(B, n, n), or B matrices of different sizes."""


def matrix_tokens(stream: Stream, blocks: Mapping[Block, Tensor], mask: Tensor | None = None) -> Tokens:
    """The stream whose token i holds row i of every matrix.

    Args:
        stream: the residual stream. blocks: block -> (B, n, width), all of one B and n.
        mask: (B, n) True at real tokens; all of them unless said.

    Raises:
        ValueError: no block, or a matrix that is not (B, n, width).
    """
    if not blocks:
        raise ValueError("no block of the stream holds a matrix")
    first = next(iter(blocks.values()))
    for block, matrix in blocks.items():
        if matrix.ndim != 3 or matrix.shape != (*first.shape[:2], block.width):
            shape, wanted = tuple(matrix.shape), (*first.shape[:2], block.width)
            raise ValueError(f"{block!r} is given a matrix of shape {shape}; {wanted} is needed")
    mask = torch.ones(first.shape[:2], dtype=torch.bool, device=first.device) if mask is None else mask
    places = Places(mask)
    return Tokens(stream, places, {block: Value(places.each, m.mT) for block, m in blocks.items()})


def last_state(evaluator: Evaluator[Any], construction: Construction, tokens: Tokens) -> Any:
    """The state after all layers and loops."""
    state = evaluator.start(tokens)
    for _ in range(construction.loops):
        for after in evaluator.states(state):
            state = after
    return state


def above(x: float) -> float:
    """The least power of two from x on: a number that every dtype holds."""
    return 2.0 ** math.ceil(math.log2(x))


def check_range(low: float, high: float) -> None:
    """Refuse what is no range of eigenvalues.

    Raises:
        ValueError: unless ``0 < low <= high`` are finite.
    """
    if not 0 < low <= high < math.inf:
        raise ValueError(f"the eigenvalues lie in [{low:g}, {high:g}]; 0 < low <= high are needed, finite")


def pad(matrices: Matrices, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(B, n, n) with zeros around smaller ones, and mask (B, n); n is the largest size."""
    n = max(len(A) for A in matrices)
    padded = torch.zeros(len(matrices), n, n, dtype=dtype)
    mask = torch.zeros(len(matrices), n, dtype=torch.bool)
    for index, A in enumerate(matrices):
        padded[index, : len(A), : len(A)] = A.to(dtype)
        mask[index, : len(A)] = True
    return padded, mask


@dataclass(frozen=True, eq=False)
class MatrixAlgorithm(ConstructedAlgorithm):
    """A construction that takes a symmetric positive definite matrix of size n <= ``size``.

    Attributes:
        size: the largest n. low, high: where its eigenvalues lie.
        results: the blocks that hold what is computed.
    """

    size: int
    low: float
    high: float
    results: tuple[Block, ...]

    __repr__ = short_repr

    def tokens(self, matrices: Matrices, dtype: torch.dtype = torch.float64) -> Tokens:
        """Token i of a matrix holds its row i and the one-hot ``ids`` of i.

        Raises:
            HypothesisError: see :meth:`check`.
        """
        padded, mask = pad(matrices, dtype)
        self.check([A[: int(m.sum()), : int(m.sum())] for A, m in zip(padded, mask, strict=True)])
        n, like = padded.shape[1], padded
        ids = torch.eye(n, self.size).to(like).expand(len(like), n, self.size)
        rows = torch.cat([padded, like.new_zeros(len(like), n, self.size - n)], 2)
        blocks = {self.stream.ids: ids, self.stream.A: rows} | self.further(like, mask)
        return matrix_tokens(
            self.stream, {b: m.masked_fill(~mask[:, :, None], 0.0) for b, m in blocks.items()}, mask
        )

    def further(self, like: Tensor, mask: Tensor) -> dict[Block, Tensor]:
        """Further inputs, (B, n, width) each."""
        return {}

    def check(self, matrices: Matrices) -> None:
        """Refuse what the construction does not cover.

        Eigenvalues are computed in float64: one that lies outside by less than their rounding passes.

        Raises:
            HypothesisError: a matrix that is not square, too large, not finite, not symmetric, or has an
                eigenvalue outside ``[low, high]``.
        """
        for number, A in enumerate(matrices):
            if A.ndim != 2 or A.shape[0] != A.shape[1] or not 1 <= len(A) <= self.size:
                raise HypothesisError(
                    f"matrix {number} has shape {tuple(A.shape)}; n x n with n <= {self.size} is needed"
                )
            if not bool(A.isfinite().all()):
                raise HypothesisError(f"matrix {number} holds a number that is not finite")
            if not torch.equal(A, A.mT):
                apart = float((A - A.mT).abs().max())
                raise HypothesisError(f"matrix {number} is not symmetric: entries differ by {apart:.3g}")
            self._check_spectrum(number, A.double())

    def _check_spectrum(self, number: int, A: Tensor) -> None:
        found = torch.linalg.eigvalsh(A)
        # Backward stable: eigenvalues of a matrix within gamma_{n^2} |A|_F.
        slack = gamma(len(A) ** 2 + 8, unit_roundoff(torch.float64)) * float(A.norm())
        for value in (float(found[0]), float(found[-1])):
            if not self.low - slack <= value <= self.high + slack:
                raise HypothesisError(
                    f"matrix {number} has the eigenvalue {value:.6g}; "
                    f"they must lie in [{self.low:.6g}, {self.high:.6g}]"
                )

    def run(
        self,
        matrices: Matrices,
        dtype: torch.dtype = torch.float64,
        evaluation: Evaluation = "structured",
        device: torch.device | str = "cpu",
    ) -> tuple[Tensor, ...]:
        """What the result blocks hold at the end, (B, n, width) each; square ones are (B, n, n).

        Raises:
            ValueError: an evaluation that is none. HypothesisError: see :meth:`check`.
        """
        tokens = self.tokens(matrices, dtype)
        with torch.no_grad():
            state = last_state(self.evaluator(evaluation, dtype, device), self.construction, tokens)
        n = tokens.places.mask.shape[1]
        found = (state.read(block) for block in self.results)
        return tuple(h[:, :, :n] if h.shape[-1] == self.size else h for h in found)
