"""Means and weights from what the tensor power method found: mu_k = lambda_k B v_k, pi_k ~ lambda_k^-2.

1 / p of p = lambda^2, and then of the sum of the weights, by Newton's iteration X <- X (2 I - A X) on
diagonal matrices, a row a component.
"""

from __future__ import annotations

from constructions.language.assembly import Layer
from constructions.language.gates import place
from constructions.language.heads import linear_pair
from constructions.language.mlp import clear, copy, move
from constructions.language.program import Repeat
from constructions.language.stream import Stream
from constructions.matrices.inverse import newton_layer
from constructions.matrices.products import score, times
from constructions.spectral.plan import Plan


def means_layer(s: Stream, bound: float) -> Layer:
    """``mu_k = lambda_k B v_k``, and lambda_k on a diagonal."""
    return Layer(
        "means",
        heads=(times(s.found, s.row, s.P, s.mu),),
        mlp=(place(s.values, by=s.row, write=s.D, bound=bound),),
    )


def squares_layer(s: Stream, start: float) -> Layer:
    """``A = diag(lambda_k^2)``, and X to start from."""
    return Layer("squares", heads=(times(s.D, s.row, s.D, s.A),), mlp=(copy(s.row, s.X, start), clear(s.D)))


def sum_layer(s: Stream, start: float, bound: float) -> Layer:
    """``A = (sum_k pi_k) I`` with the raw weights on a diagonal."""
    return Layer(
        "sum",
        heads=(linear_pair(score(s.ones, s.X), s.is_row, s.sum),),
        mlp=(
            move(s.X, s.raw),
            clear(s.A),
            place(s.sum, by=s.row, write=s.A, bound=bound),
            copy(s.row, s.X, start),
            clear(s.sum),
        ),
    )


def weights_layer(s: Stream) -> Layer:
    """``pi_k / sum_j pi_j``."""
    return Layer(
        "weights",
        heads=(times(s.raw, s.row, s.X, s.weight),),
        mlp=(clear(s.A), clear(s.X)),
    )


def recovery(s: Stream, plan: Plan) -> tuple[Layer | Repeat, ...]:
    """Means at the rows, raw and normalised weights on diagonals."""
    start, steps = plan.first_reciprocal, plan.reciprocals
    newton = Repeat(steps, (newton_layer(s.row, s.A, s.X, s.D),))
    return (
        means_layer(s, plan.tensor_bound),
        squares_layer(s, start),
        newton,
        sum_layer(s, start, plan.sum_bound),
        newton,
        weights_layer(s),
    )
