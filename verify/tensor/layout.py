"""Theorem 2 in exact numbers: the forms of its weights, its tokens, its iteration.

    v <- T(I, v, v),        T(I, v, v)_i = sum_jm T_ijm v_j v_m

All functions here take any exact numbers: fractions, symbols, polynomials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from constructions.language.stream import Stream
from constructions.tensor_power.relu import TensorPowerConstruction, tensor_power_construction

Vector = Sequence[Any]
Cube = Sequence[Sequence[Sequence[Any]]]


@dataclass(frozen=True)
class Form:
    """Which weights: heads in pairs or shifted by an offset, attention that sums or takes the mean."""

    offset: bool
    mean: bool

    def build(self, max_dim: int, steps: int, bound: int) -> TensorPowerConstruction:
        """The construction; ``bound`` is used by the offset form alone, and must be a float exactly.

        Raises:
            ValueError: a bound that is no float.
        """
        if self.offset and int(float(bound)) != bound:
            raise ValueError(f"the offset is {bound}; it must be a number that a float holds exactly")
        offset = float(bound) if self.offset else None
        return tensor_power_construction(max_dim, steps, offset=offset, divide_by_tokens=self.mean)

    def __str__(self) -> str:
        return f"{'offset' if self.offset else 'pairs'}/{'mean' if self.mean else 'sum'}"


FORMS = tuple(Form(offset, mean) for offset in (False, True) for mean in (False, True))


def contracted(T: Cube, v: Vector) -> list[Any]:
    """``T(I, v, v)``, by its definition."""
    d = range(len(v))
    return [sum((T[i][j][m] * v[j] * v[m] for j in d for m in d), start=0 * v[0]) for i in d]


def layout(
    stream: Stream, form: Form, T: Cube, v: Vector, tokens: int, piecewise: bool = False
) -> list[list[Any]]:
    """The tokens (N, D) of T and v: the d real ones first, then ``tokens - d`` of padding.

    Token j holds ``id = n e_j``, v, ``s = n v_j``, the slice ``T[:, j, :]``, and the first one ``unit = n``;
    n is d where attention takes the mean, else 1. Padding holds 0. With the piecewise norm ``id = n^2 e_j``
    and the first token alone holds v.
    """
    s, d, d0 = stream, len(v), stream.v.width
    n = d if form.mean else 1
    rows = []
    for j in range(tokens):
        row: list[Any] = [0] * s.width
        rows.append(row)
        if j >= d:
            continue
        if j == 0 or not piecewise:
            row[s.v.start : s.v.start + d] = v
        if form.offset:
            row[s.one.start] = 1
        if j == 0:
            row[s.unit.start] = n
        row[s.id.start + j] = n * n if piecewise else n
        row[s.s.start] = n * v[j]
        for i in range(d):
            for m in range(d):
                row[s.T.start + m * d0 + i] = T[i][j][m]
            if form.offset:
                row[s.T_sum.start + i] = sum(T[i][j])
    return rows
