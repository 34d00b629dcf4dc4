"""Products of matrices in one layer: exact in fractions, within derived rounding in floats."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from constructions import Construction, HeadSum, Layer, Stream
from constructions.language.rounding import gamma, unit_roundoff
from constructions.language.stream import Block
from constructions.matrices import products
from constructions.matrices.machine import matrix_tokens

N, W = 4, 2
S = Stream(ids=N, A=N, B=N, V=W, U=W, out=N, narrow=W)
DTYPES = [torch.float64, torch.float32]
INSTANCES, DENSE = 80, 3


@dataclass(frozen=True)
class Product:
    """A layer and what it computes, of matrices A, B (n, n) and U, V (n, w)."""

    name: str
    heads: HeadSum
    formula: Callable[[Any, Any, Any, Any], Any]

    @property
    def write(self) -> Block:
        return self.heads.write

    @property
    def construction(self) -> Construction:
        return built(self.heads)


def built(heads: HeadSum) -> Construction:
    return Construction("a product", "a test", S, (S.ids, S.A, S.B, S.V, S.U), (Layer("trial", (heads,)),))


PRODUCTS = [
    Product("times", products.times(S.A, S.ids, S.B, S.out), lambda A, B, U, V: A @ B),
    Product(
        "times a narrow matrix", products.times(S.A, S.ids, S.V, S.narrow, 2.0), lambda A, B, U, V: 2 * A @ V
    ),
    Product(
        "transposed times",
        products.transposed_times(S.ids, S.A, S.V, S.narrow),
        lambda A, B, U, V: _t(A) @ V,
    ),
    Product(
        "times transposed",
        products.times_transposed(S.U, S.V, S.ids, S.out, -0.5),
        lambda A, B, U, V: -(U @ _t(V)) / 2,
    ),
    Product("transposed", products.transposed(S.ids, S.A, S.out, 3.0), lambda A, B, U, V: 3 * _t(A)),
    Product("scaled", products.scaled(S.ids, S.V, S.narrow, -4.0), lambda A, B, U, V: -4 * V),
    Product("identity", products.scaled(S.ids, S.ids, S.out, 0.25), lambda A, B, U, V: _eye(A) / 4),
    Product("three factors", products.triple(S.U, S.V, S.B, S.out), lambda A, B, U, V: U @ _t(V) @ B),
    Product(
        "a sum of products",
        products.total(
            products.times(S.A, S.ids, S.B, S.out),
            products.times_transposed(S.U, S.V, S.ids, S.out, 2.0),
            products.scaled(S.ids, S.A, S.out, -1.0),
        ),
        lambda A, B, U, V: A @ B + 2 * U @ _t(V) - A,
    ),
]
NAMED = pytest.mark.parametrize("product", PRODUCTS, ids=lambda p: p.name)


def _t(A: Any) -> Any:
    return np.swapaxes(A, -1, -2) if isinstance(A, np.ndarray) else A.mT


def _eye(like: Any) -> Any:
    if isinstance(like, np.ndarray):
        eye = np.vectorize(Fraction, otypes=[object])(np.eye(N, dtype=int))
        return np.broadcast_to(eye, like.shape)
    return torch.eye(N).to(like).expand_as(like)


def drawn(fractions: Callable[..., Any], batch: int, seed: int, dyadic: bool = False) -> dict[Block, Any]:
    widths = {S.A: N, S.B: N, S.U: W, S.V: W}
    numbers = {
        b: fractions(batch, N, w, seed=10 * seed + k, dyadic=dyadic)
        for k, (b, w) in enumerate(widths.items())
    }
    return {S.ids: _eye(numbers[S.A]), **numbers}


def answer(product: Product, blocks: dict[Block, Any]) -> Any:
    return product.formula(*(blocks[b] for b in (S.A, S.B, S.U, S.V)))


@NAMED
def test_it_is_the_product_in_fractions(product: Product, fractions, exactly) -> None:
    """80 instances each, 720 in all, from the formulas; three each by the dense weights."""
    blocks = drawn(fractions, INSTANCES, seed=PRODUCTS.index(product))
    expected = answer(product, blocks)
    assert np.array_equal(exactly(product.construction, blocks)[..., product.write.slice], expected)
    few = {b: m[:DENSE] for b, m in blocks.items()}
    dense = exactly(product.construction, few, dense=True)
    assert np.array_equal(dense[..., product.write.slice], expected[:DENSE])


@NAMED
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dense", [False, True])
def test_it_rounds_as_a_sum_of_products(
    product: Product, dtype: torch.dtype, dense: bool, fractions, in_floats
) -> None:
    """A score is a sum of at most N products, one more product with the value, N tokens, the scale, and at
    most six heads: 2 N + 10 operations on each term, so gamma_{2N+10} of the terms' absolute values; the
    formula in absolute values bounds these (-A counts as |A|). The numbers drawn are dyadic and small: every
    dtype holds them, and float64 the exact answer.
    """
    exact = drawn(fractions, 20, seed=50, dyadic=True)
    blocks = {b: torch.tensor(m.astype(float)) for b, m in exact.items()}
    expected = torch.tensor(answer(product, exact).astype(float))
    sizes = answer_in_absolute_values(product, blocks)
    got = in_floats(product.construction, blocks, dtype, dense)[..., product.write.slice].double()
    assert bool(((got - expected).abs() <= gamma(2 * N + 10, unit_roundoff(dtype)) * sizes).all())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dense", [False, True])
def test_rounding_of_real_numbers(dtype: torch.dtype, dense: bool, in_floats) -> None:
    """As above with entries of all digits: float64 answers have an error themselves, so float64 twice."""
    generator = torch.Generator().manual_seed(5)
    blocks = {b: torch.randn(30, N, b.width, generator=generator).double() for b in (S.A, S.B, S.U, S.V)}
    blocks[S.ids] = _eye(blocks[S.A])
    for product in PRODUCTS:
        sizes = answer_in_absolute_values(product, blocks)
        got = in_floats(product.construction, blocks, dtype, dense)[..., product.write.slice].double()
        allowed = gamma(2 * N + 10, unit_roundoff(dtype)) + gamma(2 * N + 10, unit_roundoff(torch.float64))
        assert bool(((got - answer(product, blocks)).abs() <= allowed * sizes).all()), product.name


def answer_in_absolute_values(product: Product, blocks: dict[Block, torch.Tensor]) -> torch.Tensor:
    """sum over heads of |scale| |score's terms| |value|: every second head of a pair has the same terms."""
    total = torch.zeros(())
    for head in product.heads.heads[::2]:
        (term,) = head.score.terms
        assert term.query is not None
        scores = blocks[term.query].abs() @ blocks[term.key].abs().mT
        total = total + abs(head.scale) * scores @ blocks[head.read].abs()
    return total


# --- mistakes are noticed -------------------------------------------------------------------------------


MISTAKES = {
    "times": products.times(S.B, S.ids, S.A, S.out),
    "transposed times": products.times(S.A, S.ids, S.V, S.narrow),
    "times transposed": products.times_transposed(S.V, S.U, S.ids, S.out, -0.5),
    "transposed": products.scaled(S.ids, S.A, S.out, 3.0),
    "three factors": products.triple(S.V, S.U, S.B, S.out),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_exchanged_factors_and_a_missing_transpose_are_noticed(name: str, fractions, exactly) -> None:
    (product,) = (p for p in PRODUCTS if p.name == name)
    blocks = drawn(fractions, 5, seed=3)
    wrong = exactly(built(MISTAKES[name]), blocks)[..., product.write.slice]
    assert all((wrong[k] != answer(product, blocks)[k]).any() for k in range(5))


@pytest.mark.parametrize("name", ["times", "transposed times", "times transposed", "transposed"])
def test_a_wrong_id_is_noticed(name: str, fractions, exactly) -> None:
    (product,) = (p for p in PRODUCTS if p.name == name)
    blocks = drawn(fractions, 5, seed=3)
    expected = answer(product, blocks)
    blocks[S.ids] = blocks[S.ids][:, [1, 0, 2, 3]]
    wrong = exactly(product.construction, blocks)[..., product.write.slice]
    assert all((wrong[k] != expected[k]).any() for k in range(5))


def test_half_of_a_pair_is_noticed(fractions, exactly) -> None:
    product = PRODUCTS[0]
    blocks = drawn(fractions, 5, seed=3)
    half = built(HeadSum(product.heads.heads[:1]))
    wrong = exactly(half, blocks)[..., product.write.slice]
    assert all((wrong[k] != answer(product, blocks)[k]).any() for k in range(5))


# --- places ---------------------------------------------------------------------------------------------


def test_tokens_without_ids_neither_ask_nor_are_attended_to(fractions, exactly) -> None:
    """Two data tokens of zeros behind the registers: nothing changes, and nothing is written there."""
    blocks = drawn(fractions, 10, seed=4)
    longer = {
        b: np.concatenate([m, np.full((10, 2, m.shape[2]), Fraction(0))], axis=1) for b, m in blocks.items()
    }
    for product in PRODUCTS:
        found = exactly(product.construction, longer)[..., product.write.slice]
        assert np.array_equal(found[:, :N], answer(product, blocks))
        assert not found[:, N:].any()


def test_rectangular_matrices_are_asked_by_ids(fractions, exactly) -> None:
    """The data X (6, 2) and Y (6, 3) at six tokens without ids, X^T Y at two registers beside them."""
    s = Stream(ids=2, X=2, Y=3, out=3)
    heads = products.transposed_times(s.ids, s.X, s.Y, s.out)
    built = Construction("moments", "a test", s, (s.ids, s.X, s.Y), (Layer("trial", (heads,)),))
    X, Y = fractions(50, 6, 2, seed=8), fractions(50, 6, 3, seed=9)
    blocks = {b: np.full((50, 8, b.width), Fraction(0)) for b in (s.ids, s.X, s.Y)}
    blocks[s.ids][:, 6, 0] = blocks[s.ids][:, 7, 1] = Fraction(1)
    blocks[s.X][:, :6], blocks[s.Y][:, :6] = X, Y
    found = exactly(built, blocks)[..., s.out.slice]
    assert np.array_equal(found[:, 6:], _t(X) @ Y)
    assert not found[:, :6].any()


def test_matrices_side_by_side_do_not_mix(fractions, exactly) -> None:
    """Two products of 2 x 2 matrices at once: ids over all four rows, left factors placed among them."""
    A, B = fractions(60, 2, 2, 2, seed=20), fractions(60, 2, 2, 2, seed=21)
    placed = np.full((60, N, N), Fraction(0))
    placed[:, :2, :2], placed[:, 2:, 2:] = A[:, 0], A[:, 1]
    blocks = drawn(fractions, 60, seed=22) | {S.A: placed, S.V: B.reshape(60, N, W)}
    found = exactly(PRODUCTS[1].construction, blocks)[..., S.narrow.slice].reshape(60, 2, 2, W)
    assert np.array_equal(found, 2 * A @ B)
    triple = exactly(built(products.triple(S.A, S.A, S.V, S.narrow)), blocks)[..., S.narrow.slice]
    assert np.array_equal(triple.reshape(60, 2, 2, W), A @ _t(A) @ B)


@settings(max_examples=20)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 10**6))
def test_any_size(n: int, w: int, seed: int) -> None:
    """Whole numbers below 2^53: floats are exact."""
    generator = torch.Generator().manual_seed(seed)
    s = Stream(ids=n, A=n, B=w, out=w)
    heads = products.times(s.A, s.ids, s.B, s.out)
    built = Construction("times", "a test", s, (s.ids, s.A, s.B), (Layer("trial", (heads,)),))
    A, B = (torch.randint(-99, 100, (1, n, k), generator=generator).double() for k in (n, w))
    tokens = matrix_tokens(s, {s.ids: torch.eye(n).double()[None], s.A: A, s.B: B})
    out = built.to_transformer()(tokens.dense()).detach()[..., s.out.slice]
    assert torch.equal(out, A @ B)
    assert len(heads.heads) == 2


def test_what_is_no_matrix_of_the_stream_is_refused() -> None:
    ones = torch.ones(1, N, N)
    with pytest.raises(ValueError, match="no block of the stream holds a matrix"):
        matrix_tokens(S, {})
    with pytest.raises(
        ValueError, match=r"V\[12:14\] is given a matrix of shape \(1, 4, 4\); \(1, 4, 2\) is"
    ):
        matrix_tokens(S, {S.A: ones, S.V: ones})
    with pytest.raises(ValueError, match="joins widths 2 and 4"):
        products.times(S.U, S.ids, S.B, S.out)
    with pytest.raises(ValueError, match="their widths 4 and 2 must be the same"):
        products.times(S.A, S.ids, S.B, S.narrow)
