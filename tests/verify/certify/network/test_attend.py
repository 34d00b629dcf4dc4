"""Heads in balls: naive sums hold in them, equal keys are one group, the norm refuses what may be 0."""

import pytest
import torch
from networks import WIDTH, holds, plainly, random_tokens, random_transformer

from constructions.language.heads import Attention
from verify.balls.flint import arb, precision
from verify.certify.network.attend import Attend
from verify.certify.network.interpreter import interpreter
from verify.certify.network.reading import HeadWeights, LayerWeights, read_weights
from verify.certify.network.rows import Pool

ONE = ((0, 1.0),)


def averaging(kind: Attention, divide: bool = False, gain=None) -> Attend:
    """Scores ``h_0 h_0``, values ``h_1``, written to column 2."""
    head = HeadWeights(((ONE, ONE),), ((((1, 1.0),), ((2, 1.0),)),))
    return Attend(LayerWeights(kind, (head,), gain, (), ()), 1.0, divide)


@pytest.mark.parametrize("kind", ["softmax", "relu"])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_naive_sums_lie_in_the_balls(kind: Attention, norm: bool, scale: float) -> None:
    options = {"output_norm": norm, "score_scale": scale, "divide_by_tokens": kind == "relu"}
    for seed in range(4):
        transformer = random_transformer(seed, (kind,), **options)
        h = random_tokens(seed)[0]
        with precision(128):
            network = interpreter(read_weights(transformer))
            *_, found = network.passes(network.rows(h))
        for row, wanted in zip(found, plainly(transformer, h), strict=True):
            assert all(holds(ball, number) for ball, number in zip(row, wanted, strict=True))


def test_relu_attention_by_hand() -> None:
    """Scores 4, -2, -2, 1: 4 * 3 + 0 for the first token, 5 + 5 for the others; half of it if divided."""
    with precision(64):
        pool = Pool()
        rows = [
            [pool.number(x) for x in row] for row in ((2.0, 3.0, 0.5), (-1.0, 5.0, 0.0), (-1.0, 5.0, 0.0))
        ]
        assert [row[2] for row in averaging("relu")(rows, pool)] == [12.5, 10, 10]
        two = rows[:2]
        assert [row[2] for row in averaging("relu", divide=True)(two, pool)] == [6.5, 2.5]


def test_softmax_counts_every_token_of_a_group() -> None:
    """Scores of 0 alone: an average, in which the two tokens of one key count twice."""
    with precision(64):
        pool = Pool()
        rows = [[pool.number(x) for x in row] for row in ((0.0, 3.0, 0.0), (0.0, 6.0, 0.0), (0.0, 6.0, 0.0))]
        for row in averaging("softmax")(rows, pool):
            assert row[2].overlaps(arb(5))
            assert row[2].rad() < arb(2) ** -50


def test_values_that_are_all_equal_are_read_without_rounding() -> None:
    with precision(64):
        pool = Pool()
        rows = [[pool.number(x), pool.number(0.1), pool.number(0.0)] for x in (1.0, 2.0, 3.0)]
        assert all(row[2] is rows[0][1] for row in averaging("softmax")(rows, pool))


def test_large_scores_are_shifted() -> None:
    with precision(64):
        pool = Pool()
        rows = [[pool.number(x), pool.number(y), pool.number(0.0)] for x, y in ((1e8, 1.0), (2.0, 3.0))]
        first, _ = averaging("softmax")(rows, pool)
        assert first[2].contains(1)
        assert first[2].rad() < arb(2) ** -40


def test_a_norm_of_what_may_be_zero_is_no_number() -> None:
    attend = averaging("softmax", gain=((2, 1.0),))
    with precision(64):
        pool = Pool()
        (row,) = attend([[pool.number(1.0), arb(0, 1), pool.number(0.0)]], pool)
        assert not row[2].is_finite()


def test_no_token_gives_none() -> None:
    assert averaging("softmax")([], Pool()) == []


def test_columns_that_no_head_writes_are_left() -> None:
    transformer = random_transformer(1, ("softmax",))
    with precision(64):
        network = interpreter(read_weights(transformer))
        rows = network.rows(random_tokens(1)[0])
        after = network.attended(0, rows)
        columns = set(range(WIDTH)) - set(network.attention_writes(0))
    assert all(out[c] is row[c] for row, out in zip(rows, after, strict=True) for c in columns)
    assert torch.equal(torch.tensor([len(row) for row in after]), torch.full((6,), WIDTH))
