"""Drawn constructions in ReLU attention: structured and dense are equal, by ``==``, in fractions.

The dense side is the compiled weights in fractions (constructions.language.rational), the structured side the
formulas. Heads read parts, pairs and sums of unequal shape; tokens are alike in every way, some are padding.
"""

import random
from fractions import Fraction

import numpy as np
import pytest
import torch

from constructions import (
    Construction,
    HeadSum,
    Layer,
    ReluHead,
    Score,
    SoftmaxHead,
    Stream,
    apply,
    clear,
    dot,
    move,
)
from constructions.language import curves
from constructions.language.gates import pick
from constructions.language.heads import Head, linear_pair
from constructions.language.piecewise import chords
from constructions.language.rational import ExactTransformer
from constructions.language.scores import key_only
from constructions.language.structured.arithmetic import ExactArithmetic, in_fractions, rows_of
from constructions.language.structured.evaluation import StructuredEvaluator
from constructions.language.structured.partitions import Places, Tokens, Value

S = Stream(id=3, v=3, s=1, T=9, flag=3, one=1, w=3, u=1, z=3, y=1)
N = 5
SQUARE = chords(curves.square, np.array([-2.0, -0.5, 0.0, 1.0, 4.0]), anchor=2)


def score(r: random.Random) -> Score:
    """One to three terms of every kind, with coefficients of few bits."""
    q, k = S.query, S.key
    kinds = [
        lambda: dot(q.v, k.v),
        lambda: dot(q.id, k.v),
        lambda: dot(q.v.part(r.randrange(3)), k.s),
        lambda: dot(q.s, k.T.part(r.randrange(9))),
        lambda: dot(q.one, k.id.part(r.randrange(3))),
        lambda: key_only(k.s),
        lambda: key_only(k.one),
    ]
    total = Score()
    for _ in range(r.randrange(4)):
        total = total + r.choice([1.0, -1.0, 0.5, 3.0]) * r.choice(kinds)()
    return total


def sum_of_heads(r: random.Random) -> HeadSum:
    """Heads into w: a grid of parts and pairs, with a few of other shapes beside it."""
    heads: list[Head] = []
    for m in range(r.randrange(1, 4)):
        a = dot(S.query.v.part(m), S.key.s) + r.choice([0.0, 2.0]) * key_only(S.key.one)
        for _ in range(r.choice([1, 1, 2])):
            scale = r.choice([1.0, -2.0, 0.25])
            heads += r.choice(
                [
                    lambda a=a, m=m, scale=scale: linear_pair(a, S.T.part(m, 3), S.w, scale).heads,
                    lambda a=a, m=m, scale=scale: (ReluHead(a, S.T.part(m, 3), S.w, scale),),
                ]
            )()
    for _ in range(r.randrange(3)):
        read = r.choice([S.id, S.v, S.T.part(0, 3), S.flag])
        heads.append(ReluHead(score(r), read, S.w, r.choice([1.0, -0.5])))
    r.shuffle(heads)
    return HeadSum(tuple(heads))


def construction(seed: int) -> Construction:
    r = random.Random(seed)  # noqa: S311
    first = Layer(
        "first",
        heads=(sum_of_heads(r), ReluHead(score(r), r.choice([S.s, S.one, S.v.part(1)]), S.u)),
        mlp=(
            apply(SQUARE, read=S.v, write=S.z, scale=r.choice([1.0, -0.5])),
            apply(SQUARE, read=S.v, write=S.y),
            pick(S.w, by=S.flag, write=S.s, bound=1e4) if r.random() < 0.5 else clear(S.u),
            clear(S.s),
        ),
    )
    second = Layer(
        "second", heads=(), mlp=(move(S.w, S.v, r.choice([1.0, 0.5])), clear(S.v), clear(S.z), clear(S.y))
    )
    inputs = (S.id, S.v, S.s, S.T, S.flag, S.one)
    return Construction(f"drawn {seed}", "a test", S, inputs, (first, second), 1, r.random() < 0.3)


def tokens(seed: int) -> Tokens:
    """Whole numbers over 4, each block by tokens, by one of two labels, or alike; some tokens are padding."""
    g = torch.Generator().manual_seed(seed)
    mask = torch.arange(N) < torch.tensor([[N], [1 + seed % N]])
    places = Places(mask)
    labels = [torch.randint(0, 3, (2, N), generator=g) for _ in range(2)]
    partitions = [places.same, places.each, *(places.classes(label, 3) for label in labels)]
    values = {}
    for block in (S.id, S.v, S.s, S.T):
        partition = partitions[int(torch.randint(0, 4, (), generator=g))]
        size = (2, block.width, places.size_of(partition))
        values[block] = Value(partition, torch.randint(-6, 7, size, generator=g).double() / 4)
    flags = torch.randint(0, 2, (2, 3, N), generator=g).double()
    values[S.flag] = Value(places.each, flags)
    values[S.one] = Value(places.same, torch.ones(2, 1, 1).double())
    return Tokens(S, places, values)


def assert_one_function(built: Construction, start: Tokens) -> None:
    """At every real token, in every column, after all layers."""
    layers = StructuredEvaluator(built, ExactArithmetic())
    found = rows_of(layers.block(layers.start(in_fractions(start)))[-1])
    dense = ExactTransformer(built.to_transformer())
    for task, mask in enumerate(start.places.mask.tolist()):
        rows = [[Fraction(x) for x in row] for row in start.dense()[task].tolist()]
        expected = dense(rows, mask)
        for token in range(N):
            if mask[token]:
                assert list(found[task, token]) == expected[token], (task, token)


@pytest.mark.parametrize("seed", range(40))
def test_structured_and_dense_are_one_function(seed: int) -> None:
    assert_one_function(construction(seed), tokens(seed))


def test_the_drawn_constructions_differ_in_what_they_do() -> None:
    """Most of them write something else than 0 into w, in every task."""
    busy = 0
    for seed in range(40):
        layers = StructuredEvaluator(construction(seed), ExactArithmetic())
        attended = layers.layers[0].attend(layers.start(in_fractions(tokens(seed))))
        busy += bool((rows_of(attended)[..., S.w.slice] != 0).any(axis=(1, 2)).all())
    assert busy >= 30


def test_softmax_and_norms_are_refused() -> None:
    s = Stream(a=1, one=1, b=1)

    softmax = Construction("x", "a test", s, (s.a, s.one), (Layer("l", (SoftmaxHead(Score(), s.a, s.b),)),))
    heads = (ReluHead(dot(s.query.one, s.key.one), s.a, s.b),)
    norm = Construction("x", "a test", s, (s.a, s.one), (Layer("l", heads, unit_output=True),))
    places = Places(torch.ones(1, 2, dtype=torch.bool))
    ones = torch.ones(1, 1, 2).double()
    start = in_fractions(Tokens(s, places, {b: Value(places.each, ones) for b in (s.a, s.one)}))
    for built, message in ((softmax, "softmax attention is no rational"), (norm, "a norm takes a root")):
        layers = StructuredEvaluator(built, ExactArithmetic())
        with pytest.raises(ValueError, match=message):
            layers.block(layers.start(start))


A = dot(S.query.one, S.key.v.part(0)) + key_only(S.key.one)


@pytest.mark.parametrize(
    "heads",
    [
        (ReluHead(A, S.v, S.w), ReluHead(A, S.v, S.w)),
        (ReluHead(A, S.v, S.w), ReluHead(A, S.v, S.w), ReluHead(A, S.v, S.w)),
        (ReluHead(A, S.v, S.w), ReluHead(A, S.v.part(0, 3), S.w)),
        (ReluHead(A, S.T.part(0, 3), S.w), ReluHead(A, S.T.part(1, 3), S.w)),
        (ReluHead(A, S.v, S.w), ReluHead(2.0 * A, S.v, S.w, -1.0)),
        (ReluHead(-A, S.v, S.w, 1.0), ReluHead(A, S.v, S.w, -1.0)),
    ],
    ids=["twice", "three times", "the whole as a part", "one score for two parts", "no pair", "a pair"],
)
def test_heads_count_one_by_one(heads: tuple[Head, ...]) -> None:
    layer = Layer("l", (HeadSum(heads),))
    built = Construction("x", "a test", S, (S.id, S.v, S.s, S.T, S.flag, S.one), (layer,))
    for seed in range(4):
        assert_one_function(built, tokens(seed))


@pytest.mark.parametrize("width", [2, 4])
def test_parts_need_not_divide_their_block(width: int) -> None:
    """T has 9 columns: four parts of width 2, two of width 4, and one column in no part."""
    s = Stream(id=3, v=3, s=1, T=9, flag=3, one=1, w=width)
    score = dot(s.query.T.part(1, width), s.key.T.part(0, width))
    heads = HeadSum(tuple(ReluHead(score, s.T.part(m, width), s.w) for m in range(9 // width)))
    built = Construction("x", "a test", s, (s.id, s.v, s.s, s.T, s.flag, s.one), (Layer("l", (heads,)),))
    given = tokens(5)
    start = Tokens(s, given.places, {getattr(s, b.name): value for b, value in given.values.items()})
    assert_one_function(built, start)
