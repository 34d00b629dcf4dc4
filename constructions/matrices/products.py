"""Products of matrices in one layer of attention, exactly.

A matrix lives in a block of the stream, a row a token: token i of its rows carries the row ``A_i`` and the
one-hot ``ids`` of i. A pair of ReLU heads applies a score itself, ``relu(a) - relu(-a) = a``, and a sum over
tokens is a product of matrices:

    C = A B        score <q.A, k.ids>,   read B      row i of C is sum_s A_is B_s
    C = A^T B      score <q.ids, k.A>,   read B      a sum over tokens; of the data, their moments
    C = A B^T      score <q.A, k.B>,     read ids
    C = A^T        score <q.ids, k.A>,   read ids
    C = a A        score <q.ids, k.ids>, read A
    D = A B^T C    score <q.A, k.B>,     read C

Two heads a product, of head dimension at most the width of a row; ``total`` adds products that write one
block, and so C = a A B + b D is one layer. Tokens whose blocks are 0 neither ask nor are attended to. Where C
is wanted at other tokens than those of A, the same product is asked by their ids. Many matrices of one width
stand side by side in one block if their rows have ids of their own: the ids are then one-hot over all rows,
and a left factor is placed among them (constructions.language.gates.place).

Source: ours; paper_notes/matrix_machine.md. That linear attention forms products is in arXiv 2301.13196 and
2403.03183.
"""

from __future__ import annotations

from constructions.language.heads import HeadSum, linear_pair
from constructions.language.scores import Score, dot
from constructions.language.stream import Block, Operand


def score(query: Block, key: Block) -> Score:
    """``<query_i, key_j>``: of blocks, whatever their names."""
    return dot(Operand(query, "query"), Operand(key, "key"))


def times(A: Block, ids: Block, B: Block, write: Block, scale: float = 1.0) -> HeadSum:
    """``C = scale A B``: A (n, m), B (m, w) at the tokens with ``ids`` of width m."""
    return linear_pair(score(A, ids), B, write, scale)


def transposed_times(ids: Block, A: Block, B: Block, write: Block, scale: float = 1.0) -> HeadSum:
    """``C = scale A^T B``: A (n, m), B (n, w) at the same n tokens, C (m, w) at those with ``ids``."""
    return linear_pair(score(ids, A), B, write, scale)


def times_transposed(A: Block, B: Block, ids: Block, write: Block, scale: float = 1.0) -> HeadSum:
    """``C = scale A B^T``: A (n, w), B (m, w) at the tokens with ``ids`` of width m."""
    return linear_pair(score(A, B), ids, write, scale)


def triple(A: Block, B: Block, C: Block, write: Block, scale: float = 1.0) -> HeadSum:
    """``D = scale A B^T C``: A (n, w), B (m, w), C (m, v) with the rows of B and C at the same m tokens.

    Three factors in one layer: a step of Newton's ``X (2 I - A X) = 2 X - X A X`` needs no second layer.
    """
    return linear_pair(score(A, B), C, write, scale)


def transposed(ids: Block, A: Block, write: Block, scale: float = 1.0) -> HeadSum:
    """``C = scale A^T``, A square, or its rows and columns at the tokens with ``ids`` alike."""
    return transposed_times(ids, A, ids, write, scale)


def scaled(ids: Block, A: Block, write: Block, scale: float = 1.0) -> HeadSum:
    """``C = scale A``; with ``A = ids`` a multiple of the identity."""
    return times(ids, ids, A, write, scale)


def total(*products: HeadSum) -> HeadSum:
    """Their sum: products that write one block in one layer."""
    return HeadSum(tuple(head for product in products for head in product.heads))
