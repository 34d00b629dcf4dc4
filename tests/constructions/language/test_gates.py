"""Functions of differences, functions behind gates, rows picked by gates, sums of parts: three evaluations.

Every part is run as compiled weights in fractions, from its formula in fractions, and from its formula in
floating point; the first two agree exactly with the formula written out here.
"""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from constructions import Construction, Layer, ReluHead, Stream, dot
from constructions.language import curves
from constructions.language.gates import apply_where, contract
from constructions.language.mlp import MLPPart, apply, copy, move, summed
from constructions.language.piecewise import PiecewiseLinear, chords, uniform
from constructions.language.rational import ExactTransformer
from constructions.language.rounding import gamma, unit_roundoff
from constructions.language.structured.arithmetic import (
    ExactArithmetic,
    FloatArithmetic,
    in_fractions,
    rows_of,
)
from constructions.language.structured.evaluation import StructuredEvaluator
from constructions.language.structured.partitions import Places, Tokens, Value

S = Stream(x=2, rows=6, by=3, other=2, pair=2, each=6, total=3, scalar=1, junk=1, one=1)
SQUARE = chords(curves.square, uniform(-4.0, 4.0, 8), anchor=4)
RECIPROCAL = chords(curves.reciprocal, np.array([0.25, 0.5, 1.0, 2.0, 4.0]), inputs=(0.0, 8.0))
HEAD = ReluHead(dot(S.query.one, S.key.one), S.one, S.junk)
BOUND = 8.0
GRID = st.integers(-16, 16).map(lambda n: n / 8)

Numbers = NDArray[np.object_]


def exactly(function: PiecewiseLinear, x: Fraction) -> Fraction:
    """The sum of hinges in fractions."""
    found = Fraction(function.offset)
    for t, s, c in zip(function.hinge_knots, function.hinge_signs, function.hinge_weights, strict=True):
        found += Fraction(c) * max(Fraction(s) * (x - Fraction(t)), Fraction(0))
    return found


def construction(*parts: MLPPart) -> Construction:
    return Construction(
        "trial", "a test", S, (S.x, S.rows, S.by, S.other, S.one), (Layer("trial", (HEAD,), parts),)
    )


def tokens(x: list[float], rows: list[float], by: list[float], other: list[float]) -> Tokens:
    places = Places(torch.ones(1, 1, dtype=torch.bool))
    held = {S.x: x, S.rows: rows, S.by: by, S.other: other, S.one: [1.0]}
    values = {
        b: Value(places.each, torch.tensor(v, dtype=torch.float64)[None, :, None]) for b, v in held.items()
    }
    return Tokens(S, places, values)


def written(built: Construction, given_tokens: Tokens) -> tuple[Numbers, Numbers]:
    """The stream after the layer: from compiled weights, and from the formulas, both in fractions."""
    start = in_fractions(given_tokens)
    dense = ExactTransformer(built.to_transformer())(
        [[Fraction(v) for v in given_tokens.dense()[0, 0].tolist()]]
    )
    formulas = StructuredEvaluator(built, ExactArithmetic())
    return np.array(dense[0]), rows_of(formulas.block(formulas.start(start))[-1])[0, 0]


SIX, TWO, THREE = (st.lists(GRID, min_size=n, max_size=n) for n in (6, 2, 3))
ONE_HOT = st.sampled_from([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])


@given(x=TWO, rows=SIX, by=ONE_HOT, other=TWO)
def test_a_function_of_differences(
    x: list[float], rows: list[float], by: list[float], other: list[float]
) -> None:
    whole = construction(apply(SQUARE, S.x, S.each, 0.5, minus=S.rows))
    halves = construction(apply(SQUARE, S.x, S.total, 0.5, minus=S.rows))
    wanted = [
        exactly(SQUARE, Fraction(x[q]) - Fraction(rows[2 * n + q])) / 2 for n in range(3) for q in range(2)
    ]
    for stream in written(whole, tokens(x, rows, by, other)):
        assert stream[S.each.slice].tolist() == wanted
    for stream in written(halves, tokens(x, rows, by, other)):
        assert stream[S.total.slice].tolist() == [wanted[2 * n] + wanted[2 * n + 1] for n in range(3)]


@given(x=st.lists(st.floats(0, 8), min_size=2, max_size=2), by=ONE_HOT, rows=SIX)
def test_a_function_behind_gates(x: list[float], by: list[float], rows: list[float]) -> None:
    outer = construction(apply_where(RECIPROCAL, S.x, S.by, S.each))
    wanted = [Fraction(by[n]) * exactly(RECIPROCAL, Fraction(x[q])) for n in range(3) for q in range(2)]
    dense, formulas = written(outer, tokens(x, rows, by, [0.0, 0.0]))
    assert formulas[S.each.slice].tolist() == wanted
    # Stored biases are rounded, -s t - B: each knot moves by at most u (|t| + B), times its slope change.
    u, weights = unit_roundoff(torch.float64), np.abs(RECIPROCAL.hinge_weights)
    slack = float((weights * (np.abs(RECIPROCAL.hinge_knots) + 8.0)).sum()) * u
    for found, want in zip(dense[S.each.slice], wanted, strict=True):
        assert abs(found - want) <= slack


@given(x=st.lists(st.floats(0, 8), min_size=2, max_size=2), by=ONE_HOT)
def test_factors_of_gates(x: list[float], by: list[float]) -> None:
    one = construction(apply_where(RECIPROCAL, S.x, S.by, S.pair, (2.0, 3.0, 5.0)))
    wanted = [
        sum(f * Fraction(e) for f, e in zip((2, 3, 5), by, strict=True)) * exactly(RECIPROCAL, Fraction(v))
        for v in x
    ]
    _, formulas = written(one, tokens(x, [0.0] * 6, by, [0.0, 0.0]))
    assert formulas[S.pair.slice].tolist() == wanted


@given(rows=SIX, by=ONE_HOT)
def test_contract_picks_the_row_that_a_gate_points_at(rows: list[float], by: list[float]) -> None:
    picked = construction(contract(S.rows, S.by, S.pair, BOUND))
    wanted = [sum(Fraction(by[m]) * Fraction(rows[2 * m + q]) for m in range(3)) for q in range(2)]
    for stream in written(picked, tokens([0.0, 0.0], rows, by, [0.0, 0.0])):
        assert stream[S.pair.slice].tolist() == wanted


@given(x=TWO, other=TWO, by=ONE_HOT)
def test_parts_that_write_one_block_are_added(x: list[float], other: list[float], by: list[float]) -> None:
    parts = summed(apply(SQUARE, S.x, S.pair), move(S.other, S.pair, -1.0))
    wanted = [exactly(SQUARE, Fraction(a)) - Fraction(b) for a, b in zip(x, other, strict=True)]
    for stream in written(construction(parts), tokens(x, [0.0] * 6, by, other)):
        assert stream[S.pair.slice].tolist() == wanted
        assert stream[S.other.slice].tolist() == [0, 0]
    assert str(parts) == "square~8 on [-4, 4](x) + -1 other"


@given(x=TWO, rows=SIX, by=ONE_HOT, other=TWO)
def test_in_floating_point_they_are_what_they_are_in_fractions(
    x: list[float], rows: list[float], by: list[float], other: list[float]
) -> None:
    positive = [abs(v) for v in x]
    built = construction(
        apply(SQUARE, S.x, S.total, minus=S.rows),
        apply_where(RECIPROCAL, S.x, S.by, S.each),
        summed(contract(S.rows, S.by, S.pair, BOUND), copy(S.other, S.pair)),
    )
    start = tokens(positive, rows, by, other)
    exact, _ = written(built, start)
    layers = StructuredEvaluator(built, FloatArithmetic(torch.float64, "cpu"))
    with torch.no_grad():
        dense = built.to_transformer()(start.dense())[0, 0]
    formulas = layers.block(layers.start(start))[-1].dense()[0, 0]
    # Slopes sum to 16 on both sides of 0 and to 12 for 1/x; arguments and gates are below 24. One unit takes
    # 3 products and sums, a column at most 40 units more.
    slack = 2 * gamma(43, unit_roundoff(torch.float64)) * 40 * 24 * 16
    for stream in (dense, formulas):
        assert float(np.abs(stream.numpy() - exact.astype(float)).max()) <= slack


def test_widths_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"contract reads x\[0:2\] by by\[8:11\]"):
        contract(S.x, S.by, S.each.part(0), BOUND)
    with pytest.raises(ValueError, match=r"its width must be 3 / 1 \* 2"):
        apply_where(RECIPROCAL, S.x, S.by, S.total)
    with pytest.raises(ValueError, match="columns in common"):
        apply(SQUARE, S.x, S.x, minus=S.x)
    with pytest.raises(ValueError, match="write one block"):
        summed(copy(S.x, S.pair), copy(S.rows, S.each))
