"""A transformer run in balls: what it gives of exact weights and tokens lies in the balls, for certain.

    weights = read_weights(transformer)            # or read_formulas(construction)
    with precision(128):
        network = interpreter(weights)
        *_, last = network.block(network.rows(h, mask))

Weights are read exactly whatever the precision; within ``with precision(bits)`` stands what rounds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor

from verify.certify.network.attend import Attend
from verify.certify.network.feed import FeedForward, feed_forward
from verify.certify.network.reading import NetworkWeights
from verify.certify.network.rows import Pool, Rows


@dataclass(frozen=True, eq=False)
class Interpreter:
    """Layers that map tokens to tokens.

    Attributes:
        weights: what it was made of. attention, feed: of each layer; None where it has none.
    """

    weights: NetworkWeights
    attention: tuple[Attend | None, ...]
    feed: tuple[FeedForward | None, ...]
    pool: Pool = field(default_factory=Pool)

    def rows(self, h: Tensor, mask: Tensor | None = None) -> Rows:
        """The real tokens of one task h (N, D), exactly. Padding is left out: nothing attends to it.

        Raises:
            ValueError: tokens of another width than the stream.
        """
        if h.shape[-1] != self.weights.width:
            raise ValueError(f"tokens are {h.shape[-1]} wide; the stream is {self.weights.width}")
        return self.pool.rows(h, mask)

    def attended(self, number: int, rows: Rows) -> Rows:
        """The tokens after the attention of layer ``number``, from 0 on."""
        attention = self.attention[number]
        return rows if attention is None else attention(rows, self.pool)

    def written(self, number: int, rows: Rows) -> Rows:
        """What the attention of layer ``number`` writes, before its norm."""
        return self._heads(number).written(rows, self.pool)

    def normed(self, number: int, rows: Rows, written: Rows) -> Rows:
        """The tokens after the norm of what the attention of layer ``number`` writes is added to them."""
        return self._heads(number).normed(rows, written, self.pool)

    def attention_writes(self, number: int) -> tuple[int, ...]:
        """Columns that the attention of layer ``number`` may change."""
        return self._heads(number).targets

    def feed_writes(self, number: int) -> tuple[int, ...]:
        """Columns that the MLP of layer ``number`` may change."""
        feed = self.feed[number]
        return () if feed is None else tuple(target.column for target in feed.targets)

    def _heads(self, number: int) -> Attend:
        attention = self.attention[number]
        if attention is None:
            raise ValueError(f"layer {number} has no attention")
        return attention

    def fed(self, number: int, rows: Rows) -> Rows:
        """The tokens after the MLP of layer ``number``, from 0 on."""
        feed = self.feed[number]
        return rows if feed is None else feed(rows, self.pool)

    def block(self, rows: Rows) -> Iterator[Rows]:
        """The tokens after each layer of one pass."""
        for number in self.weights.sequence:
            rows = self.fed(number, self.attended(number, rows))
            yield rows

    def passes(self, rows: Rows) -> Iterator[Rows]:
        """The tokens after each pass, one for each loop."""
        for _ in range(self.weights.loops):
            for after in self.block(rows):
                rows = after
            yield rows


def interpreter(weights: NetworkWeights) -> Interpreter:
    """With the tables of every MLP made and proved.

    Raises:
        ArithmeticError: as :func:`verify.certify.network.hinges.table`.
    """
    scale, divide = weights.score_scale, weights.divide_by_tokens
    return Interpreter(
        weights,
        tuple(Attend(layer, scale, divide) if layer.heads else None for layer in weights.layers),
        tuple(feed_forward(layer) for layer in weights.layers),
    )
