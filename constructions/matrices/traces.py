"""Traces, inner products, scalars as a column or on a diagonal: the MLP, and sums over tokens by attention.

    tr A    = sum_i A_ii                   <A, B> = tr(A B^T) = sum_ij A_ij B_ij

Attention forms no product of two parts of one token, so the diagonal is picked by the one-hot ids, exactly
for entries within a bound; where they may be larger it is wrong.
"""

from __future__ import annotations

from constructions.language.assembly import Layer
from constructions.language.gates import Gated, pick, place
from constructions.language.heads import HeadSum, linear_pair
from constructions.language.mlp import clear
from constructions.language.stream import Block
from constructions.matrices.products import score, times_transposed


def diagonal(A: Block, ids: Block, write: Block, bound: float) -> Gated:
    """``write_i = A_ii`` for ``|A_ij| <= bound``: a part of an MLP."""
    return pick(A, by=ids, write=write, bound=bound)


def as_column(ids: Block, A: Block, member: Block, write: Block) -> HeadSum:
    """``write_i = A_ii`` of a diagonal A, exactly and without a bound: 2 heads.

    ``sum_j A_ji member_j``, in general a sum of column i; ``member`` is 1 at the tokens with ids.
    """
    return linear_pair(score(ids, A), member, write)


def as_diagonal(column: Block, ids: Block, write: Block, bound: float) -> Gated:
    """``write_i = column_i e_i`` for ``|column| <= bound``: a part of an MLP."""
    return place(column, by=ids, write=write, bound=bound)


def summed(group: Block, column: Block, write: Block, scale: float = 1.0) -> HeadSum:
    """``write_i = scale * sum of column`` over the tokens of one ``group``: one-hot, or of width 1."""
    return linear_pair(score(group, group), column, write, scale)


def trace_layers(
    ids: Block, group: Block, A: Block, column: Block, write: Block, bound: float
) -> list[Layer]:
    """``write = tr A`` at every token of the matrix: two layers; ``column`` is empty before and after."""
    return [
        Layer("diagonal", mlp=(diagonal(A, ids, column, bound),)),
        Layer("trace", (summed(group, column, write),), (clear(column),)),
    ]


def inner_layers(
    ids: Block, group: Block, A: Block, B: Block, product: Block, column: Block, write: Block, bound: float
) -> list[Layer]:
    """``write = <A, B>`` at every token of the matrices: two layers.

    Args:
        ids: one-hot over the rows. A, B: as wide as each other. product: as wide as ids; it and ``column``
            are empty before and after. bound: on every entry of A B^T.
    """
    products = times_transposed(A, B, ids, product)
    return [
        Layer("A B^T", (products,), (diagonal(product, ids, column, bound), clear(product))),
        Layer("trace", (summed(group, column, write),), (clear(column),)),
    ]
