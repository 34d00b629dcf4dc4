"""Whole transformers in balls: beside 60 digits, beside fractions, and one EM step of the size promised."""

import itertools
import time
from fractions import Fraction

import pytest
import torch
from every_part import every_part
from networks import TOKENS, holds, plainly, random_tokens, random_transformer

from constructions.em.weights import em_construction
from constructions.language.heads import Attention
from constructions.language.rational import ExactTransformer
from constructions.language.transformer import LayerShape, Transformer, TransformerShape
from verify.balls.flint import fmpq, precision
from verify.certify.network.formulas import read_formulas
from verify.certify.network.interpreter import interpreter
from verify.certify.network.reading import read_weights
from verify.em.theorem import THEOREM_1
from verify.engine.measure import drawn
from verify.registry import THEOREMS

MASK = torch.tensor([True] * (TOKENS - 2) + [False] * 2)


@pytest.mark.parametrize("kinds", [("softmax", "softmax"), ("relu", "relu"), ("softmax", "relu")])
@pytest.mark.parametrize("norm", [False, True])
def test_loops_orders_masks_and_norms_beside_sixty_digits(kinds: tuple[Attention, ...], norm: bool) -> None:
    options = {"loops": 2, "order": (1, 0, 1), "output_norm": norm}
    transformer = random_transformer(7, kinds, torch.float32, **options)
    h = random_tokens(7, dtype=torch.float32)[0] / 4
    h[TOKENS - 1] = torch.nan  # padding may hold anything
    with precision(256):
        network = interpreter(read_weights(transformer))
        *_, found = network.passes(network.rows(h, MASK))
    assert len(found) == TOKENS - 2
    for row, wanted in zip(found, plainly(transformer, h, MASK), strict=True):
        assert all(holds(ball, number) for ball, number in zip(row, wanted, strict=True))


def exact(row: list[Fraction]) -> list[fmpq]:
    return [fmpq(x.numerator, x.denominator) for x in map(Fraction, row)]


@pytest.mark.parametrize("key", ["least-squares", "ridge"])
def test_relu_constructions_are_those_of_fractions(key: str) -> None:
    """Dyadic numbers: with bits enough nothing is rounded, and the balls are points."""
    theorem = THEOREMS[key]
    sizes, family = theorem.sizes[0], next(iter(theorem.families))
    weights = theorem.construct(sizes, 1)
    instance = drawn(theorem, family, sizes, 1, torch.float64, torch.Generator().manual_seed(2))
    (h,), (mask,) = theorem.embed(weights, instance, torch.float64)
    transformer = weights.to_transformer()
    tokens = [[Fraction(x) for x in row] for row in h.tolist()]
    wanted = next(ExactTransformer(transformer).passes(tokens, mask.tolist()))
    with precision(4096):
        network = interpreter(read_weights(transformer))
        *_, found = network.block(network.rows(h, mask))
        for balls, row in zip(found, itertools.compress(wanted, mask.tolist()), strict=True):
            assert all(ball.is_exact() for ball in balls)
            assert balls == exact(row)


@pytest.mark.parametrize("divide", [False, True])
def test_random_relu_networks_beside_fractions(divide: bool) -> None:
    for seed in range(5):
        transformer = random_transformer(seed, ("relu", "relu"), loops=2, divide_by_tokens=divide)
        h = random_tokens(seed)[0] / 4
        tokens = [[Fraction(x) for x in row] for row in h.tolist()]
        wanted = list(ExactTransformer(transformer).passes(tokens, MASK.tolist()))
        with precision(512):
            network = interpreter(read_weights(transformer))
            for found, state in zip(network.passes(network.rows(h, MASK)), wanted, strict=True):
                for balls, row in zip(found, state, strict=False):
                    assert all(b.contains(x) for b, x in zip(balls, exact(row), strict=True))
                    assert all(b.rad() < 1e-60 for b in balls)


def test_formulas_and_dense_weights_are_one_network() -> None:
    construction = every_part()
    generator = torch.Generator().manual_seed(0)
    h = torch.rand(5, construction.stream.width, generator=generator, dtype=torch.float64)
    for block in construction.stream.blocks:
        if block not in construction.inputs:
            h[:, block.slice] = 0.0
    with precision(128):
        ways = [
            interpreter(weights)
            for weights in (read_formulas(construction), read_weights(construction.to_transformer()))
        ]
        one, other = (list(network.block(network.rows(h)))[-1] for network in ways)
    for row, same in zip(one, other, strict=True):
        assert all(a.overlaps(b) and a.rad() < 1e-30 for a, b in zip(row, same, strict=True))


def test_one_step_of_em_at_the_size_promised() -> None:
    """d = 8, K = 5, N = 128, 2,048 pieces: seconds of this process, reading the weights included."""
    em = em_construction(8, 5, 1, 2048)
    sizes = {"d": 8, "K": 5, "N": 128}
    instance = drawn(THEOREM_1, "separated", sizes, 1, torch.float64, torch.Generator().manual_seed(0))
    h, mask = THEOREM_1.embed(em, instance, torch.float64)
    transformer = em.to_transformer()
    with precision(128):
        began = time.process_time()
        network = interpreter(read_weights(transformer))
        *_, found = network.block(network.rows(h[0], mask[0]))
        taken = time.process_time() - began
    assert taken <= 2.0
    assert max(ball.rad() for row in found for ball in row) < 1e-29
    with torch.no_grad():
        after = transformer.block(h)[-1][0]
    for row, numbers in zip(found, after.tolist(), strict=True):
        assert all(abs(ball - x) < 1e-10 for ball, x in zip(row, numbers, strict=True))


def test_tokens_of_another_width_are_refused() -> None:
    network = interpreter(read_weights(random_transformer(0, ("relu",))))
    with pytest.raises(ValueError, match="tokens are 3 wide; the stream is 5"):
        network.rows(torch.zeros(2, 3))


def test_a_layer_without_heads_or_hidden_units_passes_on() -> None:
    transformer = Transformer(TransformerShape(2, (LayerShape(0, 0, 0),)))
    network = interpreter(read_weights(transformer))
    rows = network.rows(torch.ones(3, 2))
    assert list(network.block(rows)) == [rows]
    assert network.feed_writes(0) == ()
    with pytest.raises(ValueError, match="layer 0 has no attention"):
        network.attention_writes(0)
