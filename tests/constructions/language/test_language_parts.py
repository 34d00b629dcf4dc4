"""Parts of blocks, norms of what attention writes, division by the tokens, pick, rounding point by point."""

import numpy as np
import pytest
import torch
from compiled_parts import hinge_sum, picked
from hypothesis import given
from hypothesis import strategies as st

from constructions import (
    AssemblyError,
    Block,
    Construction,
    Layer,
    PiecewiseLinear,
    ReluHead,
    Score,
    SoftmaxHead,
    Stream,
    apply,
    chords,
    clear,
    dot,
    geometric,
    key_only,
    linear_pair,
    move,
    pick,
    uniform,
)
from constructions.language import curves
from constructions.language.rounding import gamma, unit_roundoff
from constructions.language.stream import Operand

U = 2.0**-53
DTYPES = [torch.float32, torch.float64]
S = Stream(a=6, b=6, c=2, d=2, scalar=1, other=1, one=1)
Q, K = S.query, S.key
SQUARE = chords(curves.square, uniform(-4, 4, 6), anchor=3)


def assemble(*layers: Layer, inputs: tuple[Block, ...] = (S.a, S.one), **options) -> Construction:
    return Construction("trial", "a test", S, inputs, layers, **options)


# --- parts of blocks --------------------------------------------------------------------------------------


def test_a_part_is_columns_of_its_block() -> None:
    assert repr(S.b.part(2)) == "b.2[8:9]"
    assert repr(S.b.part(1, 3)) == "b.1[9:12]"
    assert list(S.b.part(1, 3).columns) == [9, 10, 11]
    assert S.b.part(1, 3).slice == slice(9, 12)
    assert S.b.part(0, 6).slice == S.b.slice
    assert S.b.part(0, 6) != S.b  # a part is never the block, even where it has all its columns
    assert S.b.part(1, 3).whole == S.b
    assert S.b.whole == S.b
    assert S.b.part_of is None


def test_an_operand_has_parts_in_its_role() -> None:
    assert Q.b.part(1, 2) == Operand(S.b.part(1, 2), "query")
    assert repr(K.b.part(3)) == "k.b.3"
    score = 2 * dot(Q.a.part(1, 2), K.b.part(0, 2)) - key_only(K.a.part(5))
    assert str(score) == "2 <q.a.1, k.b.0> - k.a.5"
    assert score.reads == (S.a.part(1, 2), S.b.part(0, 2), S.a.part(5))


@pytest.mark.parametrize(("index", "width"), [(6, 1), (-1, 1), (2, 3), (1, 6), (0, 7), (1, 4)])
def test_columns_that_a_block_has_not_got_are_no_part(index: int, width: int) -> None:
    with pytest.raises(
        ValueError, match=rf"b\[6:12\] has no part {index} of width {width}; it has {6 // width}"
    ):
        S.b.part(index, width)
    with pytest.raises(ValueError, match="has no part"):
        Q.b.part(index, width)


@pytest.mark.parametrize("width", [0, -1])
def test_a_part_has_a_width_of_at_least_one(width: int) -> None:
    with pytest.raises(ValueError, match=rf"b\[6:12\] has no part 0 of width {width}"):
        S.b.part(0, width)


def test_a_part_has_no_parts() -> None:
    with pytest.raises(ValueError, match=r"b.1\[9:12\] is itself a part of b\[6:12\]; take parts of that"):
        S.b.part(1, 3).part(0)


def test_parts_are_read_in_scores_heads_and_the_mlp() -> None:
    head = SoftmaxHead(dot(Q.a.part(0), K.a.part(5)), read=S.a.part(1, 2), write=S.c)
    mlp = (apply(SQUARE, S.a.part(2, 2), S.d), apply(SQUARE, S.a.part(0, 3), S.scalar))
    assembled = assemble(Layer("first", (head,), mlp))
    g = torch.Generator().manual_seed(0)
    h = torch.randint(-4, 5, (1, 3, S.width), generator=g).double()
    h[..., S.c.start : S.one.start], h[..., S.one.start] = 0, 1
    with torch.no_grad():
        transformer = assembled.to_transformer()
        after = h + transformer.layers[0].attention(h)
        got = (transformer(h) - after)[0]
    weights = (h[..., 0:1] * h[..., None, :, 5]).softmax(-1)
    # Softmax of three integer scores, the largest differing by at most 32: gamma_{4N+10} of values up to 4,
    # on either side, and the sum of three.
    assert (after[..., S.c.slice] - weights @ h[..., 2:4]).abs().max() <= 2 * gamma(4 * 3 + 13, U) * 4
    expected = SQUARE(h[0, :, 4:6])
    # Sums of hinges against interpolation: each within its rounding bound, one piece and three added up; the
    # interpolation itself is gamma_11 of values up to 16.
    slack = SQUARE.rounding_error(torch.float64) + gamma(11, U) * 16
    assert (got[:, S.d.slice] - expected).abs().max() <= slack
    assert (got[:, S.scalar.start] - SQUARE(h[0, :, 0:3]).sum(-1)).abs().max() <= 4 * slack


PART_MISUSED = {
    "a head writes a part": (
        [Layer("first", (SoftmaxHead(Score(), S.a.part(0, 2), S.c.part(0, 2)),))],
        r"first: c.0\[12:14\] is part of a block; only whole blocks are written",
    ),
    "the MLP writes a part": (
        [Layer("first", (SoftmaxHead(Score(), S.a, S.b),), (apply(SQUARE, S.a.part(0), S.c.part(1)),))],
        r"first: c.1\[13:14\] is part of a block",
    ),
    "a part is cleared": (
        [Layer("first", (SoftmaxHead(Score(), S.a, S.b),), (clear(S.b.part(0)),))],
        r"first: b.0\[6:7\] is part of a block",
    ),
    "a part is moved away": (
        [Layer("first", (SoftmaxHead(Score(), S.a, S.b),), (move(S.b.part(0, 2), S.c),))],
        r"first: b.0\[6:8\] is part of a block",
    ),
    "a part is written to by pick": (
        [Layer("first", (SoftmaxHead(Score(), S.a, S.b),), (pick(S.a, S.b, S.c.part(0), 1.0),))],
        r"first: c.0\[12:13\] is part of a block",
    ),
    "a part of an empty block is read": (
        [Layer("first", (SoftmaxHead(Score(), S.b.part(0, 2), S.c),))],
        r"first: attention reads b.0\[6:8\] before anything is written there",
    ),
    "a score reads a part of an empty block": (
        [Layer("first", (SoftmaxHead(dot(Q.a.part(0), K.b.part(1)), S.a, S.b),))],
        r"first: attention reads b.1\[7:8\] before",
    ),
    "a part of another stream's block is read": (
        [Layer("first", (SoftmaxHead(Score(), Block("z", 0, 4).part(1, 2), S.c),))],
        r"first: z.1\[2:4\] is not a block of this stream",
    ),
}


@pytest.mark.parametrize(("layers", "message"), PART_MISUSED.values(), ids=PART_MISUSED.keys())
def test_parts_are_only_read(layers: list[Layer], message: str) -> None:
    with pytest.raises(AssemblyError, match=message):
        assemble(*layers)


def test_a_part_is_no_input() -> None:
    with pytest.raises(AssemblyError, match=r"the input a.0\[0:2\] is not a block of this stream"):
        assemble(Layer("first", (SoftmaxHead(Score(), S.a, S.b),)), inputs=(S.a, S.a.part(0, 2)))


# --- a norm of what attention writes ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@given(seed=st.integers(0, 2**32 - 1), tokens=st.integers(1, 9), exponent=st.integers(-10, 10))
def test_with_unit_output_attention_writes_its_direction(
    dtype: torch.dtype, seed: int, tokens: int, exponent: int
) -> None:
    heads = (linear_pair(dot(Q.a.part(0), K.scalar), read=S.a, write=S.b),)
    inputs = (S.a, S.scalar, S.one)
    plain, unit = (
        assemble(Layer("first", heads, unit_output=on), inputs=inputs).to_transformer(dtype)
        for on in (False, True)
    )
    g = torch.Generator().manual_seed(seed)
    h = (torch.randn(2, tokens, S.width, generator=g, dtype=torch.float64) * 2.0**exponent).to(dtype)
    h[..., 0] += 2.0**exponent  # a query that is 0 would have no direction
    with torch.no_grad():
        w, out = plain.layers[0].attention(h).double(), unit.layers[0].attention(h).double()
    length = w.norm(dim=-1, keepdim=True)
    # Six squares are added (the other columns are exact zeros) and divided by D: gamma_7, halved by the root;
    # rsqrt within two ulp, the gain D^-1/2 and two products: gamma_{3.5 + 4 + 2 + 2} < gamma_12 each entry.
    # Here in float64: a norm and a quotient, gamma_6.
    slack = gamma(12, unit_roundoff(dtype)) + gamma(6, U)
    real = length[..., 0] > 0
    assert real.any()
    assert ((out - w / length).abs() <= slack * (w / length).abs())[real].all()
    assert ((out.norm(dim=-1) - 1).abs() <= slack)[real].all()
    others = [c for c in range(S.width) if c not in S.b.columns]
    assert out[real][:, others].count_nonzero() == 0


def test_a_norm_needs_heads() -> None:
    first = Layer("first", (SoftmaxHead(Score(), S.a, S.b),))
    with pytest.raises(AssemblyError, match="second: a norm of what the attention writes, and no head"):
        assemble(first, Layer("second", (), (clear(S.b),), unit_output=True))


def test_the_norm_has_no_epsilon_and_is_in_the_table() -> None:
    layer = Layer("first", (SoftmaxHead(Score(), S.a, S.b),), unit_output=True)
    built = assemble(layer)
    norm = built.to_transformer().layers[0].attention.norm
    assert isinstance(norm, torch.nn.RMSNorm)
    assert norm.eps == 0
    assert norm.weight.tolist() == [S.width**-0.5] * S.width
    assert layer.shape.output_norm
    assert "norm" in built.explain()
    assert "the heads' sum / its Euclidean norm" in built.explain()
    assert not assemble(Layer("first", (SoftmaxHead(Score(), S.a, S.b),))).layers[0].shape.output_norm


# --- division by the number of tokens ---------------------------------------------------------------------


def test_softmax_does_not_divide_by_the_tokens() -> None:
    with pytest.raises(AssemblyError, match="trial: softmax weights sum to 1, there is no number of tokens"):
        assemble(Layer("first", (SoftmaxHead(Score(), S.a, S.b),)), divide_by_tokens=True)


@pytest.mark.parametrize("tokens", [1, 2, 3, 4, 5, 8])
def test_divided_by_the_tokens_attention_is_a_mean_over_the_real_ones(tokens: int) -> None:
    score = dot(Q.c, K.d) + key_only(K.one)
    inputs = (S.a, S.c, S.d, S.one)
    summed, mean = (
        assemble(
            Layer("first", (ReluHead(score, S.a, S.b),)), inputs=inputs, divide_by_tokens=on
        ).to_transformer()
        for on in (False, True)
    )
    g = torch.Generator().manual_seed(tokens)
    h = torch.randint(-8, 9, (2, 8, S.width), generator=g).double()
    h[..., S.b.slice], h[..., S.one.start] = 0, 1
    mask = torch.ones(2, 8, dtype=torch.bool)
    mask[1, tokens:] = False
    with torch.no_grad():
        total, got = (t.layers[0].attention(h, mask)[..., S.b.slice] for t in (summed, mean))
        alone = mean.layers[0].attention(h[1:, :tokens])[..., S.b.slice]
    size = (
        torch.relu(h[..., S.c.slice] @ h[..., S.d.slice].mT + 1) * mask[:, None, :] @ h[..., S.a.slice].abs()
    )
    N = mask.sum(1)[:, None, None]
    # Sums of integers are exact; each of N values is divided once, times its weight, and added: gamma_{N+2},
    # and the quotient here. A power of two divides exactly: then nothing is rounded.
    slack = 0.0 if tokens in (1, 2, 4, 8) else gamma(8 + 3, U)
    assert ((got - total / N).abs() <= slack * size / N).all()
    assert ((alone - got[1:, :tokens]).abs() <= 2 * slack * (size / N)[1:, :tokens]).all()
    assert size.max() > 0


# --- pick -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bound", [0.5, 1.0, 8.0, 1024.0])
def test_pick_is_the_entry_pointed_at_also_at_the_bound_and_at_zero(dtype: torch.dtype, bound: float) -> None:
    values = bound * torch.tensor([-1, -0.75, -0.125, 0, 0.125, 0.75, 1], dtype=dtype)
    x = torch.cartesian_prod(values, values, values)
    for k in range(3):
        by = torch.zeros_like(x)
        by[:, k] = 1
        # Multiples of B/8 up to 2 B: every sum is exact.
        assert torch.equal(picked(x, by, bound), x[:, k])
    assert picked(x, torch.zeros_like(x), bound).count_nonzero() == 0
    # by in {0, 1}^n may point at several: their sum.
    assert torch.equal(picked(x, torch.ones_like(x), bound), x.sum(1))


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    values=st.lists(st.floats(-1, 1, allow_subnormal=True), min_size=1, max_size=6),
    bound=st.floats(1e-3, 1e3),
    data=st.data(),
)
def test_pick_rounds_by_an_ulp_of_the_bound_and_is_zero_where_nothing_is_pointed_at(
    dtype: torch.dtype, values: list[float], bound: float, data: st.DataObject
) -> None:
    bound = float(torch.tensor(bound, dtype=dtype))
    x = (bound * torch.tensor([values], dtype=torch.float64)).to(dtype)
    k = data.draw(st.integers(0, len(values) - 1))
    by = torch.zeros_like(x)
    # x - B and -x - B are not above 0 for |x| <= B, rounded or not: every unit is exactly 0.
    assert picked(x, by, bound).item() == 0
    by[0, k] = 1
    # relu(x + B - B) - relu(-x + B - B): two sums of terms of at most 2 B + |x| each, a difference.
    slack = 2 * gamma(3, unit_roundoff(dtype)) * (2 * bound + float(x[0, k].abs()))
    assert abs(float(picked(x, by, bound)) - float(x[0, k])) <= slack


def test_beyond_its_bound_pick_is_wrong() -> None:
    x = torch.tensor([[3.0, 5.0], [-3.0, -5.0]], dtype=torch.float64)
    by = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert picked(x, by, 4.0).tolist() == [4.0, -4.0]  # 3 + relu(5 - 4): why a run checks the bound


def test_pick_prints_and_says_what_it_touches() -> None:
    part = pick(S.a, by=S.b, write=S.scalar, bound=2)
    assert str(part) == "<b, a> for |a| <= 2"
    assert (part.reads, part.writes, part.clears) == ((S.a, S.b), (S.scalar,), ())
    assert part.approximation_error == 0


@pytest.mark.parametrize(("read", "by", "write"), [(S.a, S.c, S.scalar), (S.a, S.b, S.c), (S.a, S.b, S.a)])
def test_pick_is_pointed_at_by_a_row_for_each_number_written(read: Block, by: Block, write: Block) -> None:
    width = write.width * read.width
    message = rf"pick reads .* the width of by must be {write.width} \* {read.width} = {width}"
    with pytest.raises(ValueError, match=message):
        pick(read, by, write, 1.0)


def test_a_pick_reads_two_different_columns() -> None:
    """A hidden unit has one weight a column: the sum of both was lost."""
    with pytest.raises(ValueError, match="which have columns in common; a unit reads two"):
        pick(S.a, by=S.a, write=S.scalar, bound=1.0)


@pytest.mark.parametrize("bound", [0.0, -1.0, float("inf"), float("nan")])
def test_picks_bound_is_positive_and_finite(bound: float) -> None:
    with pytest.raises(ValueError, match=rf"pick's bound is {bound}; it must be positive and finite"):
        pick(S.a, S.b, S.scalar, bound)


# --- rounding point by point ------------------------------------------------------------------------------

inverse_roots = st.builds(
    lambda low, span, pieces: chords(
        curves.inverse_sqrt,
        geometric(10.0**low, 10.0 ** (low + span), pieces),
        inputs=(0.0, 2 * 10.0 ** (low + span)),
    ),
    st.floats(-8, 2),
    st.floats(0.1, 12),
    st.integers(1, 400),
)
logs = st.builds(
    lambda decades, pieces: chords(curves.log, geometric(10.0**-decades, 1.0, pieces), inputs=(0.0, 1.0)),
    st.floats(0.3, 12),
    st.integers(1, 300),
)
squares = st.builds(
    lambda radius, pieces, where: chords(
        curves.square, uniform(-radius, radius, pieces), anchor=round(where * pieces)
    ),
    st.floats(0.01, 100),
    st.integers(1, 300),
    st.sampled_from([0.0, 0.3, 0.5, 1.0]),
)


def arguments(f: PiecewiseLinear, dtype: torch.dtype) -> torch.Tensor:
    """The knots, their neighbours in ``dtype``, points between them and the ends of the inputs."""
    t = np.linspace(0, 1, 5)[:-1]
    between = (f.knots[:-1, None] + (f.knots[1:] - f.knots[:-1])[:, None] * t).ravel()
    x = torch.as_tensor(np.concatenate([between, f.knots, f.inputs, [f.knots[f.anchor]]])).to(dtype)
    far = torch.tensor(torch.inf, dtype=dtype)
    x = torch.cat([x, torch.nextafter(x, far), torch.nextafter(x, -far)])
    low, high = f.inputs
    return x[(x.double() >= low) & (x.double() <= high)]


@pytest.mark.parametrize("dtype", DTYPES)
@given(f=st.one_of(inverse_roots, logs, squares))
def test_the_compiled_sum_is_within_its_rounding_at_every_point(
    dtype: torch.dtype, f: PiecewiseLinear
) -> None:
    x = arguments(f, dtype)
    error = (hinge_sum(f, x).double() - f(x)).abs().numpy()
    at = x.double().numpy()
    bound = f.rounding_error_at(dtype, x.double()).numpy()
    # f is interpolated here in float64 between two knots: gamma_11 of the larger of their values.
    right = np.clip(np.searchsorted(f.knots, at), 1, f.pieces)
    local = np.maximum(np.abs(f.values[right - 1]), np.abs(f.values[right]))
    assert (error <= bound + gamma(11, U) * local).all(), (error / bound).max()
    # The sums of either bound have the same positive terms or fewer, added in some order: gamma_{2 H}.
    assert (bound <= float(f.rounding_error(dtype)) * (1 + gamma(2 * f.units + 10, U))).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pieces", [16, 128, 1024])
def test_near_the_anchor_the_rounding_is_that_of_the_value_there(dtype: torch.dtype, pieces: int) -> None:
    """1/sqrt on twelve decades is 1e4 at one end and 1e-2 at the other: one number for all is useless."""
    f = chords(curves.inverse_sqrt, geometric(1e-8, 1e4, pieces))
    at_anchor = float(f.rounding_error_at(dtype, torch.tensor(1e4, dtype=torch.float64)))
    u = unit_roundoff(dtype)
    # At the anchor: the offset 0.01, gamma_{H+4} of it, the one knot there u |c t|, |c t| <= 0.01 M (the last
    # slope times 1e4: a chord falls by at most the value over its length), and 4 M u_64 0.01.
    assert at_anchor <= 1e-2 * (gamma(f.units + 4, u) + 2 * u * pieces + 8 * pieces * U)
    assert at_anchor < 1e-4 * f.rounding_error(dtype)
    # Elsewhere: in proportion to the value, times the condition of the sum (measured below 4).
    x = np.geomspace(1e-8, 1e4, 200)
    assert (
        f.rounding_error_at(dtype, torch.from_numpy(x)).numpy()
        <= 8 * (gamma(f.units + 4, u) + 4 * pieces * U) * f.curve.value(x)
    ).all()


def test_a_hinge_whose_knot_rounds_onto_the_argument_adds_nothing() -> None:
    """A knot just above x, or just below, rounds to x in float32: the hinge is closed either way."""
    x32 = torch.tensor(1 / 3, dtype=torch.float32)
    x = float(x32)
    for knot in (x * (1 + 2.0**-26), x * (1 - 2.0**-26)):
        for anchor in (0, 2):
            f = chords(curves.square, np.array([0.0, knot, 1.0]), anchor=anchor)
            error = abs(float(hinge_sum(f, x32[None])) - float(f(x32)))
            assert error <= float(f.rounding_error_at(torch.float32, x32.double())) + gamma(11, U)


@pytest.mark.parametrize("pieces", [1, 3, 64])
def test_the_chords_of_the_inverse_root_are_convex_and_their_error_is_known(pieces: int) -> None:
    """A chord of 1/sqrt on [a, q^2 a], times sqrt(a): 1 - s (t - 1) with s = 1/(q (q + 1)). The distance to
    1/sqrt t is largest where s = t^(-3/2)/2, t = (2s)^(-2/3): it is 1 + s - 3/2 (2s)^(1/3).
    """
    f = chords(curves.inverse_sqrt, geometric(1e-2, 1e2, pieces))
    q = 1e4 ** (1 / (2 * pieces))
    s = 1 / (q * (q + 1))
    expected = (1 + s - 1.5 * (2 * s) ** (1 / 3)) / 1e-2**0.5
    # Values of at most 10 with a few roundings each, and the powers of the knots: relative 12 u.
    assert abs(f.approximation_error - expected) <= 64 * U * 10
