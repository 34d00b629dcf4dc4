"""The tensor power method on the entries of T: parallel starts, the best of them, deflation.

    v <- T(I, v, v) / |T(I, v, v)|,   lambda = T(v, v, v),   T <- T - lambda v (x) v (x) v

All K tokens (s, i) of start s hold v. Two layers a step: v (x) v is a sum over the tokens of the start, each
bringing v_i (e_i (x) v); contracted with T it is a product with the entries. Both factors are of the token
that brings them, and so all tokens of a start receive the same: were one of them of the token that asks, what
rounding makes different between tokens of a start would be kept from step to step, and can grow.
"""

from __future__ import annotations

from constructions.language import curves
from constructions.language.assembly import Layer
from constructions.language.gates import pick, place
from constructions.language.heads import ReluHead, linear_pair
from constructions.language.mlp import MLPPart, apply, clear, move
from constructions.language.piecewise import chords, uniform
from constructions.language.program import Repeat
from constructions.language.scores import dot, key_only
from constructions.language.stream import Block, Stream
from constructions.matrices.products import scaled, score, times, times_transposed, total, transposed_times
from constructions.spectral.moments import rest

UNIT = 2.0
"""Bound of the coordinates of a vector of length 1, for the parts of the MLP that need one."""


def _placed(s: Stream, v: Block) -> tuple[MLPPart, MLPPart]:
    """At the token (s, i): v_i among the starts, and v among the axes."""
    return pick(v, by=s.place, write=s.v_start, bound=UNIT), place(v, by=s.axis, write=s.v_axis, bound=UNIT)


def start_layer(s: Stream) -> Layer:
    """``v = W g / |W g|``: a direction g of the space of the points, whitened."""
    heads = (times_transposed(s.direction, s.W, s.row, s.v), rest(s))
    return Layer("start", heads, (*_placed(s, s.v), clear(s.rest)), unit_output=True)


def square_layer(s: Stream, keep: bool) -> Layer:
    """``v (x) v`` at every token of its start; with ``keep``, v stays as well."""
    products = linear_pair(score(s.start, s.v_start), s.v_axis, s.vv)
    kept = () if keep else (clear(s.v), clear(s.v_start))
    return Layer("square, v kept" if keep else "square", heads=(products,), mlp=(*kept, clear(s.v_axis)))


def contract_layer(s: Stream) -> Layer:
    """``v = T(I, v, v) / |T(I, v, v)|``."""
    heads = (times(s.vv, s.entry, s.T, s.v), rest(s))
    return Layer("contract", heads, (*_placed(s, s.v), clear(s.vv), clear(s.rest)), unit_output=True)


def power_steps(s: Stream, steps: int) -> Repeat:
    """``steps`` of the iteration."""
    return Repeat(steps, (square_layer(s, keep=False), contract_layer(s)))


def image_layer(s: Stream, bound: float) -> Layer:
    """The coordinate i of ``w = T(I, v, v)`` at the token (s, i); ``bound`` is one of |w_i|."""
    return Layer(
        "image",
        heads=(times(s.vv, s.entry, s.T, s.w),),
        mlp=(pick(s.w, by=s.axis, write=s.wi, bound=bound), clear(s.w), clear(s.vv)),
    )


def value_layer(s: Stream) -> Layer:
    """``theta = <v, T(I, v, v)>`` less the start's handicap: of two starts that tie the first is better."""
    value = linear_pair(score(s.start, s.v_start), s.wi, s.theta)
    handicap = linear_pair(score(s.start, s.start), s.handicap, s.theta, -1.0)
    return Layer("value", heads=(total(value, handicap),), mlp=(clear(s.v_start), clear(s.wi)))


def choose_layer(s: Stream, margin: float) -> Layer:
    """How far a start is behind those that are better, summed: 0 at the best alone; 1 there, 0 elsewhere.

    As constructions.matrices.argmax, but asked by all tokens of a start. What it says at other tokens meets
    v = 0.
    """
    query, key = s.query, s.key
    score = key_only(key.theta) - dot(query.theta, key.one)
    behind = ReluHead(score, read=s.lead, write=s.behind, scale=1 / margin)
    falling = chords(curves.complement, uniform(0.0, 1.0, 1))
    return Layer(
        "choose",
        heads=(behind,),
        mlp=(apply(falling, read=s.behind, write=s.chosen), clear(s.theta), clear(s.behind)),
    )


def best_layer(s: Stream) -> Layer:
    """The chosen v for every start; that its K tokens all bring it is divided out."""
    return Layer(
        "best",
        heads=(transposed_times(s.one, s.chosen, s.v, s.best), rest(s)),
        mlp=(clear(s.v), clear(s.chosen), move(s.best, s.v), *_placed(s, s.best), clear(s.rest)),
        unit_output=True,
    )


def selection(s: Stream, bound: float, margin: float) -> tuple[Layer, ...]:
    """v of the start with the largest T(v, v, v), for all of them."""
    kept = square_layer(s, keep=True)
    return kept, image_layer(s, bound), value_layer(s), choose_layer(s, margin), best_layer(s)


def deflation(s: Stream) -> tuple[Layer, ...]:
    """lambda v found, its term taken from T, both written to the row whose turn it is."""
    kept = square_layer(s, keep=True)
    image = Layer(
        "eigenvector",
        heads=(times(s.vv, s.entry, s.T, s.w), linear_pair(score(s.pivot, s.pivot), s.vv, s.vv_pivot)),
        mlp=(clear(s.vv), clear(s.v_start)),
    )
    value = Layer("eigenvalue", heads=(linear_pair(score(s.w, s.v), s.pivot, s.value),), mlp=(clear(s.w),))
    scale = Layer("scale", heads=(linear_pair(score(s.value, s.pivot), s.v, s.lv),), mlp=(clear(s.v),))
    deflate = Layer(
        "deflate",
        heads=(
            total(
                scaled(s.entry, s.T, s.T_left), times_transposed(s.entry, s.vv_pivot, s.lv, s.T_left, -1.0)
            ),
            total(scaled(s.row, s.found, s.new), times(s.row, s.turn, s.lv, s.new)),
            total(scaled(s.row, s.values, s.new_value), times(s.row, s.turn, s.value, s.new_value)),
            times(s.turn, s.row, s.next, s.new_turn),
        ),
        mlp=(
            *(clear(block) for block in (s.T, s.found, s.values, s.turn, s.vv_pivot, s.lv, s.value)),
            *(
                move(new, old)
                for new, old in (
                    (s.T_left, s.T),
                    (s.new, s.found),
                    (s.new_value, s.values),
                    (s.new_turn, s.turn),
                )
            ),
        ),
    )
    return kept, image, value, scale, deflate


def tensor_power(s: Stream, steps: int, bound: float, margin: float) -> Repeat:
    """K0 components: the starts, ``steps`` of each, the best, ``steps`` of it, deflation."""
    again = power_steps(s, steps)
    found = (start_layer(s), again, *selection(s, bound, margin), again, *deflation(s))
    return Repeat(s.row.width, found)
