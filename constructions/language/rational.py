"""A compiled transformer in exact arithmetic: its dense floating-point weights are fractions, as is all else.

    H <- H + sum_heads relu(c H W_Q (H W_K)^T) H W_V W_O     (over the number of real tokens where asked to)
    H <- H + relu(H W_1 + b_1) W_2 + b_2

Sums, products and ReLU of fractions are fractions: nothing is rounded, so results are compared by ``==``.
Weights and entries of the stream that are 0 are skipped. The arithmetic is that of the tokens: fractions, or
polynomials with a ``relu`` that knows their signs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

from torch import Tensor

from constructions.language.transformer import MLP, SelfAttention, Transformer, TransformerLayer

Number = Any  # a Fraction, or an element of a polynomial ring
Row = list[Number]
Sparse = dict[int, Number]
Matrix = dict[int, list[tuple[int, Number]]]


def relu(x: Number) -> Number:
    """``max(x, 0)`` of an ordered number."""
    return x if x > 0 else 0


class ExactTransformer:
    """The function of a transformer, evaluated exactly.

    Args:
        transformer: ReLU attention, ReLU MLP, no norm; weights of any floating-point type, all finite.
        number: makes an element of the arithmetic of a fraction.
        relu: ``max(., 0)`` in that arithmetic.

    Raises:
        ValueError: a part that is not a piecewise rational function (softmax, GELU, a norm), or a weight that
            is not finite.
    """

    def __init__(
        self,
        transformer: Transformer,
        number: Callable[[Fraction], Number] = Fraction,
        relu: Callable[[Number], Number] = relu,
    ) -> None:
        _refuse_inexact(transformer)
        shape = transformer.shape
        self.loops, self.width = shape.loops, shape.width
        self._sequence = shape.sequence
        self._number, self._relu = number, relu
        self._divide = shape.divide_by_tokens
        self._scale = number(Fraction(shape.score_scale))
        layers: list[TransformerLayer] = list(transformer.layers)  # pyright: ignore[reportAssignmentType]
        self._layers = [
            (
                [] if layer.attention is None else self._heads(layer.attention),
                None if layer.mlp is None else self._mlp(layer.mlp),
            )
            for layer in layers
        ]

    def __call__(self, tokens: Sequence[Row], real: Sequence[bool] | None = None) -> list[Row]:
        """The tokens (N, D) after all loops.

        Args:
            tokens: N rows of D numbers.
            real: True at the tokens that are attended to and counted; all of them unless said. Every layer
                empties the others first, as the runtime does.

        Raises:
            ValueError: a row of another width, a float among the numbers, or no real token.
        """
        h = [list(row) for row in tokens]
        for state in self.passes(tokens, real):
            h = state
        return h

    def passes(self, tokens: Sequence[Row], real: Sequence[bool] | None = None) -> Iterator[list[Row]]:
        """The tokens after each pass through the list of layers, one pass for each loop."""
        h = [list(row) for row in tokens]
        for row in h:
            if len(row) != self.width:
                raise ValueError(f"a token holds {len(row)} numbers; the stream is {self.width} wide")
            if any(isinstance(entry, float) for entry in row):
                raise ValueError("a token holds a float; make it a Fraction, so that nothing is rounded")
        keys = [j for j in range(len(h)) if real is None or real[j]]
        if not keys:
            raise ValueError("no token is real; attention needs at least one")
        share = self._number(Fraction(1, len(keys))) if self._divide else 1
        zero = self._number(Fraction(0))
        for _ in range(self.loops):
            for heads, mlp in (self._layers[number] for number in self._sequence):
                h = [row if real is None or real[j] else [zero] * self.width for j, row in enumerate(h)]
                h = self._attend(h, heads, keys, share)
                if mlp is not None:
                    h = [self._feed(row, *mlp) for row in h]
            yield h

    def _attend(self, h: list[Row], heads: list[tuple[Matrix, ...]], keys: list[int], share: Number):
        out = [list(row) for row in h]
        sparse = [_nonzero(row) for row in h]
        for query, key, value, output in heads:
            k = {j: _product(sparse[j], key) for j in keys}
            v = {j: _product(sparse[j], value) for j in keys}
            written: dict[tuple[tuple[int, Number], ...], Sparse] = {}
            for i, row in enumerate(sparse):
                q = _product(row, query)
                name = tuple(sorted(q.items(), key=lambda entry: entry[0]))
                if name not in written:  # tokens with one query read the same
                    written[name] = _product(self._read(q, k, v, share), output)
                _add(out[i], written[name])
        return out

    def _read(self, q: Sparse, k: dict[int, Sparse], v: dict[int, Sparse], share: Number) -> Sparse:
        read: Sparse = {}
        for j, key in k.items():
            score = sum((q[c] * key[c] for c in q if c in key), start=0)
            weight = self._relu(self._scale * score) if score else 0
            if weight:
                for column, entry in v[j].items():
                    read[column] = read.get(column, 0) + weight * entry
        return {column: share * entry for column, entry in read.items() if entry}

    def _feed(self, row: Row, w1: Matrix, b1: Sparse, w2: Matrix, b2: Sparse) -> Row:
        before = _product(_nonzero(row), w1, b1)
        hidden = {unit: value for unit, entry in before.items() if (value := self._relu(entry))}
        out = list(row)
        _add(out, _product(hidden, w2, b2))
        return out

    def _heads(self, weights: SelfAttention) -> list[tuple[Matrix, ...]]:
        parts = (weights.query, weights.key, weights.value, weights.output)
        return [tuple(self._matrix(part[head]) for part in parts) for head in range(weights.layer.heads)]

    def _mlp(self, mlp: MLP) -> tuple[Matrix, Sparse, Matrix, Sparse]:
        return self._matrix(mlp.w1), self._vector(mlp.b1), self._matrix(mlp.w2), self._vector(mlp.b2)

    def _matrix(self, weight: Tensor) -> Matrix:
        rows: Matrix = {}
        places = weight.detach().nonzero()
        for (source, target), value in zip(
            places.tolist(), weight.detach()[places.unbind(1)].tolist(), strict=True
        ):
            rows.setdefault(source, []).append((target, self._exact(value)))
        return rows

    def _vector(self, weight: Tensor) -> Sparse:
        return {i: self._exact(value) for i, value in enumerate(weight.detach().tolist()) if value}

    def _exact(self, weight: float) -> Number:
        if not math.isfinite(weight):
            raise ValueError(f"a weight is {weight}; exact arithmetic needs finite weights")
        return self._number(Fraction(weight))


def _refuse_inexact(transformer: Transformer) -> None:
    shape = transformer.shape
    for name, value, accepted in (
        ("activation", shape.activation, "relu"),
        ("norm", shape.norm, "none"),
    ):
        if value != accepted:
            raise ValueError(f"{name} is {value!r}; exact rational arithmetic takes {accepted!r} alone")
    for index, layer in enumerate(shape.layers):
        if layer.heads and (kind := shape.kind_of(layer)) != "relu":
            raise ValueError(
                f"layer {index}: attention is {kind!r}; exact rational arithmetic takes 'relu' alone"
            )
        if layer.output_norm:
            raise ValueError(f"layer {index} has an output norm; a root is no fraction, so it is refused")


def _nonzero(row: Row) -> Sparse:
    return {column: entry for column, entry in enumerate(row) if entry}


def _product(row: Sparse, matrix: Matrix, start: Sparse | None = None) -> Sparse:
    """``row @ matrix + start`` without its zeros."""
    out: Sparse = dict(start or {})
    for source, entry in row.items():
        for target, weight in matrix.get(source, ()):
            term = entry if weight == 1 else -entry if weight == -1 else weight * entry
            out[target] = out[target] + term if target in out else term
    return {column: entry for column, entry in out.items() if entry}


def _add(row: Row, amounts: Sparse) -> None:
    for column, amount in amounts.items():
        row[column] = row[column] + amount
