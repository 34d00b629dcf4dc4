"""What runs layers: padding behind a norm, heads that look like a pair, the two states."""

import pytest
import torch

from constructions import Construction, HeadSum, Layer, ReluHead, Stream, dot, move
from constructions.algorithm import ConstructedAlgorithm
from constructions.language.rounding import gamma
from constructions.language.structured.arithmetic import FloatArithmetic
from constructions.language.structured.evaluation import DenseEvaluator, StructuredEvaluator
from constructions.language.structured.partitions import Places, Tokens, Value

S = Stream(a=2, b=2, c=2, one=1)
F64 = torch.float64


def behind_a_norm() -> Construction:
    """b = sum_j relu(<a_i, a_j>) a_j over its length, then c = sum_j b_j."""
    first = Layer("first", (ReluHead(dot(S.query.a, S.key.a), S.a, S.b),), unit_output=True)
    second = Layer("second", (ReluHead(dot(S.query.one, S.key.one), S.b, S.c),))
    return Construction("behind a norm", "a test", S, (S.a, S.one), (first, second))


def some_tokens() -> Tokens:
    """Three tasks of 1 to 4 tokens; padding holds NaN."""
    places = Places(torch.arange(4) < torch.tensor([[4], [2], [1]]))
    a = torch.rand(3, 2, 4, generator=torch.Generator().manual_seed(0), dtype=F64) + 0.5
    a = a.masked_fill(~places.mask[:, None], torch.nan)
    return Tokens(
        S, places, {S.a: Value(places.each, a), S.one: Value(places.same, torch.ones(3, 1, 1).to(a))}
    )


def test_padding_behind_a_norm_is_emptied() -> None:
    """A padding token writes 0, whose direction is 0/0; no sum over keys may see it.

    Terms are products of positive numbers, so that errors are relative: a score (2 products), a sum of at
    most 4 tokens, a norm of 7 columns and another sum, below 32 roundings a side; 4 unit vectors are summed.
    """
    tokens, built = some_tokens(), behind_a_norm()
    dense = DenseEvaluator(built.to_transformer())
    structured = StructuredEvaluator(built, FloatArithmetic(F64, "cpu"))
    with torch.no_grad():
        one, other = (side.block(side.start(tokens))[-1] for side in (dense, structured))
    real = tokens.places.mask
    for block in (S.b, S.c):
        assert other.read(block).isfinite().all()
        off = (one.read(block) - other.read(block))[real].abs().max()
        assert off <= 4 * gamma(64, 2.0**-53)
    assert other.values[S.b].partition.kind == "each"


def test_two_heads_with_opposite_scales_are_no_pair_unless_their_scores_are_opposite() -> None:
    """relu(a) - relu(2 a) is not linear in a: it is -a where a > 0 and 0 elsewhere."""
    a = dot(S.query.one, S.key.a.part(0))
    heads = HeadSum((ReluHead(a, S.a, S.b), ReluHead(2.0 * a, S.a, S.b, -1.0)))
    built = Construction("x", "a test", S, (S.a, S.one), (Layer("l", (heads,)),))
    places = Places(torch.ones(1, 2, dtype=torch.bool))
    numbers = torch.tensor([[[1.0, -2.0], [4.0, 8.0]]], dtype=F64)
    start = Tokens(
        S, places, {S.a: Value(places.each, numbers), S.one: Value(places.same, torch.ones(1, 1, 1).double())}
    )
    layers = StructuredEvaluator(built, FloatArithmetic(F64, "cpu"))
    assert layers.block(layers.start(start))[-1].read(S.b)[0].tolist() == [[-1.0, -4.0]] * 2


def test_both_states_are_read_and_pooled_alike() -> None:
    tokens = some_tokens()
    layers = StructuredEvaluator(behind_a_norm(), FloatArithmetic(F64, "cpu"))
    start, tokens = DenseEvaluator(behind_a_norm().to_transformer()).start(tokens), layers.start(tokens)
    for block in (S.a, S.one):
        assert torch.equal(start.read(block, 2)[:, 0], tokens.read(block, 2)[:, 0])
        assert start.read(block, 2).shape == tokens.read(block, 2).shape
    assert torch.equal(start.pooled((S.a,)).rows, tokens.pooled((S.a,)).rows)
    assert torch.equal(start.pooled((S.a,)).mask, tokens.pooled((S.a,)).mask)


def test_layers_are_made_once_for_an_evaluation_a_dtype_and_a_device() -> None:
    algorithm = ConstructedAlgorithm(behind_a_norm())
    made = [
        algorithm.evaluator(way, dtype, "cpu")
        for way in ("dense", "structured")
        for dtype in (F64, torch.float32)
    ]
    assert len(set(map(id, made))) == 4
    assert algorithm.evaluator("structured", F64, "cpu") is made[2]
    with pytest.raises(ValueError, match="evaluation is 'fast'; it is structured or dense"):
        algorithm.evaluator("fast", F64, "cpu")  # type: ignore[arg-type]


def test_a_move_with_a_factor_that_is_no_float_of_few_bits() -> None:
    """The factor is rounded to the dtype once, as in the dense weights."""
    s = Stream(a=1, b=1, one=1, w=1)
    layer = Layer("l", (ReluHead(dot(s.query.one, s.key.one), s.one, s.w),), (move(s.a, s.b, 0.1),))
    built = Construction("x", "a test", s, (s.a, s.one), (layer,))
    places = Places(torch.ones(1, 1, dtype=torch.bool))
    ones = Value(places.same, torch.ones(1, 1, 1))
    layers = StructuredEvaluator(built, FloatArithmetic(torch.float32, "cpu"))
    moved = layers.block(layers.start(Tokens(s, places, {s.a: ones, s.one: ones})))[-1]
    assert float(moved.read(s.b)) == float(torch.tensor(0.1))
    assert s.a not in moved.values


def test_a_norm_at_padding_has_a_gradient_of_zero() -> None:
    """0 over its length has no derivative: 1 stands there, as in the dense layers."""
    built = behind_a_norm()
    places = Places(torch.tensor([[True, True, True], [True, True, False]]))
    layers = StructuredEvaluator(built, FloatArithmetic(F64, "cpu"))
    a = torch.rand(2, 2, 3, generator=torch.Generator().manual_seed(1), dtype=F64).requires_grad_()
    ones = Value(places.same, torch.ones(2, 1, 1).double())
    start = Tokens(S, places, {S.a: Value(places.each, a), S.one: ones})
    state = layers.block(layers.start(start))[-1]
    (state.read(S.b) * places.mask[:, :, None])[..., 0].sum().backward()
    assert a.grad is not None
    assert a.grad.isfinite().all()
    assert a.grad[:, :, :2].all()
    assert not a.grad[1, :, 2].any()


def test_a_stream_that_holds_nothing_has_no_dense_form() -> None:
    with pytest.raises(ValueError, match="no block of the stream holds a value"):
        Tokens(S, some_tokens().places, {}).dense()
