"""Traces and inner products: exact in fractions, and in floats up to the bound of the pick."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from constructions import Construction, Layer, Stream
from constructions.language.rounding import gamma, unit_roundoff
from constructions.matrices.traces import as_column, as_diagonal, inner_layers, trace_layers

N, W, BOUND = 4, 2, 64.0
DTYPES = [torch.float64, torch.float32]
S = Stream(ids=N, group=2, A=N, U=W, V=W, product=N, column=1, trace=1)


def groups(batch: int) -> np.ndarray:
    """(batch, 4, 2): rows 0, 1 and rows 2, 3 are matrices of their own."""
    one = np.vectorize(Fraction, otypes=[object])(np.repeat(np.eye(2, dtype=int), 2, 0))
    return np.broadcast_to(one, (batch, N, 2))


def eye(batch: int) -> np.ndarray:
    one = np.vectorize(Fraction, otypes=[object])(np.eye(N, dtype=int))
    return np.broadcast_to(one, (batch, N, N))


def run(layers: list[Layer], blocks: dict, exactly, dense: bool = False) -> np.ndarray:
    built = Construction("a trace", "a test", S, tuple(blocks), tuple(layers))
    return exactly(built, blocks, dense)[..., S.trace.start]


def test_the_trace_is_exact_in_fractions(fractions, exactly) -> None:
    """500 instances, two matrices side by side; three by the dense weights."""
    A = fractions(500, N, N, seed=1)
    blocks = {S.ids: eye(500), S.group: groups(500), S.A: A}
    layers = trace_layers(S.ids, S.group, S.A, S.column, S.trace, BOUND)
    found = run(layers, blocks, exactly)
    diagonal = A[:, range(N), range(N)]
    expected = diagonal.reshape(500, 2, 2).sum(-1).repeat(2, 1)
    assert np.array_equal(found, expected)
    few = {b: m[:3] for b, m in blocks.items()}
    assert np.array_equal(run(layers, few, exactly, dense=True), expected[:3])


def test_scalars_go_from_the_diagonal_to_a_column_and_back(fractions, exactly) -> None:
    """500 instances; by attention without a bound, by the MLP within one."""
    s = Stream(ids=N, member=1, A=N, column=1, back=N)
    layers = (
        Layer("column", (as_column(s.ids, s.A, s.member, s.column),)),
        Layer("diagonal", mlp=(as_diagonal(s.column, s.ids, s.back, 16.0),)),
    )
    built = Construction("there and back", "a test", s, (s.ids, s.member, s.A), layers)
    a = fractions(500, N, 1, seed=8)
    blocks = {s.ids: eye(500), s.member: np.full((500, N, 1), Fraction(1)), s.A: eye(500) * a}
    found = exactly(built, blocks)
    assert np.array_equal(found[..., s.column.slice], a)
    assert np.array_equal(found[..., s.back.slice], eye(500) * a)


def test_the_inner_product_is_exact_in_fractions(fractions, exactly) -> None:
    """500 instances of <U, V>, one group of four rows."""
    U, V = (fractions(500, N, W, seed=k) for k in (2, 3))
    group = np.concatenate([np.full((500, N, 1), Fraction(k)) for k in (1, 0)], 2)
    blocks = {S.ids: eye(500), S.group: group, S.U: U, S.V: V}
    layers = inner_layers(S.ids, S.group, S.U, S.V, S.product, S.column, S.trace, 512.0)
    expected = (U * V).sum((1, 2))
    assert np.array_equal(run(layers, blocks, exactly), expected[:, None].repeat(N, 1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dense", [False, True])
def test_in_floats_the_pick_rounds_against_its_bound(dtype: torch.dtype, dense: bool, in_floats) -> None:
    """A pick errs by 2 gamma_3 (2 B + |x|), as a place; a sum of N of them by gamma_{N+4} of their sizes."""
    generator = torch.Generator().manual_seed(1)
    A = torch.randn(50, N, N, generator=generator).double()
    tokens = torch.eye(N).double().expand(50, N, N)
    group = torch.tensor([[1.0, 0.0]]).double().expand(50, N, 2)
    layers = trace_layers(S.ids, S.group, S.A, S.column, S.trace, 8.0)
    built = Construction("a trace", "a test", S, (S.ids, S.group, S.A), tuple(layers))
    found = in_floats(built, {S.ids: tokens, S.group: group, S.A: A}, dtype, dense)[..., S.trace.start]
    diagonal = A.diagonal(dim1=1, dim2=2)
    u = unit_roundoff(dtype)
    picks = 2 * gamma(3, u) * (16 * N + diagonal.abs().sum(-1))
    allowed = picks + gamma(N + 4, u) * (diagonal.abs().sum(-1) + picks)
    assert bool(((found.double() - diagonal.sum(-1)[:, None]).abs() <= allowed[:, None]).all())


def test_beyond_the_bound_and_with_a_wrong_id_it_is_wrong(fractions, exactly) -> None:
    A = fractions(5, N, N, seed=4) + 20 * eye(5)
    blocks = {S.ids: eye(5), S.group: groups(5), S.A: A}
    right = trace_layers(S.ids, S.group, S.A, S.column, S.trace, BOUND)
    small = trace_layers(S.ids, S.group, S.A, S.column, S.trace, 1.0)
    expected = run(right, blocks, exactly)
    assert (run(small, blocks, exactly) != expected).any()
    moved = blocks | {S.ids: eye(5)[:, [1, 0, 2, 3]]}
    assert (run(right, moved, exactly)[:, :2] != expected[:, :2]).any()


def test_tokens_of_no_group_write_nothing(fractions, exactly) -> None:
    A = fractions(20, N, N, seed=5)
    nothing = np.full((20, 2, 1), Fraction(0))
    blocks = {
        b: np.concatenate([m, np.repeat(nothing, m.shape[2], 2)], 1)
        for b, m in ((S.ids, eye(20)), (S.group, groups(20)), (S.A, A))
    }
    found = run(trace_layers(S.ids, S.group, S.A, S.column, S.trace, BOUND), blocks, exactly)
    assert not found[:, N:].any()
    assert np.array_equal(found[:, 0], A[:, 0, 0] + A[:, 1, 1])
