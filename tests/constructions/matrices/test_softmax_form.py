"""The softmax form of linear pairs: close by the proved error, nothing at the sink, lone heads refused."""

import dataclasses
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sublayer_rounding import attention_tolerance
from torch import Tensor

from constructions import (
    Construction,
    Layer,
    ReluHead,
    Score,
    SoftmaxHead,
    Stream,
    apply,
    chords,
    clear,
    em_construction,
    move,
    uniform,
)
from constructions.em.tasks import gather_tasks
from constructions.language import curves
from constructions.language.counts import count
from constructions.language.rounding import gamma, unit_roundoff
from constructions.language.structured.arithmetic import FloatArithmetic
from constructions.language.structured.evaluation import DenseEvaluator, StructuredEvaluator
from constructions.language.structured.partitions import Tokens
from constructions.matrices import products
from constructions.matrices.inverse import inverse_construction
from constructions.matrices.machine import last_state, matrix_tokens
from constructions.matrices.newton import reciprocal_construction
from constructions.matrices.softmax_form import (
    in_float32,
    linear_pairs,
    pair_error,
    softmax_form,
    with_reach,
    with_sink,
)
from constructions.matrices.sweep import sweep_construction
from constructions.tensor_power.softmax_bounds import Heads, heads_for

N = 3
S = Stream(ids=N, A=N, B=N, C=N)
TIMES = products.times(S.A, S.ids, S.B, S.C)
PRODUCT = Construction("a product", "a test", S, (S.ids, S.A, S.B), (Layer("trial", (TIMES,)),))
U64 = unit_roundoff(torch.float64)
DTYPES = [torch.float64, torch.float32]


def blocks_of(A: Tensor, B: Tensor) -> dict:
    return {S.ids: torch.eye(N).to(A).expand_as(A), S.A: A, S.B: B}


def product_by_softmax(A: Tensor, B: Tensor, heads: Heads, dtype: torch.dtype, dense: bool) -> Tensor:
    """(B, 1 + N, N): what C holds, the sink first."""
    form = softmax_form(PRODUCT, heads)
    tokens = with_sink(form.stream, matrix_tokens(S, {b: m.to(dtype) for b, m in blocks_of(A, B).items()}))
    evaluator = (
        DenseEvaluator(form.to_transformer(dtype))
        if dense
        else StructuredEvaluator(form, FloatArithmetic(dtype, "cpu"))
    )
    with torch.no_grad():
        return last_state(evaluator, form, tokens).read(form.stream.C).double()


def drawn(batch: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    A, B = (torch.rand(batch, N, N, generator=generator).double() * 2 - 1 for _ in range(2))
    return A, B


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("pairs", [1, 2, 3])
def test_a_product_is_within_the_proved_error(dtype: torch.dtype, dense: bool, pairs: int) -> None:
    """The score of A_is is one number (ids are one-hot): the sizes are those of the scores."""
    A, B = drawn(40, seed=pairs)
    heads = Heads(0.25, pairs, 18.0 if dtype == torch.float32 else 32.0)
    found = product_by_softmax(A, B, heads, dtype, dense)[:, 1:]
    bound = pair_error(A, A.abs(), B, 1.0, heads, dtype, rank=N, in_layer=2 * pairs)
    assert bool(((found - A @ B).abs() <= bound.total).all())
    assert bool((bound.approximation <= 4.0 * 0.25 ** (2 * pairs)).all())  # O(eps^2p)


def test_with_fewer_pairs_or_a_lower_sink_the_bound_is_broken() -> None:
    """The bound of three pairs is not kept by two, and that of a sink of 30 not by one of 4."""
    A, B = drawn(40, seed=9)
    few, many = (Heads(0.5, p, 30.0) for p in (2, 3))
    bound = pair_error(A, A.abs(), B, 1.0, many, torch.float64, N, 6).total
    exact = A @ B
    assert bool(((product_by_softmax(A, B, few, torch.float64, True)[:, 1:] - exact).abs() > bound).any())
    low = dataclasses.replace(many, sink=4.0)
    assert bool(((product_by_softmax(A, B, low, torch.float64, True)[:, 1:] - exact).abs() > bound).any())
    leaky = pair_error(A, A.abs(), B, 1.0, low, torch.float64, N, 6).total
    assert bool(((product_by_softmax(A, B, low, torch.float64, True)[:, 1:] - exact).abs() <= leaky).all())


def test_the_error_falls_with_the_power_of_epsilon() -> None:
    """D_p(a) - a is c eps^2p a^(2p+1) and a next term: halving eps divides the error by 4^p.

    sinh(x)/eps gives a^3/6 and a^5/120; (4 sinh(x) - sinh(2 x)/2)/(3 eps) gives -a^5/30 and -a^7/252. Terms
    after the next add less than 1 % of it for x <= 1/2.
    """
    A, B = drawn(20, seed=3)
    for pairs, leading, after in ((1, 1 / 6, 1 / 120), (2, -1 / 30, 1 / 252)):
        for e in (0.25, 0.125):
            heads = Heads(e, pairs, 36.0)
            error = product_by_softmax(A, B, heads, torch.float64, True)[:, 1:] - A @ B
            first = leading * e ** (2 * pairs) * A ** (2 * pairs + 1) @ B
            rest = 1.01 * after * e ** (2 * pairs + 2) * A.abs() ** (2 * pairs + 3) @ B.abs()
            bound = pair_error(A, A.abs(), B, 1.0, heads, torch.float64, rank=N, in_layer=2 * pairs)
            allowed = rest + bound.leakage + bound.rounding
            assert bool(((error - first).abs() <= allowed).all())
            assert float(allowed.norm()) < 0.02 * float(error.norm())  # the leading term is the error


@pytest.mark.parametrize("dense", [False, True])
def test_the_sink_itself_holds_nothing_afterwards(dense: bool) -> None:
    """It reads itself alone, exactly: the heads of a pair would leave a few u of |B| / eps, dense."""
    A, B = drawn(10, seed=4)
    found = product_by_softmax(A, B, Heads(0.25, 2, 32.0), torch.float64, dense)
    assert not found[:, 0].any()


@pytest.mark.parametrize("dense", [False, True])
def test_product_upon_product_beside_a_large_scale(dense: bool) -> None:
    """C <- A C four times: an error E of C becomes |A| E, and pair_error is added at ``|C| + E``.

    u |C| / eps = 1e-12 at the sink, rounded beside e^c / eps = 7e24, would be 1e-12 * 7e24 * u = 1e-3.
    The reference and the move to C round by a few u of their terms: 8 N u.
    """
    s = Stream(ids=N, A=N, C=N, D=N)
    layer = Layer("C <- A C", (products.times(s.A, s.ids, s.C, s.D),), (clear(s.C), move(s.D, s.C)))
    layers = Construction("powers", "a test", s, (s.ids, s.A, s.C), (layer,), loops=4)
    heads = Heads(1e-4, 2, 48.0)
    A, C = drawn(5, seed=8)
    form = softmax_form(layers, heads)
    tokens = matrix_tokens(s, {s.ids: torch.eye(N).double().expand_as(A), s.A: A, s.C: C})
    state, off = C, torch.zeros_like(C)
    for _ in range(4):
        worst = pair_error(A, A.abs(), state.abs() + off, 1.0, heads, torch.float64, N + 2, 4)
        state, off = A @ state, A.abs() @ off + worst.total + 8 * N * U64 * (A.abs() @ (state.abs() + off))
    evaluator = (
        DenseEvaluator(form.to_transformer())
        if dense
        else StructuredEvaluator(form, FloatArithmetic(torch.float64, "cpu"))
    )
    with torch.no_grad():
        now = evaluator.start(with_sink(form.stream, tokens))
        for _ in range(4):
            now = evaluator.block(now)[-1]
    assert bool(((now.read(s.C)[:, 1:] - state).abs() <= off).all())
    assert float(off.max()) < 1e-7


@pytest.mark.parametrize("reach", [1.0, 4.0, 0.5])
def test_a_reach_divides_the_step_size_of_its_pair(reach: float) -> None:
    """Scores ``reach A``: the error is that of eps / reach at them, reach times that of eps at A."""
    A, B = drawn(10, seed=6)
    heads = Heads(0.25, 2, 32.0)
    form = softmax_form(PRODUCT, heads, reach=lambda _: reach)
    tokens = with_sink(form.stream, matrix_tokens(S, blocks_of(reach * A, B)))
    with torch.no_grad():
        now = last_state(StructuredEvaluator(form, FloatArithmetic(torch.float64, "cpu")), form, tokens)
    found = now.read(form.stream.C)[:, 1:]
    own = with_reach(heads, reach)
    assert own.epsilon == 0.25 / reach
    bound = pair_error(reach * A, reach * A.abs(), B, 1.0, own, torch.float64, N, 4)
    assert bool(((found - reach * A @ B).abs() <= bound.total).all())
    same = pair_error(A, A.abs(), B, 1.0, heads)
    assert torch.allclose(bound.approximation, reach * same.approximation, rtol=1e-12, atol=0)
    with pytest.raises(ValueError, match=r"^the reach of a score is -1.0; it is positive and finite$"):
        softmax_form(PRODUCT, heads, reach=lambda _: -1.0)


def test_equal_tokens_count_by_their_number() -> None:
    """Three tokens, the last two alike, are two classes; queries of the first class alone."""
    A, B = drawn(6, seed=7)
    A[:, :, 2], B[:, 2] = A[:, :, 1], B[:, 1]
    counts = torch.tensor([[1, 2]]).expand(6, -1)
    heads = Heads(0.25, 2, 20.0)
    each = pair_error(A, A.abs(), B, 1.0, heads, torch.float64, N, 4)
    first = A[:, :1, :2]
    some = pair_error(first, first.abs(), B[:, :2], 1.0, heads, torch.float64, N, 4, counts)
    for part in ("approximation", "leakage", "rounding"):
        assert torch.allclose(getattr(some, part), getattr(each, part)[:, :1], rtol=1e-9, atol=0)


def test_newton_s_inverse_in_softmax_attention_layer_by_layer(spd) -> None:
    """Every layer against the ReLU layer from the same state: within the pairs' errors, and the rounding of
    the ReLU heads, gamma_{2n+10} of the terms, and of the move, 2 u (|W| + |X|) on either side.
    """
    A = spd(6, N, 0.5, 2.0)
    built = inverse_construction(N, 0.5, 2.0, 4)
    heads = in_float32(heads_for(1e-6, N, 3))
    form = softmax_form(built.construction, heads)
    assert (form.order, form.kind) == (built.construction.order, "softmax")
    transformer, plain = form.to_transformer(), built.to_transformer()
    with torch.no_grad():
        h = with_sink(form.stream, built.tokens(A)).dense()
        for number in form.sequence:
            data = h[:, 1:, : built.stream.width]
            (written,) = built.construction.layers[number].heads
            pairs = linear_pairs(written)
            bound = torch.zeros(())
            for head in pairs:
                (term,) = head.score.terms
                query, key, read = (data[..., b.slice] for b in (term.query, term.key, head.read))
                scores = term.coefficient * query @ key.mT
                sizes = abs(term.coefficient) * query.abs() @ key.abs().mT
                in_layer = 2 * heads.pairs * len(pairs)
                found = pair_error(scores, sizes, read, head.scale, heads, torch.float64, N, in_layer)
                relu = gamma(2 * N + 10, U64) * abs(head.scale) * sizes @ read.abs()
                bound = bound + found.total + relu
            expected = plain.layers[number](data)
            h = transformer.layers[number](h)
            X = built.stream.X.slice
            moved = 4 * U64 * (expected[..., X].abs() + data[..., X].abs() + bound)
            assert bool(((h[:, 1:, X] - expected[..., X]).abs() <= bound + moved).all())
            assert float(bound.max()) < 1e-3  # small beside X, which is of size 1/2 and more
    (exact,) = built.run(A)
    # Steps square what is left and pass on less than three times an error: five layers, 1e-3 each at most.
    assert float((h[:, 1:, X] - exact).abs().max()) < 1e-2


@settings(max_examples=15)
@given(
    entries=st.lists(st.floats(-2, 2, width=32), min_size=2 * N * N, max_size=2 * N * N),
    epsilon=st.floats(0.05, 0.5),
    pairs=st.integers(1, 4),
)
def test_any_matrices(entries: list[float], epsilon: float, pairs: int) -> None:
    A, B = torch.tensor(entries, dtype=torch.float64).reshape(2, 1, N, N)
    heads = Heads(epsilon, pairs, 30.0)
    found = product_by_softmax(A, B, heads, torch.float64, True)[:, 1:]
    bound = pair_error(A, A.abs(), B, 1.0, heads, torch.float64, N, 2 * pairs).total
    assert bool(((found - A @ B).abs() <= bound).all())


def test_two_p_heads_a_pair_and_the_blocks_keep_their_columns() -> None:
    form = softmax_form(PRODUCT, Heads(0.25, 3, 30.0))
    assert count(form).heads == 6
    assert form.stream.blocks[:4] == S.blocks
    assert form.stream.width == S.width + 2
    assert form.inputs == (S.ids, S.A, S.B, form.stream.sink, form.stream.one)
    assert form.name == "a product, softmax"
    assert pickle.loads(pickle.dumps(form)).name == form.name  # noqa: S301


def test_what_has_no_softmax_form_is_refused() -> None:
    heads = Heads(0.25, 1, 30.0)
    score = products.score(S.A, S.ids)

    def one_head(head, stream: Stream = S, **more) -> Construction:
        inputs = tuple(b for b in stream.blocks if b.name != "C")
        return Construction("lone", "a test", stream, inputs, (Layer("trial", (head,)),), **more)

    with pytest.raises(
        ValueError, match=r"relu\(<q.A, k.ids>\) k.B writes C\[9:12\] alone; softmax takes linear pairs"
    ):
        softmax_form(one_head(ReluHead(score, S.B, S.C)), heads)
    with pytest.raises(ValueError, match="lone has softmax attention; plain relu attention is needed"):
        softmax_form(one_head(SoftmaxHead(score, S.B, S.C)), heads)
    with pytest.raises(ValueError, match="lone has relu over the number of tokens attention"):
        softmax_form(one_head(TIMES, divide_by_tokens=True), heads)
    taken = Stream(ids=N, A=N, B=N, C=N, sink=1)
    with pytest.raises(ValueError, match="lone has a block 'sink'; its softmax form adds its own"):
        softmax_form(one_head(TIMES, taken), heads)
    wide = Stream(ids=N, A=N, B=N, C=N, one=2)
    with pytest.raises(
        ValueError, match=r"lone has a block one\[12:14\]; its softmax form needs an input of w"
    ):
        softmax_form(one_head(TIMES, wide), heads)
    late = Stream(ids=N, A=N, B=N, C=N, one=1)
    with pytest.raises(
        ValueError, match=r"a product has a block one\[12:13\]; its softmax form needs an input"
    ):
        softmax_form(dataclasses.replace(PRODUCT, stream=late), heads)
    normed = dataclasses.replace(PRODUCT, layers=(Layer("normed", (TIMES,), unit_output=True),))
    with pytest.raises(ValueError, match="normed: its output is divided by its length"):
        softmax_form(normed, heads)
    for wrong in (Heads(0.0, 1, 30.0), Heads(0.5, 1, -1.0)):
        with pytest.raises(ValueError, match=r"they lie in \(0, 1\] and \[0, 300\]"):
            softmax_form(PRODUCT, wrong)
    assert len(linear_pairs(products.total(TIMES, products.scaled(S.ids, S.B, S.C)))) == 2
    assert math.isfinite(
        float(pair_error(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1), torch.ones(1, 1, 1), 1.0, heads).total)
    )


# --- layers of softmax attention already ------------------------------------------------------------------

MIXED_STREAM = Stream(ids=N, A=N, B=N, C=N, D=N)
M = MIXED_STREAM
AVERAGED = SoftmaxHead(products.score(M.ids, M.A), M.C, M.D)
MIXED = Construction(
    "a product and an average",
    "a test",
    M,
    (M.ids, M.A, M.B),
    (Layer("product", (products.times(M.A, M.ids, M.B, M.C),)), Layer("average", (AVERAGED,))),
)


def average_error(C: Tensor, off: Tensor, hide: float, dtype: torch.dtype) -> Tensor:
    """(B, 1, N) of D: each entry is an average of a column of C, itself off by ``off``.

    Scores are entries of A, at most 1, alone. The sink has e^-hide beside n e^-1 or more: of the average it
    takes that share. Rounding of the weights: 4 u by subtracting the maximum, gamma_{4n+14} as in
    sublayer_rounding.py for n + 1 keys; n + 1 products and their sum.
    """
    u = unit_roundoff(dtype)
    share = math.exp(1 - hide) / N
    rounded = math.expm1(4 * u + gamma(4 * N + 14, u) + gamma(N + 3, u))
    size = C.abs().amax(1, keepdim=True)
    most = off.amax(1, keepdim=True)
    return most + (share + rounded) * (size + most)


def states_by_softmax(form: Construction, tokens, dtype: torch.dtype, dense: bool):
    evaluator = (
        DenseEvaluator(form.to_transformer(dtype))
        if dense
        else StructuredEvaluator(form, FloatArithmetic(dtype, "cpu"))
    )
    with torch.no_grad():
        return last_state(evaluator, form, with_sink(form.stream, tokens))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("hide", [6.0, 30.0, 2000.0])
def test_a_softmax_layer_behind_pairs_stays_what_it_was(dtype: torch.dtype, dense: bool, hide: float) -> None:
    A, B = drawn(40, seed=5)
    heads = Heads(0.25, 3, 18.0 if dtype == torch.float32 else 32.0)
    form = softmax_form(MIXED, heads, hide)
    assert (form.kind, form.stream.width) == ("softmax", M.width + 2)
    assert {layer.attention for layer in form.shape().layers} == {None}
    ids = torch.eye(N).to(dtype).expand_as(A)
    tokens = matrix_tokens(M, {M.ids: ids, M.A: A.to(dtype), M.B: B.to(dtype)})
    A, B = A.to(dtype).double(), B.to(dtype).double()
    found = states_by_softmax(form, tokens, dtype, dense)
    off = pair_error(A, A.abs(), B, 1.0, heads, dtype, rank=N, in_layer=6).total
    C, D = (found.read(block)[:, 1:].double() for block in (M.C, M.D))
    assert bool(((C - A @ B).abs() <= off).all())
    exact = A.mT.softmax(-1) @ (A @ B)
    # The reference in float64 is rounded too: the same analysis, without a sink.
    bound = average_error(A @ B, off, hide, dtype) + average_error(A @ B, 0 * off, math.inf, torch.float64)
    assert bool(((D - exact).abs() <= bound).all())
    if hide == 30.0 and dtype == torch.float64:  # what would be seen of a sink that is hidden by 6 alone
        seen = states_by_softmax(softmax_form(MIXED, heads, 6.0), tokens, dtype, dense).read(M.D)[:, 1:]
        assert bool(((seen - exact).abs() > bound).any())


def em_and_pairs() -> Construction:
    """Two steps of EM, then sum_j <slot_i, slot_j> mu_j by pairs: the mean, times the tokens of its slot."""
    em = em_construction(2, 2, 2, 6, radius=4.0)
    widths = {b.name: b.width for b in em.stream.blocks}
    s = Stream(**widths, total=2, count=1)
    pairs = (
        products.times(s.slot, s.slot, s.mu, s.total),
        products.times(s.one, s.one, s.one, s.count),
    )
    return dataclasses.replace(
        em.construction,
        stream=s,
        layers=(*em.construction.layers * 2, Layer("pairs", pairs)),
        loops=1,
    )


def em_tokens() -> Tokens:
    em = em_construction(2, 2, 2, 6, radius=4.0)
    X = torch.randn(2, 7, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    means = torch.tensor([[1.0, 0.0], [-1.0, 0.5]], dtype=torch.float64).expand(2, 2, 2)
    weights = torch.full((2, 2), 0.5, dtype=torch.float64)
    tasks = gather_tasks(X, weights, means, 2, 2, torch.float64, "cpu")
    return em.tokens(tasks)


def test_em_beside_pairs_layer_by_layer() -> None:
    """Softmax attention with the sink is that without it: weights that underflow and exact zeros round
    nothing. The pairs are within their error; ``one`` is counted at the tokens alone.
    """
    plain, tokens = em_and_pairs(), em_tokens()
    s = plain.stream
    heads = in_float32(heads_for(1e-6, 7, 3))
    form = softmax_form(plain, heads, hide=2000.0)
    assert form.inputs == (*plain.inputs, form.stream.sink)
    own, other = plain.to_transformer(), form.to_transformer()
    with torch.no_grad():
        h = with_sink(form.stream, Tokens(s, tokens.places, tokens.values)).dense()
        for number in range(4):
            data = h[:, 1:, : s.width]
            attention = own.layers[number].attention
            assert attention.kind == "softmax"
            added, expected = other.layers[number].attention(h), attention(data)
            off = (added[:, 1:, : s.width] - expected).norm(dim=-1).max()
            assert off <= attention_tolerance(attention, data)
            assert attention_tolerance(attention, data) < 1e-8 * expected.norm(dim=-1).max()
            assert not added[:, 0].any()  # the sink reads its own zeros: every other weight is an exact 0
            h = other.layers[number](h)
        assert not h[:, 0, s.mu.slice].any()
        data, after = h[:, 1:, : s.width], other.layers[4](h)[:, 1:]
        slot, mu = data[..., s.slot.slice], data[..., s.mu.slice]
        for scores, values, block, rank in (
            (slot @ slot.mT, mu, s.total, 2),
            (torch.ones(2, 7, 7).double(), torch.ones(2, 7, 1).double(), s.count, 1),
        ):
            bound = pair_error(scores, scores, values, 1.0, heads, torch.float64, rank + 1, 6).total
            bound = bound + gamma(16, U64) * scores @ values.abs()  # the reference: sums of 7 products
            assert bool(((after[..., block.slice] - scores @ values).abs() <= bound).all())
            assert float(bound.max()) < 1e-2


def test_a_sink_that_attends_to_the_tokens_would_break_the_pairs() -> None:
    """Without its own score it holds the average of x in mu, and the pairs read that: hence the third term.

    The first means are 1 in size and the pairs add up 3 or 4 of them: 0.1 is no rounding.
    """
    plain, tokens = em_and_pairs(), em_tokens()
    s = plain.stream
    heads = heads_for(1e-6, 7, 3)

    def total(form: Construction) -> Tensor:
        held = Tokens(s, tokens.places, tokens.values)
        return states_by_softmax(form, held, torch.float64, True).read(s.total)

    form = softmax_form(plain, heads, hide=2000.0)
    bare = []
    for layer in form.layers:
        parts = (
            [
                dataclasses.replace(h, score=Score(h.score.terms[:-2] + h.score.terms[-1:]))
                for h in layer.heads
            ]
            if layer.name in "EM"
            else layer.heads
        )
        bare.append(dataclasses.replace(layer, heads=tuple(parts)))
    broken = dataclasses.replace(form, layers=tuple(bare))
    assert float((total(form)[:, 1:] - total(broken)[:, 1:]).abs().max()) > 0.1


def test_pairs_do_not_read_what_is_not_zero_at_the_sink() -> None:
    """f(0) of an MLP is left there, and what softmax attention or a pair's own query carries on from it."""
    heads, s = Heads(0.25, 1, 30.0), Stream(ids=N, A=N, B=N, C=N, D=N)
    rest = chords(curves.complement, uniform(0, 1, 2))
    square = chords(curves.square, uniform(-1, 1, 2), anchor=1)
    read = products.times(s.A, s.ids, s.B, s.C)

    def built(function, *layers: Layer) -> Construction:
        first = Layer("first", (products.scaled(s.ids, s.A, s.D),), (apply(function, s.A, s.B), clear(s.D)))
        return Construction("f(0)", "a test", s, (s.ids, s.A), (first, *layers))

    softmax_form(built(square, Layer("second", (read,))), heads)
    with pytest.raises(
        ValueError,
        match=r"^second: relu\(<q.A, k.ids>\) k.B reads B\[6:9\], which is not 0 at the sink after",
    ):
        softmax_form(built(rest, Layer("second", (read,))), heads)
    carried = Layer("carried", (SoftmaxHead(Score(), s.B, s.C),))
    with pytest.raises(
        ValueError, match=r"last: .* reads C\[9:12\], which is not 0 at the sink after 'carri"
    ):
        softmax_form(built(rest, carried, Layer("last", (products.scaled(s.ids, s.C, s.D),))), heads, 9.0)
    asked = Layer("asked", (products.times(s.B, s.ids, s.A, s.C),))
    with pytest.raises(
        ValueError, match=r"last: .* reads C\[9:12\], which is not 0 at the sink after 'asked"
    ):
        softmax_form(built(rest, asked, Layer("last", (products.scaled(s.ids, s.C, s.D),))), heads)
    # Cleared, or read by queries alone, it does no harm.
    softmax_form(built(rest, asked), heads)
    again = Layer("again", (products.scaled(s.ids, s.A, s.C),), (apply(square, s.A, s.B, overwrite=True),))
    softmax_form(built(rest, again, Layer("last", (products.scaled(s.ids, s.B, s.D),))), heads)


def test_a_loop_leaves_at_the_sink_what_its_second_pass_would_read() -> None:
    s = Stream(ids=N, A=N, B=N)
    rest = chords(curves.complement, uniform(0, 1, 2))
    looped = Construction(
        "loop",
        "a test",
        s,
        (s.ids, s.A),
        (
            Layer(
                "all",
                (products.scaled(s.ids, s.A, s.B),),
                (clear(s.B), apply(rest, s.A, s.A, overwrite=True)),
            ),
        ),
        loops=2,
    )
    softmax_form(dataclasses.replace(looped, loops=1), Heads(0.25, 1, 30.0))
    with pytest.raises(ValueError, match=r"^all: .* reads A\[3:6\], which is not 0 at the sink after 'all'"):
        softmax_form(looped, Heads(0.25, 1, 30.0))


def test_a_gate_keeps_away_from_pairs_what_an_mlp_leaves_at_the_sink() -> None:
    """1/x by chords is put where ids are 1, and they are 0 at the sink; the logarithms of SWEEP have no gate.

    Their pair would add log f(0) of the sink to the log-determinant.
    """
    heads = heads_for(1e-6, N, 3)
    assert softmax_form(reciprocal_construction(N, 0.5, 2.0, 4, 2).construction, heads).kind == "softmax"
    with pytest.raises(ValueError, match=r"^log det: .* reads logs\[\d+:\d+\], which is not 0 at the sink"):
        softmax_form(sweep_construction(N, 0.5, 2.0, 8, 3, 8).construction, heads)


@pytest.mark.parametrize("hide", [None, 0.0, -1.0, math.inf, math.nan, True, "9"])
def test_a_weight_that_hides_nothing_is_refused(hide) -> None:
    with pytest.raises(ValueError, match=r"^hide is .* (is needed|positive and finite)$") as refusal:
        softmax_form(MIXED, Heads(0.25, 1, 30.0), hide)
    assert repr(hide) in str(refusal.value)
