"""Layers in an order with loops within it: what is checked, what is applied, in every evaluation."""

import re
from fractions import Fraction

import numpy as np
import pytest
import torch

from constructions import Construction, Layer, Stream, linear_pair
from constructions.language.assembly import AssemblyError
from constructions.language.counts import count
from constructions.language.mlp import clear, move
from constructions.language.program import Repeat, flat, in_order, outline
from constructions.language.rational import ExactTransformer
from constructions.language.scores import dot
from constructions.language.structured.arithmetic import (
    ExactArithmetic,
    FloatArithmetic,
    in_fractions,
    rows_of,
)
from constructions.language.structured.evaluation import StructuredEvaluator
from constructions.language.structured.partitions import Places, Tokens, Value
from constructions.language.transformer import LayerShape, TransformerShape

S = Stream(id=2, A=2, B=2, x=2, y=2)


def times(matrix: str, name: str) -> Layer:
    """``x <- x M``, M held a row a token."""
    head = linear_pair(dot(S.query.x, S.key.id), read=getattr(S, matrix), write=S.y)
    return Layer(name, (head,), (clear(S.x), move(S.y, S.x)))


BY_A, BY_B = times("A", "by A"), times("B", "by B")
INPUTS = (S.id, S.A, S.B, S.x)


def construction(*parts: Layer | Repeat, loops: int = 1) -> Construction:
    layers, order = in_order(*parts)
    return Construction("words", "a test", S, INPUTS, layers, loops, order=order)


WORD = (BY_A, Repeat(3, (BY_B, Repeat(2, (BY_A,)))), BY_B)
LETTERS = "A" + "BAA" * 3 + "B"


def tokens() -> Tokens:
    """Two tokens, entries 0, 1, 2 and 3: matrices that do not commute."""
    places = Places(torch.ones(1, 2, dtype=torch.bool))
    values = {
        S.id: torch.eye(2),
        S.A: torch.tensor([[1.0, 2.0], [0.0, 1.0]]),
        S.B: torch.tensor([[0.0, 1.0], [1.0, 3.0]]),
        S.x: torch.tensor([[1.0, 0.0], [2.0, 1.0]]),
    }
    return Tokens(S, places, {b: Value(places.each, v.double()[None].mT) for b, v in values.items()})


def product(letters: str) -> np.ndarray:
    """The same by whole numbers."""
    start = tokens()
    matrices = {name: start.read(getattr(S, name))[0].long().numpy() for name in "ABx"}
    x = matrices["x"]
    for letter in letters:
        x = x @ matrices[letter]
    return x


def test_a_loop_within_a_loop_is_applied_as_it_is_written():
    built = construction(*WORD)
    assert len(built.layers) == 2
    assert flat(built.order or ()) == (0, *(1, 0, 0) * 3, 1) == built.sequence
    assert outline(built.order or ()) == "1, 3 x (2, 2 x (1)), 2"
    assert "layers in the order 1, 3 x (2, 2 x (1)), 2" in built.explain()


@pytest.mark.parametrize("loops", [1, 2])
def test_every_evaluation_gives_the_product_of_the_word(loops: int):
    """Whole numbers below 2^53: floats are exact, so all are compared by ==."""
    built, start = construction(*WORD, loops=loops), tokens()
    expected = product(LETTERS * loops)
    assert np.abs(expected).max() < 2**53
    looped, unrolled = (built.to_transformer(looped=looped) for looped in (True, False))
    assert (len(looped.layers), len(unrolled.layers)) == (2, 11 * loops)
    for transformer in (looped, unrolled):
        found = transformer(start.dense()).detach()[0, :, S.x.slice]
        assert np.array_equal(found.numpy(), expected)
    exact = ExactTransformer(looped)([[Fraction(float(e)) for e in row] for row in start.dense()[0]])
    assert np.array_equal(np.array(exact)[:, S.x.slice], expected)
    for arithmetic, begin in (
        (FloatArithmetic(torch.float64, "cpu"), start),
        (ExactArithmetic(), in_fractions(start)),
    ):
        layers = StructuredEvaluator(built, arithmetic)
        state = layers.start(begin)
        for _ in range(loops):
            state = layers.block(state)[-1]
        rows = state.dense().numpy() if begin is start else rows_of(state)
        assert np.array_equal(rows[0][:, S.x.slice], expected)


def test_counts_share_weights_and_count_every_time_a_layer_is_applied():
    once, looped = construction(BY_A, BY_B), construction(*WORD, loops=2)
    found, resources = count(looped), looped.resources()
    assert found.layers == resources.layers == 22
    assert found.parameters == resources.parameters == count(once).parameters


def test_states_are_those_of_block_one_by_one():
    transformer, h = construction(*WORD).to_transformer(), tokens().dense()
    block = transformer.block(h)
    assert len(block) == 11
    assert all(torch.equal(a, b) for a, b in zip(block, transformer.states(h), strict=True))


def test_a_loop_that_changes_the_live_blocks_is_refused():
    head = linear_pair(dot(S.query.x, S.key.id), read=S.A, write=S.y)
    opens = Layer("opens", (head,), (clear(S.x),))
    with pytest.raises(AssemblyError, match=re.escape("the loop 2 x (1) changes the live blocks in ['x[")):
        construction(Repeat(2, (opens,)))


def test_an_order_names_every_layer_and_no_other():
    with pytest.raises(AssemblyError, match=re.escape("the order names layers [1], and there are 2")):
        Construction("short", "a test", S, INPUTS, (BY_A, BY_B), order=(0, 0))
    with pytest.raises(AssemblyError, match=re.escape("the order names layers [1, 3], and there are 2")):
        Construction("long", "a test", S, INPUTS, (BY_A, BY_B), order=(0, 2))
    with pytest.raises(ValueError, match="order names layers up to 1; there are 1, from 0"):
        TransformerShape(2, (LayerShape(1, 1, 1),), order=(0, 1))


@pytest.mark.parametrize("times", [0, -1, 1.5, True])
def test_a_loop_runs_a_whole_number_of_times(times: object):
    with pytest.raises(ValueError, match=f"times is {times!r}; a whole number, at least 1, is needed"):
        Repeat(times, (BY_A,))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="nothing to repeat"):
        Repeat(2, ())
