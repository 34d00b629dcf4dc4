"""The best of S candidates: exact one-hots in fractions and floats, ties, other tokens, softmax."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from constructions import Construction, Layer, Stream
from constructions.language.rounding import gamma, unit_roundoff
from constructions.matrices.argmax import (
    argmax_layers,
    biased,
    chosen,
    largest_margin,
    sharpness_needed,
    softmax_leakage,
)
from constructions.matrices.machine import matrix_tokens

U64 = unit_roundoff(torch.float64)
DTYPES = [torch.float64, torch.float32]
SIZE = 5
S = Stream(
    ids=SIZE, member=1, theta=1, bias=1, payload=2, ask=1, sum=1, regrets=1, step=1, selected=1, answer=2
)
INPUTS = (S.ids, S.member, S.theta, S.payload, S.ask)


def built(margin: float) -> Construction:
    layers = argmax_layers(S.member, S.theta, S.selected, S.regrets, S.step, margin)
    read = Layer("read", (chosen(S.ask, S.selected, S.payload, S.answer),))
    return Construction("argmax", "a test", S, INPUTS, (*layers, read))


def drawn(fractions, batch: int, seed: int) -> dict:
    """theta multiples of 1/24 with a best that is ahead by 1/24 at least; one more token asks."""
    rng = np.random.default_rng(seed)
    theta = np.array([rng.permutation(24)[:SIZE] for _ in range(batch)])
    exact = np.vectorize(lambda t: Fraction(int(t) - 12, 24), otypes=[object])(theta)[..., None]
    none = np.full((batch, 1, 1), Fraction(0))
    one = none + Fraction(1)
    ids = np.vectorize(Fraction, otypes=[object])(np.eye(SIZE + 1, SIZE, dtype=int))
    return {
        S.ids: np.broadcast_to(ids, (batch, SIZE + 1, SIZE)),
        S.theta: np.concatenate([exact, none], axis=1),
        S.member: np.concatenate([np.repeat(one, SIZE, 1), none], axis=1),
        S.payload: fractions(batch, SIZE + 1, 2, seed=seed + 1),
        S.ask: np.concatenate([np.repeat(none, SIZE, 1), one], axis=1),
    }


def test_the_selection_is_exact_in_fractions(fractions, exactly) -> None:
    """500 instances from the formulas, five by the dense weights; and what the best holds is read."""
    blocks = drawn(fractions, 500, seed=1)
    found = exactly(built(1 / 24), blocks)
    best = blocks[S.theta][:, :SIZE, 0].astype(float).argmax(1)
    expected = np.zeros((500, SIZE + 1))
    expected[np.arange(500), best] = 1
    assert np.array_equal(found[..., S.selected.start].astype(float), expected)
    assert np.array_equal(found[:, SIZE, S.answer.slice], blocks[S.payload][np.arange(500), best])
    assert not found[:, :SIZE, S.answer.slice].any()
    dense = exactly(built(1 / 24), {b: m[:5] for b, m in blocks.items()}, dense=True)
    assert np.array_equal(dense, found[:5])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dense", [False, True])
def test_it_is_exact_in_floats_too(dtype: torch.dtype, dense: bool, fractions, in_floats) -> None:
    """No tolerance: the comparison is one rounded difference, and the step has an exact scale."""
    blocks = {b: torch.tensor(m.astype(float)) for b, m in drawn(fractions, 200, seed=2).items()}
    found = in_floats(built(0.04), blocks, dtype, dense)
    best = blocks[S.theta][:, :SIZE, 0].argmax(1)
    expected = torch.zeros(200, SIZE + 1, dtype=dtype)
    expected[torch.arange(200), best] = 1
    assert torch.equal(found[..., S.selected.start], expected)
    payload = blocks[S.payload][torch.arange(200), best].to(dtype)
    assert torch.equal(found[:, SIZE, S.answer.slice], payload)


@settings(max_examples=20)
@given(
    theta=st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=SIZE),
    margin=st.floats(1e-3, 10),
    dtype=st.sampled_from(DTYPES),
)
def test_whenever_the_best_is_ahead(theta: list[float], margin: float, dtype: torch.dtype) -> None:
    """Any numbers; also what happens behind: the best is 1, and one behind by x is 1 - r/m with r >= x."""
    n = len(theta)
    column = torch.tensor(theta, dtype=dtype)[None, :, None]
    ones, zeros = torch.ones_like(column), torch.zeros_like(column)
    ids = torch.eye(n, SIZE, dtype=dtype)[None]
    blocks = {S.ids: ids, S.member: ones, S.theta: column, S.payload: zeros.expand(1, n, 2), S.ask: zeros}
    tokens = matrix_tokens(S, blocks).dense()
    step = largest_margin(margin)
    with torch.no_grad():
        found = built(margin).to_transformer(dtype)(tokens)[0, :, S.selected.start]
    behind = column.max() - column[0, :, 0]
    assert bool((found[behind == 0] == 1).all())
    assert bool((found[behind >= step] == 0).all())
    # A rounded sum of numbers >= 0 is no less than any of them; then the hinges' two differences of size 1.
    u = unit_roundoff(dtype)
    assert bool((found <= (1 - behind / step).clamp(min=0) + gamma(4, u)).all())


def test_a_tie_is_decided_by_a_read_in_bias(exactly, fractions) -> None:
    """Three equal numbers: without a bias all are selected, with one the first."""
    s = S
    layers = argmax_layers(s.member, s.sum, s.selected, s.regrets, s.step, 1 / 16)
    first = Layer("bias", (biased(s.ids, s.theta, s.bias, s.sum),))
    tied = Construction("ties", "a test", s, (s.ids, s.member, s.theta, s.bias), (first, *layers))
    theta = np.array([[[Fraction(k)] for k in (1, 3, 3, 0, 3)]])
    ones = np.full((1, SIZE, 1), Fraction(1))
    ids = np.vectorize(Fraction, otypes=[object])(np.eye(SIZE, dtype=int))[None]
    bias = np.array([[[Fraction(-k, 16)] for k in range(SIZE)]])
    for given_bias, expected in ((0 * bias, [0, 1, 1, 0, 1]), (bias, [0, 1, 0, 0, 0])):
        blocks = {s.ids: ids, s.member: ones, s.theta: theta, s.bias: given_bias}
        assert exactly(tied, blocks)[0, :, s.selected.start].tolist() == expected


def test_a_smaller_lead_than_the_margin_is_no_one_hot(exactly, fractions) -> None:
    blocks = drawn(fractions, 20, seed=5)
    found = exactly(built(8.0), blocks)[..., S.selected.start]
    assert (found[:, :SIZE] > 0).sum() > 20


def test_comparing_the_wrong_way_selects_another(exactly, fractions) -> None:
    blocks = drawn(fractions, 20, seed=6)
    right = exactly(built(1 / 24), blocks)[..., S.selected.start]
    wrong = exactly(built(1 / 24), blocks | {S.theta: -blocks[S.theta]})[..., S.selected.start]
    assert all((a != b).any() for a, b in zip(right, wrong, strict=True))


@given(
    gaps=st.lists(st.floats(0, 20), min_size=1, max_size=8),
    margin=st.floats(1e-3, 10),
    beta=st.floats(1e-2, 100),
)
def test_the_leakage_of_softmax_is_bounded(gaps: list[float], margin: float, beta: float) -> None:
    """An argument x off by gamma_3 x moves e^-x by gamma_3 x e^-x <= gamma_3, of each of n numbers.

    The sum, the quotient and the bound's own exponential: n + 16 more of size 1.
    """
    theta = torch.tensor([0.0, *(-margin - gap for gap in gaps)], dtype=torch.float64)
    leaked = float(1 - (beta * theta).softmax(0)[0])
    assert leaked <= softmax_leakage(len(theta), margin, beta) + gamma(4 * len(theta) + 16, U64)


def test_the_leakage_is_attained_and_turned_around() -> None:
    """e^-x is off by gamma_3 x of itself, twice, and by a dozen roundings around it; nothing absolute."""
    theta = torch.tensor([0.0, -2.0, -2.0, -2.0], dtype=torch.float64)
    attained = float((1.5 * theta).softmax(0)[1:].sum())
    assert attained == pytest.approx(softmax_leakage(4, 2.0, 1.5), rel=gamma(6 * 3 + 24, U64), abs=0)
    for leakage in (0.3, 1e-6, 1e-12):
        beta = sharpness_needed(4, 2.0, leakage)
        rel = gamma(6 * math.ceil(2.0 * beta) + 24, U64)
        assert softmax_leakage(4, 2.0, beta) == pytest.approx(leakage, rel=rel, abs=0)
    assert sharpness_needed(2, 1.0, 0.9) == 0
    assert softmax_leakage(1, 0.5, 1.0) == 0


def test_the_margin_is_a_power_of_two() -> None:
    for margin, expected in ((1.0, 1.0), (0.75, 0.5), (3.0, 2.0), (1e-3, 2.0**-10)):
        assert largest_margin(margin) == expected


def test_what_is_not_covered_is_refused() -> None:
    for margin in (0.0, -1.0, math.inf):
        with pytest.raises(ValueError, match=rf"margin is {margin!r}; it is positive and finite"):
            largest_margin(margin)
    with pytest.raises(ValueError, match=r"margin is -1\.0; it is finite and not negative"):
        softmax_leakage(3, -1.0, 1.0)
    with pytest.raises(ValueError, match=r"beta is 0\.0; it is positive and finite"):
        softmax_leakage(3, 1.0, 0.0)
    with pytest.raises(ValueError, match=r"candidates, margin and leakage are 1, 1\.0 and 0\.5"):
        sharpness_needed(1, 1.0, 0.5)
