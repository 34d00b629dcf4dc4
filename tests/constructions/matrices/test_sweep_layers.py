"""The layers of a sweep are exact in fractions, for one matrix and for several at once."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from constructions import Construction, Layer, Stream
from constructions.matrices.newton import start_of
from constructions.matrices.sweep import (
    SweepBlocks,
    first_turn,
    sweep_layers,
)

N = 3
WIDE = ("ids", "A", "E", "Q", "U", "spare")
NARROW = ("turn", "pivots", "entry", "value", "next_turn", "next_pivots")
S = Stream(**dict.fromkeys(WIDE, N), **dict.fromkeys(NARROW, 1))


def blocks_of(stream: Stream) -> SweepBlocks:
    return SweepBlocks(
        **{field.name: getattr(stream, field.name) for field in dataclasses.fields(SweepBlocks)}
    )


B = blocks_of(S)


def last_layer(blocks: SweepBlocks, size: int, scale: float) -> Layer:
    layer = sweep_layers(blocks, start_of("1/x", 0.5, 2.0, 2), scale, size, 1)[-1]
    assert isinstance(layer, Layer)
    return layer


def unit(batch: int, width: int, k: int) -> np.ndarray:
    """(batch, width, width) with a 1 at kk."""
    E = np.full((batch, width, width), Fraction(0))
    E[:, k, k] = Fraction(1)
    return E


def goodnight(A: np.ndarray, k: int, s: Fraction) -> np.ndarray:
    """The sweep entry by entry, in fractions."""
    after, p = A.copy(), A[k, k]
    for i in range(len(A)):
        for j in range(len(A)):
            if i == k and j == k:
                after[i, j] = -(s**2) / p
            elif i == k or j == k:
                after[i, j] = s * A[i, j] / p
            else:
                after[i, j] = A[i, j] - A[i, k] * A[k, j] / p
    return after


@pytest.mark.parametrize("k", range(N))
def test_a_sweep_is_exact_in_fractions(k: int, fractions, exactly) -> None:
    """200 instances a pivot, 600 in all, where Q holds 1/p itself; two each by the dense weights."""
    A = fractions(200, N, N, seed=k)
    A = A + np.swapaxes(A, 1, 2)
    A[:, k, k] = np.where(A[:, k, k] == 0, Fraction(3, 7), A[:, k, k])
    scale = Fraction(4)
    E = unit(200, N, k)
    turn = np.full((200, N, 1), Fraction(0))
    turn[:, k] = Fraction(1)
    pivots = fractions(200, N, 1, seed=20 + k)
    pivots[:, k] = Fraction(0)
    ids = sum(unit(200, N, i) for i in range(N))
    blocks = {
        S.ids: ids,
        S.A: A,
        S.turn: turn,
        S.pivots: pivots,
        S.E: E,
        S.Q: E / A[:, k, k][:, None, None],
        S.U: A - scale * E,
    }
    built = Construction("a sweep", "a test", S, tuple(blocks), (last_layer(B, N, 4.0),))
    found = exactly(built, blocks)
    expected = np.array([goodnight(one, k, scale) for one in A])
    assert np.array_equal(found[..., S.A.slice], expected)
    assert np.array_equal(found[:, k, S.pivots.start], A[:, k, k])
    others = [i for i in range(N) if i != k]
    assert np.array_equal(found[:, others, S.pivots.start], pivots[:, others, 0])
    assert np.array_equal(found[..., S.turn.slice], turn[:, [(i - 1) % N for i in range(N)]])
    assert np.array_equal(found[..., S.E.slice], unit(200, N, (k + 1) % N))
    assert not any(found[..., b.slice].any() for b in (S.Q, S.U, S.spare, S.next_turn, S.next_pivots))
    dense = exactly(built, {b: m[:2] for b, m in blocks.items()}, dense=True)
    assert np.array_equal(dense, found[:2])


def test_sweeping_every_row_is_minus_the_inverse(fractions) -> None:
    """The identity behind it, in fractions; and the product of the pivots is the determinant."""
    A = fractions(1, N, N, seed=9)[0]
    A = A @ A.T + np.array([[Fraction(int(i == j)) for j in range(N)] for i in range(N)])
    after, pivots = A, Fraction(1)
    for k in range(N):
        pivots *= after[k, k]
        after = goodnight(after, k, Fraction(2))
    assert np.array_equal(A @ after, -4 * sum(unit(1, N, i)[0] for i in range(N)))
    minor = A[:2, :2]
    assert minor[0, 0] * minor[1, 1] - minor[0, 1] ** 2 > 0
    cofactors = sum(
        A[0, i] * (A[1, (i + 1) % 3] * A[2, (i + 2) % 3] - A[1, (i + 2) % 3] * A[2, (i + 1) % 3])
        for i in range(3)
    )
    assert pivots == cofactors


def test_many_matrices_are_swept_at_once(fractions, exactly) -> None:
    """Two 2 x 2 matrices on one diagonal, each with its own turn."""
    s = Stream(**dict.fromkeys(WIDE, 4), **dict.fromkeys(NARROW, 1))
    b = blocks_of(s)
    M = fractions(60, 2, 2, 2, seed=4)
    M = M + np.swapaxes(M, -1, -2)
    M[..., 0, 0] = np.where(M[..., 0, 0] == 0, Fraction(1, 3), M[..., 0, 0])
    A = np.full((60, 4, 4), Fraction(0))
    A[:, :2, :2], A[:, 2:, 2:] = M[:, 0], M[:, 1]
    E = unit(60, 4, 0) + unit(60, 4, 2)
    turn = np.full((60, 4, 1), Fraction(0))
    turn[:, [0, 2]] = Fraction(1)
    Q = unit(60, 4, 0) / M[:, 0, 0, 0][:, None, None] + unit(60, 4, 2) / M[:, 1, 0, 0][:, None, None]
    blocks = {
        s.ids: sum(unit(60, 4, i) for i in range(4)),
        s.A: A,
        s.turn: turn,
        s.pivots: 0 * turn,
        s.E: E,
        s.Q: Q,
        s.U: A - E,
    }
    built = Construction("sweeps", "a test", s, tuple(blocks), (last_layer(b, 2, 1.0),))
    found = exactly(built, blocks)
    for g in range(2):
        rows = slice(2 * g, 2 * g + 2)
        expected = np.array([goodnight(one, 0, Fraction(1)) for one in M[:, g]])
        assert np.array_equal(found[:, rows, s.A.start : s.A.start + 4][..., rows], expected)
    assert np.array_equal(found[..., s.E.slice], unit(60, 4, 1) + unit(60, 4, 3))


def test_the_first_turn_and_its_order(exactly) -> None:
    built = Construction(
        "turn",
        "a test",
        S,
        (S.ids, S.turn, S.A),
        (first_turn(B), Layer("read", (last_layer(B, N, 1.0).heads[2],))),
    )
    turn = np.full((1, N, 1), Fraction(0))
    turn[:, 2] = Fraction(1)
    found = exactly(built, {S.ids: sum(unit(1, N, i) for i in range(N)), S.turn: turn, S.A: unit(1, N, 0)})
    assert np.array_equal(found[..., S.E.slice], unit(1, N, 2))
    assert found[0, :, S.next_turn.start].tolist() == [1, 0, 0]
