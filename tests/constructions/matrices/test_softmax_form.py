"""The softmax form of linear pairs: close by the proved error, nothing at the sink, lone heads refused."""

import dataclasses
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from constructions import Construction, Layer, ReluHead, SoftmaxHead, Stream
from constructions.language.counts import count
from constructions.language.rounding import gamma, unit_roundoff
from constructions.language.structured.arithmetic import FloatArithmetic
from constructions.language.structured.evaluation import DenseEvaluator, StructuredEvaluator
from constructions.matrices import products
from constructions.matrices.inverse import inverse_construction
from constructions.matrices.machine import last_state, matrix_tokens
from constructions.matrices.softmax_form import in_float32, linear_pairs, pair_error, softmax_form, with_sink
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
    """Its scores are 0 but for c: both heads of a pair write the same, and their difference rounds to less
    than e^c / eps times gamma of the heads' own e^-c: a few u of |B| / eps.
    """
    A, B = drawn(10, seed=4)
    found = product_by_softmax(A, B, Heads(0.25, 2, 32.0), torch.float64, dense)
    assert float(found[:, 0].abs().max()) <= 64 * 2.0**-53 * 10 * N / 0.25


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
