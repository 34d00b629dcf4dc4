"""Stream, Score, heads and MLP parts: what can be written, how it prints, what is refused."""

import math

import pytest

from constructions import (
    Block,
    HeadSum,
    ReluHead,
    Score,
    SoftmaxHead,
    Stream,
    apply,
    chords,
    clear,
    dot,
    key_only,
    linear_pair,
    move,
    uniform,
)
from constructions.language import curves

S = Stream(x=8, mu=8, slot=3, other=3, scalar=1, one=1)
Q, K = S.query, S.key
SQUARE = chords(curves.square, uniform(-1, 1, 4))


def test_blocks_lie_one_after_the_other_and_print_their_columns() -> None:
    assert [repr(b) for b in S.blocks] == [
        "x[0:8]",
        "mu[8:16]",
        "slot[16:19]",
        "other[19:22]",
        "scalar[22:23]",
        "one[23:24]",
    ]
    assert S.width == 24
    assert S.mu == Block("mu", 8, 8)
    assert S.mu.slice == slice(8, 16)
    assert list(S.slot.columns) == [16, 17, 18]
    assert "mu" in S
    assert "nu" not in S
    assert repr(S).startswith("Stream(x[0:8], mu[8:16]")
    assert (repr(Q.x), repr(K.x)) == ("q.x", "k.x")
    assert Q.x.block == S.x


@pytest.mark.parametrize("width", [0, -1])
def test_a_block_has_a_width_of_at_least_one(width: int) -> None:
    with pytest.raises(ValueError, match=rf"'x' has width {width}; a width is at least 1"):
        Stream(x=width)


@pytest.mark.parametrize("name", ["blocks", "width", "query", "key"])
def test_a_block_does_not_take_a_name_of_the_stream(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name!r} is taken"):
        Stream(**{name: 2})


def test_a_missing_block_is_named_with_those_that_exist() -> None:
    with pytest.raises(AttributeError, match=r"no block 'nu' in the stream; it has x, mu, slot"):
        _ = S.nu
    with pytest.raises(AttributeError, match="no block 'nu'"):
        _ = Q.nu


def test_a_stream_cannot_be_changed() -> None:
    stream = Stream(x=2, y=2)
    with pytest.raises(AttributeError):
        stream.x = stream.y  # type: ignore[misc]
    assert stream.x == Block("x", 0, 2)


def test_a_score_prints_as_its_formula() -> None:
    score = dot(Q.x, K.mu) + 2 * dot(Q.slot, K.other) - K.scalar - 0.5 * key_only(K.one)
    assert str(score) == "<q.x, k.mu> + 2 <q.slot, k.other> - k.scalar - 0.5 k.one"
    assert str(-score) == "-<q.x, k.mu> - 2 <q.slot, k.other> + k.scalar + 0.5 k.one"
    assert str(Score()) == "0"
    assert str(K.scalar - dot(Q.x, K.mu)) == "k.scalar - <q.x, k.mu>"


def test_score_arithmetic_is_linear_and_exact() -> None:
    a, b = dot(Q.x, K.mu), dot(K.other, Q.slot)
    terms = [(t.coefficient, t.query, t.key) for t in (3 * (a - b) - K.scalar).terms]
    assert terms == [(3.0, S.x, S.mu), (-3.0, S.slot, S.other), (-1.0, None, S.scalar)]
    assert (a + b).rank == 11
    assert (a + b + a).reads == (S.x, S.mu, S.slot, S.other)
    assert Score() + a == a
    assert set((K.scalar + a).terms) == set((key_only(K.scalar) + a).terms)
    assert set((K.scalar - a).terms) == set((key_only(K.scalar) - a).terms)
    assert a * 2 == 2 * a
    assert 2 * a != a + a  # the same function, written differently: terms are kept as they were written


def test_dot_takes_its_operands_in_either_order() -> None:
    assert dot(Q.x, K.mu) == dot(K.mu, Q.x)
    assert dot(Q.x, K.mu) != dot(Q.mu, K.x)


def test_dot_refuses_blocks_of_different_width() -> None:
    with pytest.raises(ValueError, match=r"dot\(q.x, k.slot\) joins widths 8 and 3"):
        dot(Q.x, K.slot)


@pytest.mark.parametrize("pair", [(Q.x, Q.mu), (K.x, K.mu)])
def test_dot_refuses_two_blocks_of_one_side(pair) -> None:
    with pytest.raises(ValueError, match="needs one query block and one key block"):
        dot(*pair)


def test_a_term_in_the_query_alone_is_refused() -> None:
    with pytest.raises(ValueError, match=r"q.scalar alone is the same for every key, so softmax cannot"):
        _ = dot(Q.x, K.mu) + Q.scalar
    with pytest.raises(ValueError, match="softmax cannot see it"):
        key_only(Q.scalar)


def test_a_key_only_term_is_a_scalar() -> None:
    with pytest.raises(ValueError, match=r"k.slot has width 3; a key-only term has width 1"):
        _ = dot(Q.x, K.mu) - K.slot


@pytest.mark.parametrize("factor", [math.nan, math.inf, -math.inf, "2", True, None])
def test_a_score_is_scaled_by_a_finite_number(factor) -> None:
    with pytest.raises(ValueError, match="scaled by a finite number"):
        _ = dot(Q.x, K.mu) * factor


@pytest.mark.parametrize("value", [1.0, S.scalar, None])
def test_only_scores_and_key_blocks_can_be_added(value) -> None:
    with pytest.raises(ValueError, match="a score is made of dot"):
        _ = dot(Q.x, K.mu) + value


def test_a_head_prints_its_kind_score_and_value() -> None:
    head = ReluHead(dot(Q.x, K.mu), read=S.slot, write=S.other, scale=-2)
    assert str(head) == "-2 relu(<q.x, k.mu>) k.slot"
    assert str(SoftmaxHead(Score(), S.x, S.mu)) == "softmax(0) k.x"
    assert (head.size, SoftmaxHead(Score(), S.slot, S.other).size) == (8, 3)


def test_a_head_reads_and_writes_one_width() -> None:
    with pytest.raises(ValueError, match=r"reads x\[0:8\] and writes slot\[16:19\]; their widths 8 and 3"):
        SoftmaxHead(Score(), read=S.x, write=S.slot)


def test_a_head_sum_writes_one_block() -> None:
    a, b = ReluHead(Score(), S.x, S.mu), ReluHead(Score(), S.x, S.x)
    with pytest.raises(ValueError, match=r"write one block, got \['mu\[8:16\]', 'x\[0:8\]'\]"):
        HeadSum((a, b))
    with pytest.raises(ValueError, match=r"write one block, got \[\]"):
        HeadSum(())
    assert HeadSum((a, a)).write == S.mu


def test_a_linear_pair_is_two_heads_of_opposite_sign() -> None:
    score = dot(Q.x, K.mu) - K.scalar
    plus, minus = linear_pair(score, S.slot, S.other, scale=3).heads
    assert (plus.score, plus.scale, plus.attention) == (score, 3, "relu")
    assert (minus.score, minus.scale, minus.attention) == (-score, -3, "relu")


def test_parts_of_an_mlp_print_and_say_what_they_touch() -> None:
    part = apply(SQUARE, read=S.x, write=S.scalar, scale=0.5, overwrite=True)
    assert str(part) == "0.5 sum square~4 on [-1, 1](x)"
    assert (part.reads, part.writes, part.clears) == ((S.x,), (S.scalar,), (S.scalar,))
    # Eight entries summed, half of h^2/4 = 1/16 each: 1/4, every number a power of two.
    assert part.approximation_error == 0.25
    moved = move(S.slot, S.other, scale=-2)
    assert str(moved) == "-2 slot"
    assert (moved.reads, moved.writes, moved.clears) == ((S.slot,), (S.other,), (S.slot,))
    assert (clear(S.x).reads, clear(S.x).writes, clear(S.x).clears) == ((), (), (S.x,))
    assert moved.approximation_error == clear(S.x).approximation_error == 0


def test_apply_writes_a_width_that_divides_what_it_reads() -> None:
    with pytest.raises(ValueError, match=r"reads x\[0:8\] and writes slot\[16:19\]"):
        apply(SQUARE, read=S.x, write=S.slot)
    with pytest.raises(ValueError, match="read and written must divide 1"):
        apply(SQUARE, read=S.scalar, write=S.x)


@pytest.mark.parametrize(("read", "write"), [(S.x, S.slot), (S.x, S.x)])
def test_move_needs_two_blocks_of_one_width(read: Block, write: Block) -> None:
    with pytest.raises(ValueError, match="move needs two blocks of one width"):
        move(read, write)


@pytest.mark.parametrize("scale", [math.nan, math.inf])
def test_no_part_has_a_scale_that_is_not_finite(scale: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        SoftmaxHead(Score(), S.x, S.mu, scale)
    with pytest.raises(ValueError, match="finite"):
        apply(SQUARE, S.x, S.mu, scale)
    with pytest.raises(ValueError, match="finite"):
        move(S.x, S.mu, scale)
