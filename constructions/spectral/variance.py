"""The variance s, estimated: the least eigenvalue of the covariance C, by inverse power iteration.

    X <- X (2 I - C X) -> C^-1,   b <- X b / |X b|,   s = <b, C b>

The least eigenvalues of a sample lie close together, and so some rounds give b a first s, then X <- s X has
its largest eigenvalue near 1 and is squared again and again, X <- X^2, and b goes through the power.

K <= d means span, about their average, at most K - 1 directions, so the least eigenvalue of the population is
s (Hsu and Kakade 2013, Theorem 1).
"""

from __future__ import annotations

from constructions.language.assembly import Layer
from constructions.language.gates import place
from constructions.language.mlp import MLPPart, clear, copy, move
from constructions.language.program import Repeat
from constructions.language.stream import Stream
from constructions.matrices.inverse import newton_layer
from constructions.matrices.products import scaled, times, times_transposed, total, transposed_times
from constructions.spectral.moments import rest
from constructions.spectral.plan import Plan


def covariance_layer(s: Stream, start: float) -> Layer:
    """``C = S2 - m m^T``, X = start I, and a direction b at the pivot."""
    both = total(scaled(s.id, s.S2, s.C), transposed_times(s.id, s.m_pivot, s.m_pivot, s.C, -1.0))
    return Layer(
        "covariance",
        heads=(both, transposed_times(s.pivot, s.pivot, s.direction, s.b)),
        mlp=(copy(s.id, s.inverse, start), clear(s.m_pivot)),
    )


def inverse_power(s: Stream, steps: int) -> Repeat:
    """``b <- X b / |X b|``."""
    layer = Layer(
        "inverse power",
        heads=(times(s.b, s.id, s.inverse, s.b_new), rest(s)),
        mlp=(clear(s.b), move(s.b_new, s.b), clear(s.rest)),
        unit_output=True,
    )
    return Repeat(steps, (layer,))


def value_layers(s: Stream, parts: tuple[MLPPart, ...], last: bool) -> tuple[Layer, Layer, Layer]:
    """``s = <b, C b>`` at every token, then ``parts``; what is not used after the last time is emptied."""
    name = "" if last else "first "
    spent = (clear(s.inverse), clear(s.C)) if last else ()
    image = Layer(f"{name}image of b", heads=(times(s.b, s.id, s.C, s.Cb),), mlp=spent)
    value = Layer(
        f"{name}variance",
        heads=(times_transposed(s.Cb, s.b, s.pivot, s.s_pivot),),
        mlp=(clear(s.Cb), clear(s.b)) if last else (clear(s.Cb),),
    )
    spread = Layer(
        f"{name}variance everywhere",
        heads=(transposed_times(s.one, s.s_pivot, s.pivot, s.s),),
        mlp=(*parts, clear(s.s_pivot)),
    )
    return image, value, spread


def squarings(s: Stream, largest: float, number: int) -> tuple[Layer | Repeat, ...]:
    """``X <- s X`` with the s found so far, then ``X <- X^2`` as often as said."""
    first = value_layers(s, (place(s.s, by=s.id, write=s.s_id, bound=largest),), last=False)
    scale = Layer(
        "scale the inverse",
        heads=(times(s.s_id, s.id, s.inverse, s.improved),),
        mlp=(clear(s.inverse), clear(s.s_id), clear(s.s), move(s.improved, s.inverse)),
    )
    square = Layer(
        "square the inverse",
        heads=(times(s.inverse, s.id, s.inverse, s.improved),),
        mlp=(clear(s.inverse), move(s.improved, s.inverse)),
    )
    return *first, scale, Repeat(number, (square,))


def estimated_variance(s: Stream, plan: Plan, parts: tuple[MLPPart, ...]) -> tuple[Layer | Repeat, ...]:
    """From S2 and m to s: steps of the inverse, squarings, as many steps again; then ``parts``."""
    power = inverse_power(s, plan.inverse_steps)
    return (
        covariance_layer(s, 1 / plan.eigenvalues[1]),
        Repeat(plan.inversions, (newton_layer(s.id, s.C, s.inverse, s.improved),)),
        power,
        *squarings(s, plan.largest_variance, plan.squarings),
        power,
        *value_layers(s, parts, last=True),
    )
