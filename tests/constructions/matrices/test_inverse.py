"""Newton's inverse: the step is exact, the error proved, in every dtype and evaluation."""

import math
import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from constructions import Construction, HypothesisError, Stream
from constructions.language.counts import count
from constructions.language.rounding import gamma, unit_roundoff
from constructions.matrices.inverse import (
    best_start,
    inverse_construction,
    inverse_error,
    inverse_steps,
    inverse_steps_needed,
    newton_layer,
    residual_bound,
    start_layer,
    start_residual,
)

DTYPES = [torch.float64, torch.float32]
S = Stream(ids=3, A=3, X=3, spare=3)
U64 = unit_roundoff(torch.float64)


def eye(batch: int, n: int) -> np.ndarray:
    one = np.vectorize(Fraction, otypes=[object])(np.eye(n, dtype=int))
    return np.broadcast_to(one, (batch, n, n))


def test_a_step_is_exact_in_fractions(fractions, exactly) -> None:
    """500 instances from the formulas, five by the dense weights; the last row of some is absent."""
    A, X = fractions(500, 3, 3, seed=1), fractions(500, 3, 3, seed=2)
    A = A + np.swapaxes(A, 1, 2)
    A[:50, 2], A[:50, :, 2] = Fraction(0), Fraction(0)
    step = Construction("a step", "a test", S, (S.ids, S.A, S.X), (newton_layer(S.ids, S.A, S.X, S.spare),))
    blocks = {S.ids: eye(500, 3), S.A: A, S.X: X}
    expected = 2 * X - X @ A @ X
    assert np.array_equal(exactly(step, blocks)[..., S.X.slice], expected)
    few = {b: m[48:53] for b, m in blocks.items()}
    dense = exactly(step, few, dense=True)
    assert np.array_equal(dense[..., S.X.slice], expected[48:53])
    assert not dense[..., S.spare.slice].any()
    I3 = eye(500, 3)
    assert np.array_equal(I3 - A @ expected, (I3 - A @ X) @ (I3 - A @ X))  # what the proof uses


def test_the_start_is_the_first_step(fractions, exactly) -> None:
    A = fractions(500, 3, 3, seed=3)
    A = A + np.swapaxes(A, 1, 2)
    a = 0.375
    start = Construction("start", "a test", S, (S.ids, S.A), (start_layer(S.ids, S.A, S.X, a),))
    expected = 2 * Fraction(a) * eye(500, 3) - Fraction(a) ** 2 * A
    assert np.array_equal(exactly(start, {S.ids: eye(500, 3), S.A: A})[..., S.X.slice], expected)


def test_in_exact_arithmetic_the_residual_is_the_start_raised(exactly) -> None:
    """diag(low, high): after t steps both eigenvalues have the residual (1 - a lambda)^(2^t), exactly."""
    low, high, steps = 0.5, 2.0, 3
    built = inverse_construction(2, low, high, steps)
    s, a = built.stream, Fraction(built.a)
    lam = [Fraction(low), Fraction(high)]
    A = np.array([[[lam[0], Fraction(0)], [Fraction(0), lam[1]]]])
    X = exactly(built.construction, {s.ids: eye(1, 2), s.A: A})[0][:, s.X.slice]
    for k in range(2):
        assert 1 - lam[k] * X[k, k] == (1 - a * lam[k]) ** 2**steps
    worst = max(abs(X[k, k] - 1 / lam[k]) for k in range(2))
    # a is rounded to float32, so |1 - a lambda| differs at the two ends by up to 2^-23, and their powers by
    # 2^t 2^-23 / r of themselves; the bound takes the larger one at low.
    bound, r = built.error(2).approximation, start_residual(low, high, built.a)
    assert (1 - 2**steps * 2.0**-23 / r) * bound <= worst <= (1 + gamma(40, U64)) * bound


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("evaluation", ["structured", "dense"])
@pytest.mark.parametrize(("n", "low", "high"), [(1, 1.0, 3.0), (3, 0.5, 2.0), (4, 0.1, 10.0)])
def test_the_error_is_within_its_bound(
    n: int, low: float, high: float, evaluation: str, dtype: torch.dtype, spd
) -> None:
    """The reference of torch has an error itself, which its residual bounds."""
    A = spd(30, n, low, high, seed=n)
    reference = torch.linalg.inv(A)
    for steps in (1, 3, inverse_steps_needed(low, high, 1e-10)):
        built = inverse_construction(4, low, high, steps)
        (X,) = built.run(A, dtype, evaluation)
        error = torch.linalg.matrix_norm(X.double() - reference, 2)
        bound = built.error(n, dtype)
        assert bool((error <= bound.total + residual_bound(A, reference)).all())
        assert bound.total < math.inf
        assert bool((error <= residual_bound(A, X) + residual_bound(A, reference)).all())


def test_one_step_less_breaks_the_bound(spd) -> None:
    """A matrix with the eigenvalue low: t - 1 steps leave rho^(2^(t-1)) / low, far above the bound."""
    A = spd(1, 3, 0.1, 10.0)
    for steps in (4, 6, 8, 9):
        less = inverse_construction(3, 0.1, 10.0, steps - 1)
        (X,) = less.run(A)
        error = float(torch.linalg.matrix_norm(X[0] - torch.linalg.inv(A[0]), 2))
        bound = inverse_error(3, 0.1, 10.0, less.a, steps, torch.float64).total
        assert error > bound
        assert error <= less.error(3, torch.float64).total


def test_a_lost_transpose_or_factor_breaks_it(spd) -> None:
    """Mistakes in a step leave the bound: 2 X replaced by X, and A by I."""
    A = spd(5, 3, 0.5, 2.0)
    built = inverse_construction(3, 0.5, 2.0, 6)
    bound = built.error(3, torch.float64).total
    transformer = built.to_transformer()
    for change in ("output", "key"):
        broken = built.to_transformer()
        weight = getattr(broken.layers[1].attention, change)
        with torch.no_grad():
            weight[:2] *= 0.5  # of the pair that writes 2 X
            tokens = built.tokens(A).dense()
            wrong = broken(tokens)[..., built.stream.X.slice]
            right = transformer(tokens)[..., built.stream.X.slice]
        for X, holds in ((right, True), (wrong, False)):
            error = torch.linalg.matrix_norm(X - torch.linalg.inv(A), 2)
            assert bool((error <= bound + residual_bound(A, torch.linalg.inv(A))).all()) == holds


def test_one_layer_a_step_and_the_same_weights_for_any_number() -> None:
    few, many = (inverse_construction(4, 0.1, 10.0, t).construction for t in (2, 12))
    assert (count(few).layers, count(many).layers) == (2, 12)
    assert (count(few).parameters, count(few).heads) == (count(many).parameters, 4)
    assert "layers in the order 1, 11 x (2)" in many.explain()


@pytest.mark.parametrize("condition", [1.0, 4.0, 1e2, 1e4, 1e6])
def test_the_number_of_steps_is_the_least(condition: float) -> None:
    low = 2.0
    accuracy = 1e-8
    steps = inverse_steps_needed(low, low * condition, accuracy)
    a = best_start(low, low * condition)
    # The residual relative to |A^-1|: approximation * low.
    errors = [
        low * inverse_error(1, low, low * condition, a, t).approximation for t in (steps, steps - 1 or 1)
    ]
    assert errors[0] <= accuracy
    assert errors[1] > accuracy or steps == 1
    assert steps <= math.log2(condition) + 6  # rho^(2^t) with rho = 1 - 2/(condition + 1) at least


@settings(max_examples=20)
@given(st.floats(0.1, 10), st.floats(1, 50), st.integers(1, 8), st.integers(0, 10**6))
def test_diagonal_matrices_of_any_range(low: float, condition: float, steps: int, seed: int) -> None:
    """Both ends of the range are eigenvalues; the exact inverse is a quotient, correctly rounded."""
    low = float(torch.tensor(low, dtype=torch.float32))
    high = float(torch.tensor(low * condition, dtype=torch.float32))
    built = inverse_construction(3, low, high, steps)
    middle = low + (high - low) * (seed / 10**6)
    A = torch.diag(torch.tensor([low, high, middle], dtype=torch.float64))
    for dtype in DTYPES:
        given_A = A.to(dtype).double().clamp(max=high)
        (X,) = built.run([given_A], dtype)
        error = (X[0].double().diagonal() - 1 / given_A.diagonal()).abs().max()
        assert float(error) <= built.error(3, dtype).total + U64 / low
        assert not X[0][~torch.eye(3, dtype=torch.bool)].any()


def test_smaller_matrices_and_data_tokens_beside_them(spd, in_floats) -> None:
    A = [spd(1, n, 0.5, 2.0, seed=n)[0] for n in (3, 1, 2)]
    built = inverse_construction(4, 0.5, 2.0, 7)
    (X,) = built.run(A)
    for found, matrix in zip(X, A, strict=True):
        n = len(matrix)
        error = torch.linalg.matrix_norm(found[:n, :n] - torch.linalg.inv(matrix), 2)
        assert float(error) <= built.error(n, torch.float64).total + U64
        assert not found[n:].any()
        assert not found[:, n:].any()
    s = built.stream
    tokens = built.tokens(A[:1]).dense()
    longer = torch.cat([tokens, torch.zeros(1, 2, s.width).double()], 1)
    out = built.to_transformer()(longer).detach()
    assert not out[:, 3:].any()


def test_blocks_of_a_larger_stream_can_be_named(spd) -> None:
    s = Stream(other=2, B=3, inverse=3, rows=3, room=3)
    parts = inverse_steps(s.rows, s.B, s.inverse, s.room, 0.5, 1)
    (start,) = parts
    assert start.heads[0].write == s.inverse  # pyright: ignore[reportAttributeAccessIssue]


def test_what_is_not_covered_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the eigenvalues lie in \[0, 1\]; 0 < low <= high are needed"):
        inverse_construction(3, 0.0, 1.0, 3)
    with pytest.raises(ValueError, match="steps is 0; a whole number, at least 1, is needed"):
        inverse_construction(3, 0.5, 1.0, 0)
    with pytest.raises(ValueError, match=r"a is -1\.0; the iteration starts from a positive multiple of I"):
        inverse_steps(S.ids, S.A, S.X, S.spare, -1.0, 2)
    with pytest.raises(ValueError, match="accuracy is 2; it lies between 0 and 1"):
        inverse_steps_needed(0.5, 1.0, 2)
    built = inverse_construction(3, 0.5, 1.0, 3)
    cases = {
        "has the eigenvalue 2; they must lie in [0.5, 1]": 2 * torch.eye(3),
        "has the eigenvalue 0.25; they must lie in [0.5, 1]": torch.diag(torch.tensor([1.0, 0.25])),
        "has shape (4, 4); n x n with n <= 3 is needed": torch.eye(4),
        "is not symmetric: entries differ by 0.5": torch.tensor([[1.0, 0.5], [0.0, 1.0]]),
        "holds a number that is not finite": torch.full((2, 2), math.nan),
    }
    for message, A in cases.items():
        with pytest.raises(HypothesisError, match=re.escape(f"matrix 0 {message}")):
            built.run([A])
    with pytest.raises(ValueError, match="evaluation is 'quick'; it is structured or dense"):
        built.run([torch.eye(2)], evaluation="quick")  # pyright: ignore[reportArgumentType]


def test_nothing_is_claimed_where_nothing_holds() -> None:
    assert inverse_error(3, 0.5, 2.0, 1.5, 4).total == math.inf  # a high >= 2: the start diverges
    assert start_residual(0.5, 2.0, 1.5) == 2
    far = torch.eye(2).double()[None]
    assert residual_bound(far, -far) == math.inf
    assert inverse_error(8, 1e-6, 1.0, 2.0 - 1e-3, 30, torch.float32).total == math.inf
