"""Layers of different kinds of attention in one construction: an average by softmax, a product by ReLU pairs.

b_i = sum_j softmax_j(<a_i, a_j> / 2) a_j
a_i <- sum_j <b_i, b_j> a_j / 16
"""

import dataclasses
import math
from fractions import Fraction

import pytest
import torch
from conformance import DTYPES, Case, ConstructionConformance, compiled
from torch import Tensor

from constructions import (
    AssemblyError,
    Construction,
    Layer,
    ReluHead,
    Score,
    SoftmaxHead,
    Stream,
    Transformer,
    clear,
    dot,
    em_construction,
    linear_pair,
    move,
    tensor_power_construction,
)
from constructions.language.counts import count
from constructions.language.rational import ExactTransformer
from constructions.language.rounding import gamma, unit_roundoff
from constructions.language.structured.arithmetic import ExactArithmetic, FloatArithmetic, in_fractions
from constructions.language.structured.evaluation import DenseEvaluator, StructuredEvaluator
from constructions.language.structured.partitions import Tokens

S = Stream(a=2, b=2, c=2)
AVERAGE = Layer("average", (SoftmaxHead(0.5 * dot(S.query.a, S.key.a), S.a, S.b),))
PRODUCT = Layer(
    "product",
    (linear_pair(dot(S.query.b, S.key.b), S.a, S.c, 1 / 16),),
    (clear(S.a), clear(S.b), move(S.c, S.a)),
)
MIXED = Construction("mixed", "a test", S, (S.a,), (AVERAGE, PRODUCT), loops=2)
MASK = torch.arange(5) < torch.tensor([5, 3])[:, None]


def one_pass(a: Tensor) -> Tensor:
    b = (a @ a.mT / 2).masked_fill(~MASK[:, None], -math.inf).softmax(-1) @ a
    return (b @ b.mT).masked_fill(~MASK[:, None], 0.0) @ a / 16


def after_rounding(size: float, off: float, dtype: torch.dtype) -> float:
    """How far |a_i| may be off after one pass; before it a_i is at most ``size`` and off by ``off``.

    Scores: 2 products and their sum, gamma_4 of s = (size + off)^2 / 2, and what ``off`` moves them. Weights:
    twice that, 4 u s by subtracting the maximum, gamma_{4N+10} as in sublayer_rounding.py. b: the weights'
    error, N products and sums, and ``off``. Products: |b| <= size; two heads of N terms of two factors each,
    gamma_{2N+8}. The MLP adds up 7 numbers in a column: a, three pairs of units.
    """
    u, N = unit_roundoff(dtype), MASK.shape[1]
    size_off = size + off
    s = size_off**2 / 2
    scores = size * off + off**2 / 2 + gamma(4, u) * s
    weights = math.expm1(2 * scores + 4 * u * s + gamma(4 * N + 10, u))
    b_off = off + size_off * (weights + gamma(N + 2, u) * (1 + weights))
    mass = N / 16 * (size + b_off) ** 2 * size_off
    c_off = mass - N / 16 * size**3 + 2 * gamma(2 * N + 8, u) * mass
    return c_off + gamma(8, u) * 2 * (size_off + size + b_off + mass + c_off)


def bound_of(states: list[Tensor], dtype: torch.dtype) -> float:
    """Of the last state: from states in float64, whose own error is bounded in the same way."""
    off = of_states = 0.0
    for a in states[:-1]:
        size = float(a[MASK].norm(dim=-1).max()) + of_states
        off, of_states = after_rounding(size, off, dtype), after_rounding(size, of_states, torch.float64)
    return off + of_states


class TestMixed(ConstructionConformance):
    def case(self, dtype: torch.dtype) -> Case:
        g = torch.Generator().manual_seed(0)
        a = (torch.rand(2, 5, 2, generator=g) + 0.5).to(dtype).masked_fill(~MASK[:, :, None], 0.0)
        tokens = torch.cat([a, a.new_zeros(2, 5, 4)], -1)
        states = [a.double()]
        for _ in range(MIXED.loops):
            states.append(one_pass(states[-1]))
        bound = torch.full((2, 10), bound_of(states, dtype), dtype=torch.float64)

        def read(h: Tensor) -> Tensor:
            return h[..., S.a.slice].masked_fill(~MASK[:, :, None], 0.0).flatten(1)

        return Case(MIXED, tokens, MASK, read, read(states[-1]), bound)


def with_kinds(construction: Construction, dtype: torch.dtype, *kinds: str) -> Transformer:
    """The weights of the construction under other kinds of attention."""
    shape = construction.shape()
    layers = (dataclasses.replace(s, attention=kind) for s, kind in zip(shape.layers, kinds, strict=True))
    changed = Transformer(dataclasses.replace(shape, layers=tuple(layers)), dtype)
    changed.load_state_dict(construction.to_transformer(dtype).state_dict(), strict=True)
    return changed


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@torch.no_grad()
def test_a_layer_of_the_wrong_kind_is_far_outside_the_bound(dtype: torch.dtype) -> None:
    """With the right kinds the bound holds; with a wrong one half of the numbers are 1000 bounds off."""
    case, _ = compiled(TestMixed, dtype)
    real = MASK[:, :, None].expand(-1, -1, 2).flatten(1)

    def errors(*kinds: str) -> Tensor:
        changed = with_kinds(MIXED, dtype, *kinds)
        off = (case.read(changed(case.tokens, MASK)).double() - case.reference).abs()
        return (off / case.bound)[real]

    assert float(errors("softmax", "relu").max()) <= 1
    for wrong in (("relu", "relu"), ("softmax", "softmax"), ("relu", "softmax")):
        assert float(errors(*wrong).median()) > 1000


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@torch.no_grad()
def test_dense_and_structured_are_apart_by_both_roundings_at_most(dtype: torch.dtype) -> None:
    """From the same tokens, looped and written out: each is within the bound of the exact values."""
    case, _ = compiled(TestMixed, dtype)
    tokens = Tokens.of_dense(S, (S.a,), case.tokens, MASK)
    evaluators = [
        DenseEvaluator(MIXED.to_transformer(dtype)),
        StructuredEvaluator(MIXED, FloatArithmetic(dtype, "cpu")),
    ]
    ends = []
    for evaluator in evaluators:
        state = evaluator.start(tokens)
        for _ in range(MIXED.loops):
            state = evaluator.block(state)[-1]
        ends.append(state.read(S.a).double().masked_fill(~MASK[:, :, None], 0.0).flatten(1))
    assert bool(((ends[0] - ends[1]).abs() <= 2 * case.bound).all())
    unrolled = MIXED.to_transformer(dtype, looped=False)
    assert [layer.attention.kind for layer in unrolled.layers] == ["softmax", "relu"] * 2


def test_kinds_stand_in_the_layers_of_mixed_constructions_alone() -> None:
    """Shapes of one kind are equal to those of before: no layer names a kind."""
    pairs = Layer("pairs", PRODUCT.heads)
    end = Layer("end", (), (clear(S.b),))
    alike = Construction("softmax alone", "a test", S, (S.a,), (AVERAGE, end))
    assert (alike.kind, [s.attention for s in alike.shape().layers]) == ("softmax", [None, None])
    mixed = Construction("mixed", "a test", S, (S.a,), (AVERAGE, pairs, end))
    assert (mixed.kind, mixed.shape().attention) == ("mixed", "softmax")
    assert [s.attention for s in mixed.shape().layers] == ["softmax", "relu", None]
    for built, kind in ((em_construction(1, 2, 1, 4), "softmax"), (tensor_power_construction(2, 1), "relu")):
        shape = built.construction.shape()
        assert built.construction.kind == shape.attention == kind
        assert {s.attention for s in shape.layers} == {None}


def test_what_reads_kinds_says_what_it_needs() -> None:
    both = Layer("both", (SoftmaxHead(Score(), S.a, S.b), ReluHead(Score(), S.a, S.c)))
    with pytest.raises(AssemblyError, match=r"^both: a layer has one kind of attention, got \['relu', 'soft"):
        Construction("two", "a test", S, (S.a,), (AVERAGE, both))
    with pytest.raises(AssemblyError, match="mixed: softmax weights sum to 1, there is no number of tokens"):
        dataclasses.replace(MIXED, divide_by_tokens=True)
    with pytest.raises(ValueError, match="layer 0: attention is 'softmax'; exact rational arithmetic takes"):
        ExactTransformer(MIXED.to_transformer())
    case, _ = compiled(TestMixed, torch.float64)
    layers = StructuredEvaluator(MIXED, ExactArithmetic())
    tokens = in_fractions(Tokens.of_dense(S, (S.a,), case.tokens, MASK))
    assert isinstance(tokens.values[S.a].numbers[0, 0, 0], Fraction)
    with pytest.raises(ValueError, match="softmax attention is no rational function; exact arithmetic takes"):
        layers.block(tokens)


def test_counts_and_tables_of_both_kinds() -> None:
    """Per layer: counted from the formulas as from the weights, and each head printed by its own kind."""
    found, counted = MIXED.resources(), count(MIXED)
    assert (counted.layers, counted.heads, counted.parameters) == (4, 2, found.parameters)
    text = MIXED.explain()
    assert "b += softmax(0.5 <q.a, k.a>) k.a" in text
    assert "c += 0.0625 relu(<q.b, k.b>) k.a" in text
    assert "c += -0.0625 relu(-<q.b, k.b>) k.a" in text
