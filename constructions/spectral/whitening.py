"""Whitening: W with W M2 W^T = I on the rows of Y, and P = W M2, by Newton-Schulz steps.

    W <- (3 W - P W^T W) / 2,   P <- (3 P - P W^T P) / 2          from W = a Y, P = a Y M2

after steps with 9/4 and 27/16 in the place of 3/2 and 1/2, which bring the singular values to [9/16, 1]
(moments.STRETCH). Three factors are one score and one value, and so a step is one layer.

P W^T is the Gram matrix of W in the inner product of M2, so this is the iteration for the orthonormal factor
in that product: it needs no square root and no scale. W is K x d, its rows the columns of the W of
baselines/spectral.py, and P = B^T.
"""

from __future__ import annotations

from constructions.language.assembly import Layer
from constructions.language.mlp import clear, move
from constructions.language.program import Repeat
from constructions.language.stream import Stream
from constructions.matrices.products import scaled, times, total, triple
from constructions.spectral.moments import STRETCH

NEWTON_SCHULZ = (1.5, 0.5)
"""``3/2 x - x^3/2`` of the singular values: 1 - x^2 is squared, up to (3 + (1 - x^2)) / 4."""


def take_up_layer(s: Stream, scale: float) -> Layer:
    """``P = scale Y M2`` and ``W = scale Y``."""
    return Layer("take up", heads=(times(s.Y, s.id, s.M2, s.P, scale),), mlp=(move(s.Y, s.W, scale),))


def whiten_layer(s: Stream, linear: float, cubic: float) -> Layer:
    """``W <- linear W - cubic P W^T W`` and the same factor for P."""
    return Layer(
        f"whiten, {linear:g}",
        heads=(
            total(scaled(s.row, s.W, s.Z, linear), triple(s.P, s.W, s.W, s.Z, -cubic)),
            total(scaled(s.row, s.P, s.Q, linear), triple(s.P, s.W, s.P, s.Q, -cubic)),
        ),
        mlp=(clear(s.W), clear(s.P), move(s.Z, s.W), move(s.Q, s.P)),
    )


def refresh_layer(s: Stream) -> Layer:
    """``P = W M2`` anew: what rounding has made of it is gone."""
    return Layer("refresh", heads=(times(s.W, s.id, s.M2, s.Q),), mlp=(clear(s.P), move(s.Q, s.P)))


def whitening(s: Stream, largest: float, stretches: int, steps: int) -> tuple[Layer | Repeat, ...]:
    """``stretches`` steps towards each other, ``steps`` of Newton-Schulz, and one more from a fresh P.

    The eigenvalues of Y M2 Y^T are at most ``largest`` for a Y of norm 1: a = 1 / sqrt(largest).
    """
    stretch, whiten = whiten_layer(s, *STRETCH), whiten_layer(s, *NEWTON_SCHULZ)
    refresh = refresh_layer(s)
    return (
        take_up_layer(s, largest**-0.5),
        Repeat(stretches, (stretch,)),
        Repeat(steps, (whiten,)),
        refresh,
        whiten,
        refresh,
    )
