"""Bounds on rounding hold for whatever order and blocks, and are near what rounding does."""

import itertools
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from networks import random_tokens, random_transformer

from constructions.language.rounding import gamma
from verify.certify.network.rounding import (
    Format,
    Near,
    _averaged,
    attended_within,
    exactly,
    fed_within,
    normed_within,
    written_within,
)

F32 = Format.of(torch.float32)
numbers = st.floats(-(2.0**40), 2.0**40, width=32)
pairs = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=6)


def within(found: Near, exact: Fraction, computed: float) -> None:
    """What the error is for: the exact and the computed number, from each other and from the value."""
    error, value = Fraction(float(found.error)), Fraction(float(found.value))
    assert abs(exact - Fraction(computed)) <= error
    assert max(abs(exact - value), abs(Fraction(computed) - value)) <= error


@given(parts=pairs, order=st.randoms())
def test_a_sum_of_products_in_any_order(parts: list[tuple[float, float]], order) -> None:
    x, y = (torch.tensor(column, dtype=torch.float64) for column in zip(*parts, strict=True))
    exact = sum(Fraction(a) * Fraction(b) for a, b in parts)
    order.shuffle(parts)
    computed = np.float32(0)
    for a, b in parts:
        computed = np.float32(computed + np.float32(np.float32(a) * np.float32(b)))
    within(F32.product(exactly(x[None]), exactly(y[:, None])), Fraction(exact), float(computed))


@given(parts=pairs, shift=st.floats(0, 1), u=st.floats(-1, 1), v=st.floats(-1, 1))
def test_what_arguments_are_off_is_carried(parts: list, shift: float, u: float, v: float) -> None:
    """Exact arguments one way of the values, computed ones the other: the products differ by the bound."""
    x, y = (torch.tensor(column, dtype=torch.float64) for column in zip(*parts, strict=True))
    e = torch.full_like(x, shift)
    found = F32.product(Near(x[None], e[None]), Near(y[:, None], 2 * e[:, None]))
    moved = sum(
        (Fraction(a) + Fraction(u) * Fraction(shift)) * (Fraction(b) + Fraction(v) * Fraction(2 * shift))
        for a, b in parts
    )
    exact = sum(Fraction(a) * Fraction(b) for a, b in parts)
    assert abs(moved - exact) <= Fraction(float(found.error))


def test_one_summand_is_exact_and_two_are_rounded_once() -> None:
    one, none = exactly(torch.tensor([[3.0]])), exactly(torch.tensor([[0.0]]))
    assert float(F32.total([one, none]).error) == 0.0
    assert float(F32.total([one, one]).error) == pytest.approx(6 * gamma(1, 2.0**-24), rel=1e-5)


def in_blocks_of_one(scores: list[np.float32], values: list[np.float32]) -> float:
    """Softmax attention in float32, a key at a time, all before it rescaled when the maximum grows."""
    largest, total, read = scores[0], np.float32(0), np.float32(0)
    for s, v in zip(scores, values, strict=True):
        higher = max(largest, s)
        rescale, weight = np.exp(largest - higher), np.exp(s - higher)
        total, read = total * rescale + weight, read * rescale + weight * v
        largest = higher
    return float(read / total)


@given(
    parts=st.lists(
        st.tuples(st.floats(-60, 60, width=32), st.floats(-8, 8, width=32)), min_size=1, max_size=8
    )
)
def test_softmax_however_it_is_cut_into_blocks(parts: list[tuple[float, float]]) -> None:
    scores, values = zip(*parts, strict=True)
    s, v = (torch.tensor(x, dtype=torch.float64) for x in (scores, values))
    found = _averaged(F32, exactly(s[None]), exactly(v[:, None]))
    with mpmath.workdps(60):
        weights = [mpmath.exp(x) for x in scores]
        exact = mpmath.fdot(weights, values) / mpmath.fsum(weights)
        for order in (parts, parts[::-1]):
            computed = in_blocks_of_one(
                *([np.float32(x) for x in column] for column in zip(*order, strict=True))
            )
            assert abs(computed - exact) <= float(found.error)
            assert abs(float(found.value) - exact) <= float(found.error)


def test_what_scores_are_off_is_carried() -> None:
    """Two keys of values 0 and 1: scores that are off by e, either way, move the share by tanh(e) / 2."""
    e = 1e-3
    scores = Near(torch.zeros(1, 2).double(), torch.full((1, 2), e).double())
    found = _averaged(F32, scores, exactly(torch.tensor([[0.0], [1.0]])))
    assert 0.5 * np.tanh(e) <= float(found.error) <= 4 * e


def test_what_an_exp_may_be_off_is_allowed() -> None:
    """Weights 1 + x and 1 - x instead of 1 and 1, x the error assumed of exp: the share moves by x / 2."""
    scores = exactly(torch.zeros(1, 2))
    found = _averaged(F32, scores, exactly(torch.tensor([[0.0], [1.0]])))
    assert F32.exp == 40 * 2.0**-24
    assert F32.exp / 2 <= float(found.error) <= 10 * F32.exp


def test_scores_that_are_nothing_but_rounding_have_no_bound() -> None:
    scores = Near(torch.zeros(1, 2).double(), torch.full((1, 2), 3.0).double())
    found = _averaged(F32, scores, exactly(torch.ones(2, 1)))
    assert not bool(found.error.isfinite().any())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_bounds_are_a_few_hundred_roundings(dtype: torch.dtype) -> None:
    """Softmax allows for 7 exps, in float32 of 20 ulp; a column that nothing writes may not change."""
    form = Format.of(dtype)
    for seed, kind in itertools.product(range(3), ("softmax", "relu")):
        transformer = random_transformer(seed, (kind,), dtype)
        layer, (h,) = transformer.layers[0], random_tokens(seed, dtype=dtype)
        attention, mlp = layer.attention, layer.mlp  # pyright: ignore
        for bound in (attended_within(attention, h), written_within(attention, h), fed_within(mlp, h)):
            assert float(bound.max()) <= 3000 * form.u
        with torch.no_grad():
            attention.output[:, :, 2] = 0.0
            mlp.w2[:, 3], mlp.b2[3] = 0.0, 0.0
        assert float(attended_within(attention, h)[:, 2].abs().max()) == 0.0
        assert float(fed_within(mlp, h)[:, 3].abs().max()) == 0.0


def test_the_norm_of_small_vectors() -> None:
    """2^-50 squared is far above what float32 can hold, 2^-70 is not; beside 1 it is lost, and bounded."""
    transformer = random_transformer(0, ("softmax",), torch.float32, output_norm=True)
    attention = transformer.layers[0].attention  # pyright: ignore
    h = torch.zeros(3, 5)
    w = torch.zeros(3, 5)
    w[0, 0], w[1, 0], w[2, 0], w[2, 1] = 2.0**-50, 2.0**-70, 1.0, 2.0**-70
    bound = normed_within(attention, h, w)
    assert not bool(bound[1].isfinite().any())
    root = 5**0.5 * 0.75
    with torch.no_grad():
        found = attention.norm(w).double()  # pyright: ignore
    for row, exact in ((0, root), (2, root)):
        assert abs(float(found[row, 0]) - exact) <= float(bound[row, 0]) <= 20 * 2.0**-24 * root


def test_a_format_whose_exp_nothing_is_assumed_of_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"dtype is torch\.bfloat16; it is one of torch\.float64, torch\.float32"
    ):
        Format.of(torch.bfloat16)
