"""Layers put together: what is refused, and what the compiled weights do to the stream."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from constructions import (
    AssemblyError,
    Construction,
    Layer,
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
from constructions.language.rounding import gamma, unit_roundoff
from constructions.language.stream import Block

S = Stream(a=2, b=2, c=2, scalar=1, one=1)
AVERAGE = SoftmaxHead(Score(), S.a, S.c)
SQUARE = chords(curves.square, uniform(-4, 4, 6), anchor=3)


def assemble(*layers: Layer, inputs: tuple[Block, ...] = (S.a, S.one), loops: int = 1) -> Construction:
    return Construction("trial", "a test", S, inputs, layers, loops)


# --- refused ----------------------------------------------------------------------------------------------

REFUSED = {
    "attention reads an empty block": (
        [Layer("first", (SoftmaxHead(Score(), S.b, S.c),))],
        r"first: attention reads b\[2:4\] before anything is written there",
    ),
    "a score reads an empty block": (
        [Layer("first", (SoftmaxHead(dot(S.query.a, S.key.b), S.a, S.c),))],
        r"first: attention reads b\[2:4\] before",
    ),
    "a head reads what another head of its layer writes": (
        [Layer("first", (AVERAGE, SoftmaxHead(Score(), S.c, S.b)))],
        r"first: attention reads c\[4:6\] before",
    ),
    "the MLP reads an empty block": (
        [Layer("first", (AVERAGE,), (apply(SQUARE, S.b, S.b),))],
        r"first: the MLP reads b\[2:4\] before",
    ),
    "attention writes a block that holds a value": (
        [Layer("first", (SoftmaxHead(Score(), S.a, S.a),))],
        r"first: attention writes a\[0:2\], which still holds a value",
    ),
    "the MLP writes a block that holds a value": (
        [Layer("first", (AVERAGE,), (apply(SQUARE, S.a, S.c),))],
        r"first: the MLP writes c\[4:6\], which still holds a value; say overwrite or clear it",
    ),
    "two heads write one block": (
        [Layer("first", (AVERAGE, AVERAGE))],
        r"first: c\[4:6\] has two writers in one sub-layer",
    ),
    "two MLP parts write one block": (
        [Layer("first", (AVERAGE,), (apply(SQUARE, S.a, S.b), move(S.c, S.b)))],
        r"first: b\[2:4\] has two writers",
    ),
    "two MLP parts clear one block": (
        [Layer("first", (AVERAGE,), (clear(S.c), move(S.c, S.b)))],
        r"first: c\[4:6\] has two writers",
    ),
    "an empty block is cleared": (
        [Layer("first", (AVERAGE,), (clear(S.b),))],
        r"first: b\[2:4\] is cleared but holds nothing",
    ),
    "a block is read after it was cleared": (
        [Layer("first", (AVERAGE,), (clear(S.a),)), Layer("second", (SoftmaxHead(Score(), S.a, S.b),))],
        r"second: attention reads a\[0:2\] before",
    ),
    "softmax and relu together": (
        [Layer("first", (AVERAGE, ReluHead(Score(), S.a, S.b)))],
        r"first: a layer has one kind of attention, got \['relu', 'softmax'\]",
    ),
    "no head at all": (
        [Layer("first", (), (clear(S.a),))],
        "trial: a head is needed in some layer, got no head",
    ),
    "a block of another stream is read": (
        [Layer("first", (SoftmaxHead(Score(), Block("z", 0, 2), S.c),))],
        r"first: z\[0:2\] is not a block of this stream",
    ),
}


@pytest.mark.parametrize(("layers", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_layers_that_do_not_fit_are_refused(layers: list[Layer], message: str) -> None:
    with pytest.raises(AssemblyError, match=message):
        assemble(*layers)


def test_attention_does_not_write_a_block_of_another_stream() -> None:
    with pytest.raises(AssemblyError, match=r"z\[1:3\] is not a block of this stream"):
        assemble(Layer("first", (SoftmaxHead(Score(), S.a, Block("z", 1, 2)),)))


def test_the_mlp_does_not_write_a_block_of_another_stream() -> None:
    with pytest.raises(AssemblyError, match=r"z\[1:3\] is not a block of this stream"):
        assemble(Layer("first", (AVERAGE,), (apply(SQUARE, S.a, Block("z", 1, 2)),)))


def test_inputs_are_blocks_of_the_stream() -> None:
    with pytest.raises(AssemblyError, match=r"z\[1:3\] is not a block of this stream"):
        assemble(Layer("first", (AVERAGE,)), inputs=(S.a, Block("z", 1, 2)))


def test_a_key_only_term_needs_the_constant_one() -> None:
    stream = Stream(a=2, c=2, scalar=1)
    layer = Layer("first", (SoftmaxHead(key_only(stream.key.scalar), stream.a, stream.c),))
    with pytest.raises(AssemblyError, match="a key-only term needs a block 'one' of width 1"):
        Construction("trial", "a test", stream, stream.blocks[::2], (layer,))
    wide = Stream(a=2, c=2, scalar=1, one=2)
    layer = Layer("first", (SoftmaxHead(key_only(wide.key.scalar), wide.a, wide.c),))
    with pytest.raises(AssemblyError, match="a key-only term needs a block 'one' of width 1"):
        Construction("trial", "a test", wide, (wide.a, wide.scalar, wide.one), (layer,))
    head = SoftmaxHead(key_only(S.key.scalar), S.a, S.c)
    with pytest.raises(AssemblyError, match=r"attention reads one\[7:8\] before"):
        assemble(Layer("first", (head,)), inputs=(S.a, S.scalar))


def test_a_loop_ends_where_it_starts() -> None:
    open_loop = Layer("first", (AVERAGE,))
    assert assemble(open_loop).loops == 1
    with pytest.raises(AssemblyError, match=r"after one pass the live blocks differ.*\['c\[4:6\]'\]"):
        assemble(open_loop, loops=2)
    closed = Layer("first", (AVERAGE,), (clear(S.a), move(S.c, S.b)))
    again = Layer("second", (SoftmaxHead(Score(), S.b, S.a),), (clear(S.b),))
    assert assemble(closed, again, loops=2).shape().loops == 2


def test_overwriting_and_clearing_make_room() -> None:
    assemble(Layer("first", (AVERAGE,), (apply(SQUARE, S.a, S.c, overwrite=True),)))
    assemble(Layer("first", (AVERAGE,), (clear(S.c), apply(SQUARE, S.a, S.c))))


# --- what the compiled weights do -------------------------------------------------------------------------


def stream_values(seed: int, dtype: torch.dtype, tokens: int = 5) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    scale = 10.0 ** torch.randint(-12, 6, (1, tokens, S.width), generator=g)
    h = (torch.randn(1, tokens, S.width, generator=g, dtype=torch.float64) * scale).to(dtype)
    h[..., S.one.start] = 1
    return h


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(seed=st.integers(0, 2**32 - 1))
def test_moving_and_clearing_are_exact_to_the_bit(dtype: torch.dtype, seed: int) -> None:
    construction = assemble(
        Layer("first", (SoftmaxHead(Score(), S.one, S.scalar),), (move(S.a, S.c, -4), clear(S.b))),
        inputs=(S.a, S.b, S.one),
    )
    mlp = construction.to_transformer(dtype).layers[0].mlp
    h = stream_values(seed, dtype)
    h[..., S.c.slice] = 0
    with torch.no_grad():
        after = h + mlp(h)
    # relu(a) - relu(-a) has one term that is 0, and a factor of 4 only moves the exponent: no rounding.
    assert torch.equal(after[..., S.c.slice], -4 * h[..., S.a.slice])
    assert after[..., S.a.slice].count_nonzero() == after[..., S.b.slice].count_nonzero() == 0
    assert torch.equal(after[..., S.scalar.start :], h[..., S.scalar.start :])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_apply_overwrites_or_sums(dtype: torch.dtype) -> None:
    construction = assemble(
        Layer(
            "first",
            (AVERAGE,),
            (apply(SQUARE, S.a, S.b, scale=-3, overwrite=True), apply(SQUARE, S.a, S.scalar, scale=0.5)),
        ),
        inputs=(S.a, S.b, S.one),
    )
    mlp = construction.to_transformer(dtype).layers[0].mlp
    u = unit_roundoff(dtype)
    x = torch.linspace(-4, 4, 41, dtype=torch.float64).to(dtype)
    h = torch.zeros(1, 41, S.width, dtype=dtype)
    h[0, :, S.a.slice] = torch.stack([x, x.flip(0)], 1)
    h[0, :, S.b.slice], h[..., S.one.start] = 7.0, 1.0
    with torch.no_grad():
        after = (h + mlp(h))[0].double()
    exact = SQUARE(h[0, :, S.a.slice])
    # Errors of 3 f: 3 times the bound of one f, and the old 7 that joins the sum, is subtracted and added:
    # the whole sum has 2 + 2 more terms, of total size 3 max f + 14, so gamma_{H+4} of it.
    one = SQUARE.rounding_error(dtype)
    units = SQUARE.units + 8
    assert ((after[:, S.b.slice] + 3 * exact).abs() <= 3 * one + gamma(units, u) * (3 * 16 + 14)).all()
    # Two f, halved: the bound of each, and one sum of twice the units of total size 16.
    assert ((after[:, S.scalar.start] - exact.sum(-1) / 2).abs() <= one + gamma(2 * units, u) * 16).all()


@given(seed=st.integers(0, 2**32 - 1))
def test_a_linear_pair_is_the_bilinear_map(seed: int) -> None:
    score = 2 * dot(S.query.a, S.key.b) - S.key.scalar
    construction = assemble(
        Layer("first", (linear_pair(score, S.b, S.c, scale=-3),)), inputs=(S.a, S.b, S.scalar, S.one)
    )
    g = torch.Generator().manual_seed(seed)
    h = torch.randint(-8, 9, (2, 6, S.width), generator=g).double()
    h[..., S.c.slice], h[..., S.one.start] = 0, 1
    with torch.no_grad():
        after = construction.to_transformer()(h)
    a, b, scalar = h[..., S.a.slice], h[..., S.b.slice], h[..., S.scalar.start]
    expected = -3 * (2 * a @ b.mT - scalar[:, None, :]) @ b
    assert torch.equal(after[..., S.c.slice], expected)  # integers far below 2^53: exact
    assert torch.equal(after[..., : S.c.start], h[..., : S.c.start])


def test_softmax_weighs_tokens_by_the_score_as_it_is_written() -> None:
    stream = Stream(a=16, b=16, c=1, value=1, one=1)
    head = SoftmaxHead(dot(stream.query.a, stream.key.b), stream.value, stream.c)
    construction = Construction(
        "t", "t", stream, stream.blocks[:2] + stream.blocks[3:], (Layer("l", (head,)),)
    )
    h = torch.zeros(1, 2, stream.width, dtype=torch.float64)
    h[..., stream.a.slice] = 0.25
    h[0, 0, stream.b.slice] = torch.log(torch.tensor(3.0, dtype=torch.float64)) / 4
    h[0, 0, stream.value.start] = 1
    # <a, b> = 16 * 0.25 * log(3)/4 = log 3 against 0: weights 3/4 and 1/4. A hidden 1/sqrt(16) would give
    # 3^(1/4) / (1 + 3^(1/4)) = 0.568. Rounding: the score, log 3, is a sum of 16 products with a rounded
    # factor, gamma_18 of 1.1; the softmax of two gamma_18 (two exponentials within 4u, sum, quotient).
    with torch.no_grad():
        got = construction.to_transformer()(h)[0, :, stream.c.start]
    assert ((got - 0.75).abs() <= 1.1 * gamma(18, 2.0**-53) + gamma(18, 2.0**-53)).all()
