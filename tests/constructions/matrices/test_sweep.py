"""SWEEP: inverse, log-determinant and pivots within the instance bound, in every dtype and evaluation."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from constructions.language.counts import count
from constructions.language.rounding import gamma, unit_roundoff
from constructions.matrices.inverse import residual_bound
from constructions.matrices.sweep import next_row, sweep_construction
from constructions.matrices.sweep_error import swept

DTYPES = [torch.float64, torch.float32]
U64 = unit_roundoff(torch.float64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("evaluation", ["structured", "dense"])
@pytest.mark.parametrize(
    ("n", "low", "high", "pieces", "steps"), [(1, 0.5, 2.0, 4, 2), (3, 0.5, 2.0, 8, 2), (4, 0.1, 10.0, 16, 4)]
)
def test_the_error_is_within_the_instance_bound(
    n: int, low: float, high: float, pieces: int, steps: int, evaluation: str, dtype: torch.dtype, spd
) -> None:
    """References of torch in float64: the inverse by its residual; log det to n^2 gamma_{n^2+8} condition,
    the backward error of a factorisation; the pivots are those of the bound's own exact path.
    """
    A = spd(12, n, low, high, seed=n)
    built = sweep_construction(4, low, high, pieces, steps, 128)
    X, log_det, pivots = (h.double() for h in built.run(A, dtype, evaluation))
    reference = torch.linalg.inv(A)
    own = residual_bound(A, reference)[:, None, None]
    bounds = built.error(A, dtype)
    off = torch.stack([bound.inverse for bound in bounds])
    assert bool(((X - reference).abs() <= off + own).all())
    assert bool(off.isfinite().all())
    logs = torch.tensor([bound.log_det for bound in bounds]) + n**2 * gamma(n**2 + 8, U64) * high / low
    assert bool(((log_det[..., 0] - torch.logdet(A)[:, None]).abs() <= logs[:, None]).all())
    for one, found, bound in zip(A, pivots, bounds, strict=True):
        path, exact = one.clone(), []
        for k in range(n):
            exact.append(float(path[k, k]))
            path = swept(path, k, built.scale)
        # The path in float64 has the rounding of a run in float64.
        allowed = bound.pivots + built.error([one], torch.float64)[0].pivots
        assert bool(((found[:n, 0] - torch.tensor(exact, dtype=torch.float64)).abs() <= allowed).all())
        # Pivots are Schur complements, within the range; these are rounded as those of a run in float64.
        rounding = float(built.error([one], torch.float64)[0].pivots.max())
        assert low - rounding <= min(exact)
        assert max(exact) <= high + rounding
    if n > 1:  # the a posteriori bound holds whatever was done
        assert bool((torch.linalg.matrix_norm(X - reference, 2) <= residual_bound(A, X) + own[:, 0, 0]).all())


def test_the_reciprocal_s_error_is_what_is_left_in_exact_arithmetic(spd, exactly) -> None:
    """Fractions, one Newton step, two sweeps: the bound without rounding holds, and is not idle."""
    built = sweep_construction(2, 0.5, 2.0, 2, 1, 2)
    A = torch.tensor([[[1.0, 0.25], [0.25, 1.5]], [[0.75, 0.0], [0.0, 1.25]]], dtype=torch.float64)
    blocks = {
        s: np.vectorize(Fraction, otypes=[object])(v.numpy())
        for s, v in ((block, built.tokens(A).read(block)) for block in built.construction.inputs)
    }
    found = exactly(built.construction, blocks)
    X = torch.tensor(found[..., built.results[0].slice].astype(float))
    log_det = torch.tensor(found[..., built.results[1].slice].astype(float))[..., 0]
    error = (X - torch.linalg.inv(A)).abs()
    bounds = built.error(A)
    off = torch.stack([b.inverse for b in bounds])
    assert bool((error <= off + residual_bound(A, torch.linalg.inv(A))[:, None, None]).all())
    assert error.max() > 1e-5  # chords in two pieces are coarse
    logs = torch.tensor([b.log_det for b in bounds])[:, None]
    assert bool(((log_det - torch.logdet(A)[:, None]).abs() <= logs + 100 * U64).all())


def test_one_newton_step_less_breaks_the_bound(spd) -> None:
    A = spd(10, 3, 0.5, 2.0, seed=5)
    for steps in (2, 3):
        less, more = (sweep_construction(3, 0.5, 2.0, 4, t, 8) for t in (steps - 1, steps))
        off = torch.stack([bound.inverse for bound in more.error(A, torch.float64)])
        error = (less.run(A)[0] - torch.linalg.inv(A)).abs()
        assert bool((error > off).any())
        assert bool((error <= torch.stack([b.inverse for b in less.error(A, torch.float64)])).all())


def test_a_wrong_turn_is_noticed(spd) -> None:
    """Three sweeps that all take one row: the inverse is lost."""
    A = spd(2, 3, 0.5, 2.0)
    built = sweep_construction(3, 0.5, 2.0, 8, 3, 8)
    broken = built.to_transformer()
    (sweep,) = (i for i, layer in enumerate(built.construction.layers) if layer.name == "sweep")
    with torch.no_grad():
        heads = broken.layers[sweep].attention  # pyright: ignore
        heads.query[-2:] = heads.query[-2:].roll(1, dims=-1)  # pyright: ignore
        X = broken(built.tokens(A).dense())[..., built.results[0].slice]
    off = torch.stack([bound.inverse for bound in built.error(A, torch.float64)])
    assert bool(((X - torch.linalg.inv(A)).abs() > off).any())


def test_layers_heads_and_weights() -> None:
    """1 + n (3 + t) + 2 layers; weights do not grow with t, and heads not with n."""
    for n, t in ((2, 2), (5, 2), (5, 4)):
        found = count(sweep_construction(n, 0.5, 2.0, 8, t, 16).construction)
        assert found.layers == n * (t + 3) + 3
        assert found.heads == 12
    few, many = (count(sweep_construction(4, 0.5, 2.0, 8, t, 16).construction) for t in (2, 6))
    assert few.parameters == many.parameters


@settings(max_examples=10)
@given(
    n=st.integers(1, 3),
    low=st.floats(0.3, 3.0),
    condition=st.floats(1.0, 8.0),
    seed=st.integers(0, 10**6),
)
def test_matrices_of_any_size_and_range(spd, n: int, low: float, condition: float, seed: int) -> None:
    high = low * condition + 1e-2
    A = spd(2, n, low, high, seed=seed)
    built = sweep_construction(3, low, high, 8, 3, 8)
    for dtype in DTYPES:
        X, log_det, _ = (h.double() for h in built.run(A, dtype))
        reference = torch.linalg.inv(A)
        bounds = built.error(A, dtype)
        off = torch.stack([b.inverse for b in bounds])
        assert bool(((X - reference).abs() <= off + residual_bound(A, reference)[:, None, None]).all())
        logs = torch.tensor([b.log_det for b in bounds]) + n**2 * gamma(n**2 + 8, U64) * high / low
        assert bool(((log_det[..., 0] - torch.logdet(A)[:, None]).abs() <= logs[:, None]).all())


def test_data_tokens_and_smaller_matrices_are_left_alone(spd) -> None:
    A = [spd(1, n, 0.5, 2.0, seed=n)[0] for n in (3, 1, 2)]
    built = sweep_construction(3, 0.5, 2.0, 8, 3, 16)
    X, log_det, _ = built.run(A)
    for found, logs, matrix, bound in zip(X, log_det, A, built.error(A, torch.float64), strict=True):
        n = len(matrix)
        reference = torch.linalg.inv(matrix)
        own = residual_bound(matrix[None], reference[None])[0]
        assert bool(((found[:n, :n] - reference).abs() <= bound.inverse + own).all())
        logs_own = n**2 * gamma(n**2 + 8, U64) * 2.0 / 0.5
        assert float((logs[:n, 0] - torch.logdet(matrix)).abs().max()) <= bound.log_det + logs_own
        assert not found[n:].any()
        assert not found[:, n:].any()
    tokens = built.tokens(A[:1]).dense()
    longer = torch.cat([tokens, torch.zeros(1, 2, tokens.shape[-1]).double()], 1)
    out = built.to_transformer()(longer).detach()
    assert not out[:, 3:].any()


def test_what_is_not_covered_is_refused() -> None:
    ids = sweep_construction(3, 0.5, 2.0, 2, 1, 2).stream.ids
    with pytest.raises(ValueError, match=r"ids\[0:3\] does not hold matrices of 2 rows"):
        next_row(ids, 2)
    with pytest.raises(ValueError, match="log_pieces is 0; a whole number, at least 1, is needed"):
        sweep_construction(3, 0.5, 2.0, 8, 2, 0)
    coarse = sweep_construction(2, 1e-3, 1e3, 1, 1, 1)
    close = 1 - 2.0**-9
    (bound,) = coarse.error(torch.tensor([[[1.0, close], [close, 1.0]]]))  # the second pivot is lost
    assert bound.log_det == math.inf
    assert not bound.inverse.isfinite().any()
