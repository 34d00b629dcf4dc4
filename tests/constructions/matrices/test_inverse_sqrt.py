"""Coupled Newton-Schulz: the step is exact, the error proved, in every dtype and evaluation."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from constructions import Construction, Stream
from constructions.language.counts import count
from constructions.language.rounding import gamma, unit_roundoff
from constructions.matrices.inverse_sqrt import (
    RootBlocks,
    inverse_sqrt_construction,
    inverse_sqrt_steps,
    newton_schulz_layer,
    root_start_layer,
)
from constructions.matrices.schulz_error import (
    Path,
    best_root_start,
    inverse_sqrt_error,
    inverse_sqrt_steps_needed,
    root_residual_bound,
    start_path,
    stepped,
)

DTYPES = [torch.float64, torch.float32]
S = Stream(ids=2, A=2, Y=2, Z=2, Y_spare=2, Z_spare=2)
BLOCKS = RootBlocks(S.ids, S.A, S.Y, S.Z, S.Y_spare, S.Z_spare)
U64 = unit_roundoff(torch.float64)
HALF = Fraction(1, 2)


def eye(batch: int, n: int) -> np.ndarray:
    one = np.vectorize(Fraction, otypes=[object])(np.eye(n, dtype=int))
    return np.broadcast_to(one, (batch, n, n))


def roots(A: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A^-1/2 and A^1/2 in float64."""
    values, vectors = torch.linalg.eigh(A)
    return tuple(vectors * values[:, None] ** power @ vectors.mT for power in (-0.5, 0.5))  # type: ignore[return-value]


def test_a_step_is_exact_in_fractions(fractions, exactly) -> None:
    """500 instances of symmetric Y and Z that do not commute; five by the dense weights."""
    Y, Z = (fractions(500, 2, 2, seed=k) for k in (1, 2))
    Y, Z = (M + np.swapaxes(M, 1, 2) for M in (Y, Z))
    built = Construction("a step", "a test", S, (S.ids, S.Y, S.Z), (newton_schulz_layer(BLOCKS),))
    blocks = {S.ids: eye(500, 2), S.Y: Y, S.Z: Z}
    expected = {S.Y: HALF * Y @ (3 * eye(500, 2) - Z @ Y), S.Z: HALF * (3 * eye(500, 2) - Z @ Y) @ Z}
    dense = exactly(built, {b: m[:5] for b, m in blocks.items()}, dense=True)
    found = exactly(built, blocks)
    for block, answer in expected.items():
        assert np.array_equal(found[..., block.slice], answer)
        assert np.array_equal(dense[..., block.slice], answer[:5])


def test_the_start_is_the_first_step(fractions, exactly) -> None:
    A = fractions(500, 2, 2, seed=3)
    A = A + np.swapaxes(A, 1, 2)
    a = Fraction(5, 8)
    built = Construction("start", "a test", S, (S.ids, S.A), (root_start_layer(BLOCKS, float(a)),))
    found = exactly(built, {S.ids: eye(500, 2), S.A: A})
    I2 = eye(500, 2)
    H = HALF * (3 * I2 - a**2 * A)
    assert np.array_equal(found[..., S.Y.slice], a * A @ H)
    assert np.array_equal(found[..., S.Z.slice], a * H)


def test_with_the_best_start_both_ends_are_equal_after_a_step() -> None:
    for condition in (1.0, 1.5, 10.0, 1e4):
        low, high = 0.3, 0.3 * condition
        path = start_path(low, high, best_root_start(low, high))
        after = [-(3 + e) * e**2 / 2 for e in (path.least, path.most)]
        # a is rounded to float32, and the slope of s (3 - s^2)/2 is at most 3 below sqrt(3).
        assert after[0] == pytest.approx(after[1], abs=2 * 3 * math.sqrt(3) * 2.0**-24)


def test_the_recursion_is_that_of_the_paper() -> None:
    """|e| -> (3/2) e^2 + |e|^3 / 2 at most."""
    for e in (-0.9, -0.3, 0.1, 0.7):
        after = stepped(Path(e, e))
        assert after.approximation <= 1.5 * e**2 + abs(e) ** 3 / 2 + 4 * U64
    interval = stepped(Path(-0.5, 0.25))
    assert interval.most == 0
    assert interval.least == -(3 - 0.5) * 0.25 / 2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("evaluation", ["structured", "dense"])
@pytest.mark.parametrize(("n", "low", "high"), [(1, 1.0, 3.0), (3, 0.5, 2.0), (4, 0.1, 10.0)])
def test_the_error_is_within_its_bound(
    n: int, low: float, high: float, evaluation: str, dtype: torch.dtype, spd
) -> None:
    """The reference has an error itself: of Z by its residual; of Y = A Z times |A|, and one product."""
    A = spd(30, n, low, high, seed=n)
    inverse, _ = roots(A)
    own = root_residual_bound(A, inverse, low)
    own_root = high * own + gamma(n + 2, U64) * n * high / math.sqrt(low)
    for steps in (1, 3, inverse_sqrt_steps_needed(low, high, 1e-10)):
        built = inverse_sqrt_construction(4, low, high, steps)
        Z, Y = (h.double() for h in built.run(A, dtype, evaluation))
        bound = built.error(n, dtype)
        error = torch.linalg.matrix_norm(Z - inverse, 2)
        assert bool((error <= bound.inverse + own).all())
        assert bool((torch.linalg.matrix_norm(Y - A @ inverse, 2) <= bound.root + own_root).all())
        assert bound.inverse < math.inf
        assert bool((error <= root_residual_bound(A, Z, low) + own).all())
        assert own.max() < bound.inverse


def test_one_step_less_breaks_the_bound(spd) -> None:
    """A matrix with the eigenvalue low, where s is furthest from 1."""
    A = spd(1, 3, 0.1, 10.0)
    inverse, root = roots(A)
    for steps in (4, 6, 7, 8):
        less = inverse_sqrt_construction(3, 0.1, 10.0, steps - 1)
        Z, Y = less.run(A)
        bound = inverse_sqrt_error(3, 0.1, 10.0, less.a, steps, torch.float64)
        assert float(torch.linalg.matrix_norm(Z - inverse, 2)) > bound.inverse
        assert float(torch.linalg.matrix_norm(Y - root, 2)) > 0


def test_many_more_steps_do_not_lose_what_was_reached(spd) -> None:
    """The coupled form is stable: errors neither grow nor die at the root. The bound adds up step by step."""
    A = spd(20, 3, 0.5, 2.0)
    inverse, _ = roots(A)
    built = inverse_sqrt_construction(3, 0.5, 2.0, 60)
    Z, _ = built.run(A)
    error = torch.linalg.matrix_norm(Z - inverse, 2)
    own = root_residual_bound(A, inverse, 0.5)
    assert bool((error <= built.error(3, torch.float64).inverse + own).all())
    # Of Z, of size 1: 60 steps add up, each some hundred u times the condition; no digit that counts is lost.
    assert built.error(3, torch.float64).inverse < 1e-10


def test_a_wrong_factor_is_noticed(spd) -> None:
    A = spd(5, 3, 0.5, 2.0)
    built = inverse_sqrt_construction(3, 0.5, 2.0, 6)
    inverse, _ = roots(A)
    bound = built.error(3, torch.float64).inverse + root_residual_bound(A, inverse, 0.5)
    for pair in range(4):  # 1.5 Y, Y Z Y, 1.5 Z, Z Y Z
        broken = built.to_transformer()
        with torch.no_grad():
            broken.layers[1].attention.output[2 * pair : 2 * pair + 2] *= 1.01  # pyright: ignore
            Z = broken(built.tokens(A).dense())[..., built.stream.Z.slice]
        assert bool((torch.linalg.matrix_norm(Z - inverse, 2) > bound).any()), pair


def test_one_layer_a_step_and_the_same_weights_for_any_number() -> None:
    few, many = (inverse_sqrt_construction(4, 0.1, 10.0, t).construction for t in (2, 12))
    assert (count(few).layers, count(many).layers) == (2, 12)
    assert (count(few).parameters, count(few).heads) == (count(many).parameters, 8)


@pytest.mark.parametrize("condition", [1.0, 4.0, 1e2, 1e4, 1e6])
def test_the_number_of_steps_is_the_least_and_logarithmic(condition: float) -> None:
    """s grows by a factor (3 - s^2)/2 >= 1.375 while s <= 1/2, from above 1/sqrt(condition)."""
    low = 2.0
    accuracy = 1e-8
    steps = inverse_sqrt_steps_needed(low, low * condition, accuracy)
    a = best_root_start(low, low * condition)
    errors = [
        inverse_sqrt_error(1, low, low * condition, a, t).approximation for t in (steps, steps - 1 or 1)
    ]
    assert errors[0] <= accuracy
    assert errors[1] > accuracy or steps == 1
    assert steps <= math.log(condition) / (2 * math.log(1.375)) + 7


@settings(max_examples=20)
@given(st.floats(0.1, 10), st.floats(1, 50), st.integers(1, 8), st.integers(0, 10**6))
def test_diagonal_matrices_of_any_range(low: float, condition: float, steps: int, seed: int) -> None:
    """Both ends of the range are eigenvalues; the roots are within two ulp."""
    low = float(torch.tensor(low, dtype=torch.float32))
    high = float(torch.tensor(low * condition, dtype=torch.float32))
    built = inverse_sqrt_construction(3, low, high, steps)
    middle = low + (high - low) * (seed / 10**6)
    A = torch.diag(torch.tensor([low, high, middle], dtype=torch.float64))
    for dtype in DTYPES:
        given_A = A.to(dtype).double().clamp(max=high)
        Z, Y = (h[0].double().diagonal() for h in built.run([given_A], dtype))
        bound = built.error(3, dtype)
        lam = given_A.diagonal()
        assert float((Z - lam**-0.5).abs().max()) <= bound.inverse + 4 * U64 / math.sqrt(low)
        assert float((Y - lam**0.5).abs().max()) <= bound.root + 4 * U64 * math.sqrt(high)


def test_a_token_of_zeros_stays_zero(spd) -> None:
    built = inverse_sqrt_construction(3, 0.5, 2.0, 4)
    tokens = built.tokens(spd(2, 2, 0.5, 2.0)).dense()
    longer = torch.cat([tokens, torch.zeros(2, 2, tokens.shape[-1]).double()], 1)
    assert not built.to_transformer()(longer)[:, 2:].any()


def test_what_is_not_covered_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the eigenvalues lie in \[2, 1\]; 0 < low <= high are needed"):
        inverse_sqrt_construction(3, 2.0, 1.0, 3)
    with pytest.raises(ValueError, match=r"a is 2 and the largest eigenvalue 1: 0 < a\^2 high < 3 is needed"):
        inverse_sqrt_error(3, 0.5, 1.0, 2.0, 3)
    with pytest.raises(ValueError, match=r"a is 0\.0; the iteration starts from a positive multiple of I"):
        inverse_sqrt_steps(BLOCKS, 0.0, 2)
    with pytest.raises(ValueError, match="accuracy is 0; it lies between 0 and 1"):
        inverse_sqrt_steps_needed(0.5, 1.0, 0)
    wrong = -torch.eye(2).double()[None]
    assert root_residual_bound(-wrong, wrong, 1.0) == math.inf
    assert inverse_sqrt_error(8, 1e-4, 1e4, best_root_start(1e-4, 1e4), 40, torch.float32).inverse == math.inf
