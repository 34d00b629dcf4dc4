"""The moments of the points, and the space of the K largest eigenvalues of the second.

m = (1/N) sum_i x_i,   M2 = (1/N) sum_i x_i x_i^T - s I,   Y <- a well-conditioned basis of the rows of Y M2
"""

from __future__ import annotations

import math

from constructions.language.assembly import Layer
from constructions.language.gates import pick, place
from constructions.language.heads import HeadSum, linear_pair
from constructions.language.mlp import MLPPart, clear, move
from constructions.language.program import Repeat
from constructions.language.stream import Stream
from constructions.matrices.products import scaled, score, times, total, transposed_times, triple

REST = 2.0**-50
"""What every token writes beside a vector that is normalised: a token without one has something to divide by.

A vector w becomes w / sqrt(|w|^2 + REST^2).
"""

STRETCH = (9 / 4, 27 / 16)
"""``p(x) = 9/4 x - 27/16 x^3`` of the singular values: it keeps [9/16, 1] and stretches what is below.

p rises to p(2/3) = 1 and falls to p(1) = 9/16, so it maps [l, 1] into [min(p(l), 9/16), 1], and p(l) / l is
between 1.71 and 9/4 for l <= 9/16. Newton-Schulz, 3/2 x - x^3/2, needs twice as many steps.
"""


def stretched(value: float, steps: int) -> float:
    """A lower bound, at most 9/16, of a singular value in [value, 1] after ``steps`` steps of STRETCH."""
    linear, cubic = STRETCH
    for _ in range(steps):
        value = min(9 / 16, linear * value - cubic * value**3)
    return value


def stretches_needed(value: float) -> int:
    """The fewest steps, at least 1, after which all of [value, 1] is in [9/16, 1]."""
    steps = 1
    while stretched(value, steps) < 9 / 16:
        steps += 1
    return steps


def rest(s: Stream) -> HeadSum:
    """REST at every token."""
    return transposed_times(s.one, s.pivot, s.pivot, s.rest, scale=REST)


def noise_parts(s: Stream, largest: float) -> tuple[MLPPart, ...]:
    """s where it is wanted: s e_p at the coordinates, and in the tokens that subtract the noise from T."""
    parts = [place(s.s, by=s.id, write=s.sI, bound=largest)]
    if "pair" in s:
        parts += [pick(s.s, by=s.diagonal, write=s.trace, bound=largest)]
    else:
        parts += [
            place(s.s, by=s.plus, write=s.s_plus, bound=largest),
            place(s.s, by=s.minus, write=s.s_minus, bound=largest),
            pick(s.s, by=s.side, write=s.s_side, bound=largest),
            pick(s.s, by=s.centre, write=s.s_centre, bound=largest),
        ]
    return tuple(parts)


def moments_layer(s: Stream, parts: tuple[MLPPart, ...]) -> Layer:
    """The rows of (1/N) sum x x^T at the coordinates, and m wherever it is wanted."""
    heads = [transposed_times(s.id, s.x, s.xn, s.S2)]
    if "m" in s:
        heads.append(transposed_times(s.one, s.data, s.xn, s.m))
    if "around" in s:
        heads.append(transposed_times(s.around, s.data, s.xn, s.mx))
    if "m_pivot" in s:
        heads.append(transposed_times(s.pivot, s.data, s.xn, s.m_pivot))
    return Layer("moments", tuple(heads), parts)


def noise_layer(s: Stream) -> Layer:
    """``M2 = S2 - s I``; without products, the weighted m of the noise tokens: s m, or -s m / 2 at a side."""
    heads = [total(scaled(s.id, s.S2, s.M2), scaled(s.id, s.sI, s.M2, -1.0))]
    if "around" in s:
        weight = score(s.s_centre, s.data) - 0.5 * score(s.s_side, s.data)
        heads.append(linear_pair(weight, s.xn, s.mxn))
    return Layer("less noise", tuple(heads))


def multiply_layer(s: Stream) -> Layer:
    """``Y <- Y M2``, each row divided by its length."""
    return Layer(
        "multiply",
        heads=(times(s.Y, s.id, s.M2, s.Z), rest(s)),
        mlp=(clear(s.Y), move(s.Z, s.Y), clear(s.rest)),
        unit_output=True,
    )


def correct_layer(s: Stream, scale: float) -> Layer:
    """``Y <- 9/4 scale Y - 27/16 scale^3 Y Y^T Y``: a step of STRETCH from scale Y."""
    linear, cubic = STRETCH
    step = total(scaled(s.row, s.Y, s.Z, linear * scale), triple(s.Y, s.Y, s.Y, s.Z, -cubic * scale**3))
    name = "correct" if scale == 1 else "correct, scaled"
    return Layer(name, heads=(step,), mlp=(clear(s.Y), move(s.Z, s.Y)))


def subspace_rounds(s: Stream, rounds: int, corrections: int) -> Repeat:
    """``rounds`` times: Y M2, then ``corrections`` steps that bring the singular values near each other.

    The rows have length 1 after the product, so the singular values of Y are at most sqrt(K): the first step
    divides by sqrt(K0).
    """
    first = correct_layer(s, 1 / math.sqrt(s.row.width))
    again = () if corrections == 1 else (Repeat(corrections - 1, (correct_layer(s, 1.0),)),)
    return Repeat(rounds, (multiply_layer(s), first, *again))
