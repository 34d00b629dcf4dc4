"""Tensor power iteration: exact contractions and paths, growth, stopping, leaving the range; bad input."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensor_instances import normal, orthogonal, seeded
from tensorly.tenalg import multi_mode_dot

from baselines.robust_tensor_power import (
    TensorPowerError,
    contract,
    growth,
    robust_tensor_power,
    tensor_power_iteration,
)

SEEDS = st.integers(0, 2**31 - 1)
FEW = settings(max_examples=40, deadline=None)


# ---- one contraction


def exact_contraction(T, v):
    d = len(v)
    return [
        sum(Fraction(T[i][j][m]) * Fraction(v[j]) * Fraction(v[m]) for j in range(d) for m in range(d))
        for i in range(d)
    ]


@FEW
@given(SEEDS, st.integers(1, 6))
def test_contraction_is_exact_on_small_integers(seed, d):
    """Not symmetric, with a batch of one T for two v; integers below 2^53 throughout, so nothing rounds."""
    T = torch.randint(-9, 10, (3, 1, d, d, d), generator=seeded(seed)).double()
    v = torch.randint(-9, 10, (2, d), generator=seeded(seed + 1)).double()
    result = contract(T, v)
    assert result.shape == (3, 2, d)
    for i in range(3):
        for j in range(2):
            exact = exact_contraction(T[i, 0].tolist(), v[j].tolist())
            assert [Fraction(value) for value in result[i, j].tolist()] == exact


@FEW
@given(SEEDS, st.integers(1, 6))
def test_contraction_rounds_within_its_bound(seed, d):
    T, v = normal(seeded(seed), d, d, d), normal(seeded(seed + 1), d)
    exact = exact_contraction(T.tolist(), v.tolist())
    size = torch.einsum("ijm,j,m->i", T.abs(), v.abs(), v.abs())
    bound = (2 * d + 1) * 2.0**-53 * size
    for value, reference, limit in zip(contract(T, v).tolist(), exact, bound.tolist(), strict=True):
        assert abs(Fraction(value) - reference) <= limit * (1 + 1e-9)


def test_contraction_is_that_of_tensorly():
    T, v = normal(seeded(0), 5, 5, 5), normal(seeded(1), 5)
    theirs = multi_mode_dot(T.numpy(), [v.numpy()] * 2, modes=[1, 2])
    np.testing.assert_allclose(contract(T, v).numpy(), theirs, rtol=0, atol=1e-13)


# ---- the iteration


def test_plain_path_is_exact_on_integers():
    T = torch.randint(-1, 2, (3, 3, 3), generator=seeded(4)).double()
    v = torch.tensor([1.0, -1.0, 2.0], dtype=torch.float64)
    result = tensor_power_iteration(T, v, 4, normalise=False)
    current = [Fraction(value) for value in v.tolist()]
    for t in range(4):
        assert [Fraction(value) for value in result.path[t].tolist()] == current
        current = exact_contraction(T.tolist(), current)
        length = sum(value**2 for value in current) ** 0.5
        assert result.norms[t].item() == pytest.approx(float(length), rel=1e-15)
    assert [Fraction(value) for value in result.last.tolist()] == current
    assert result.n_steps == 4
    assert not result.failed


@pytest.mark.parametrize("normalise", [False, True])
def test_path_of_a_batch_is_a_loop_of_contractions(normalise):
    """One T for every start of a row; start lengths from 0.1 to 1."""
    T = 0.3 * normal(seeded(2), 2, 1, 4, 4, 4)
    v = normal(seeded(3), 3, 4)
    v = v / v.norm(dim=-1, keepdim=True) * torch.tensor([[0.1], [0.4], [1.0]], dtype=torch.float64)
    result = tensor_power_iteration(T, v, 5, normalise)
    assert result.path.shape == (2, 3, 6, 4)
    assert result.norms.shape == (2, 3, 5)
    assert torch.equal(result.path[..., 0, :], v.expand(2, 3, 4))
    for t in range(5):
        w = torch.einsum("bzijm,bzj,bzm->bzi", T.expand(2, 3, 4, 4, 4), *[result.path[..., t, :]] * 2)
        length = w.square().sum(-1).sqrt()
        torch.testing.assert_close(result.norms[..., t], length, rtol=1e-13, atol=0)
        expected = w / length.unsqueeze(-1) if normalise else w
        torch.testing.assert_close(result.path[..., t + 1, :], expected, rtol=1e-12, atol=1e-300)


@FEW
@given(SEEDS, st.integers(1, 6), st.integers(1, 4))
def test_growth_is_the_length_of_the_plain_path(seed, d, steps):
    """With c the least |T(I, u_t, u_t)| / |T|_F of the path, a step is off by (2 d + 8) u / c, in direction
    and relative to its length, and the next multiplies an error of the direction by at most 2 / c, one of the
    length by 2: after t steps t (2 / c)^t (2 d + 8) u, on either side of the comparison."""
    T, v = normal(seeded(seed), 2, d, d, d), normal(seeded(seed + 1), 2, d)
    v = v / v.norm(dim=-1, keepdim=True)
    levels = growth(T, v, steps)
    assert levels.shape == (2, steps + 1)
    lengths = tensor_power_iteration(T, v, steps, normalise=False).path.norm(dim=-1)
    norms = tensor_power_iteration(T, v, steps).norms
    c = (norms / T.flatten(-3).norm(dim=-1, keepdim=True)).amin().item()
    rounding = 2 * steps * (2 / c) ** steps * (2 * d + 8) * 2.0**-53
    torch.testing.assert_close(levels, lengths.log10(), rtol=1e-15, atol=rounding)


def test_growth_far_beyond_the_range():
    """T = 7 e(x)e(x)e from v = 3: v_t = 7^(2^t - 1) 3^(2^t); and from numbers whose product underflows."""
    T, v = torch.full((1, 1, 1), 7.0, dtype=torch.float64), torch.tensor([3.0], dtype=torch.float64)
    t = torch.arange(31, dtype=torch.float64)
    exact = (2**t - 1) * np.log10(7.0) + 2**t * np.log10(3.0)
    torch.testing.assert_close(growth(T, v, 30), exact, rtol=1e-14, atol=1e-15)
    small = growth(1e-300 * T, 1e-200 * v, 3)
    exact = torch.tensor([-200.0, -700, -1700, -3700], dtype=torch.float64) + exact[:4]
    torch.testing.assert_close(small, exact, rtol=1e-13, atol=0)


def test_growth_of_a_path_that_reaches_zero():
    """T(I, e_0, e_0) = e_1 and T(I, e_1, e_1) = 0: v_2 = 0 exactly, no failure in the plain iteration."""
    T = torch.zeros(2, 2, 2, dtype=torch.float64)
    T[1, 0, 0] = 4.0
    v = torch.tensor([1.0, 0.0], dtype=torch.float64)
    levels = growth(T, v, 4)
    assert levels.tolist() == [0.0, np.log10(4.0), -np.inf, -np.inf, -np.inf]
    result = tensor_power_iteration(T, v, 4, normalise=False)
    assert result.path[:, 1].tolist() == [0.0, 4.0, 0.0, 0.0, 0.0]
    assert not result.failed
    with pytest.raises(TensorPowerError, match=r"step 2 of task \(\): \|T\(I, v, v\)\| is 0.0, needs"):
        tensor_power_iteration(T, v, 4)


def test_normalised_iteration_squares_the_ratios():
    """With c = <v_k, v>, lambda_k c_k / (lambda_1 c_1) is squared by every step; below 1 errors shrink."""
    values, V, T = orthogonal(5, 4, 4)
    v = V[0] + torch.tensor([0.0, 0.1, -0.2, 0.05], dtype=torch.float64) @ V
    ratios = values * (V @ v) / (values[0] * (V @ v)[0])
    assert ratios[1:].abs().max() < 1
    result = tensor_power_iteration(T, v, 12)
    for t in range(1, 13):
        c = V @ result.path[t]
        torch.testing.assert_close(values * c / (values[0] * c[0]), ratios ** (2**t), rtol=0, atol=1e-13)
    assert result.norms[-1].item() == pytest.approx(values[0].item(), rel=1e-13)
    torch.testing.assert_close(result.last, V[0], rtol=0, atol=1e-13)


def test_each_task_stops_on_its_own():
    _, _, T = orthogonal(6, 5, 5, batch=(7,))
    v = normal(seeded(7), 7, 5)
    together = tensor_power_iteration(T, v, 40, tol=1e-9)
    assert len(together.n_steps.unique()) > 1
    assert (together.n_steps < 40).all()
    for task in range(7):
        n = int(together.n_steps[task])
        moves = together.path[task].diff(dim=0).norm(dim=-1)
        assert (moves[: n - 1] > 1e-9).all()
        assert moves[n - 1] <= 1e-9
        assert (moves[n:] == 0).all()
        assert together.norms[task, :n].isfinite().all()
        assert together.norms[task, n:].isnan().all()
        alone = tensor_power_iteration(T[task], v[task], n)
        torch.testing.assert_close(alone.path, together.path[task, : n + 1], rtol=0, atol=1e-13)
    never = tensor_power_iteration(T, v, 40)
    assert (never.n_steps == 40).all()


def test_a_step_of_exactly_tol_is_the_last():
    """At a fixed point every step has length 0, so that tol = 0 stops after the first."""
    T = torch.zeros(2, 2, 2, dtype=torch.float64)
    T[0, 0, 0] = 3.0
    path = tensor_power_iteration(T, torch.tensor([1.0, 0.0], dtype=torch.float64), 5, tol=0.0)
    assert path.n_steps == 1


@pytest.mark.parametrize("scale", [1e-250, 1e250])
def test_lengths_whose_squares_leave_the_range(scale):
    """T(I, e_0, e_0) = scale (3, 4): the unit vectors are those of scale 1, the length 5 scale."""
    T = torch.zeros(2, 2, 2, dtype=torch.float64)
    T[0, 0, 0], T[1, 0, 0] = 3 * scale, 4 * scale
    v = torch.tensor([1.0, 0.0], dtype=torch.float64)
    result = tensor_power_iteration(T, v, 2)
    torch.testing.assert_close(result.norms / scale, torch.tensor([5.0, 1.8], dtype=torch.float64))
    torch.testing.assert_close(result.last, torch.tensor([0.6, 0.8], dtype=torch.float64))
    short = growth(T / scale, torch.tensor([3.0, 4.0], dtype=torch.float64) * scale, 1)
    expected = [np.log10(5.0) + np.log10(scale), np.log10(45.0) + 2 * np.log10(scale)]
    torch.testing.assert_close(short, torch.tensor(expected, dtype=torch.float64), rtol=1e-13, atol=0)


# ---- where it leaves the numbers


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("scale", [2.0, 0.5])
def test_plain_iteration_names_the_step_that_leaves_the_range(dtype, scale):
    """v_t = scale^(2^t - 1) from 1: the exponent passes 1024 (128) upwards, 1022 (126) downwards."""
    T = torch.tensor([1.0, scale], dtype=dtype).reshape(2, 1, 1, 1)
    v = torch.ones(2, 1, dtype=dtype)
    last = {torch.float64: 10, torch.float32: 7}[dtype]  # 2^10 - 1 = 1023 is in range, 2^10 - 1 > 1022 is not
    first_bad = last + 1 if scale == 2 else last
    with pytest.raises(
        TensorPowerError, match=rf"step {first_bad} of task \(1,\): log10 \|v\| = -?\d.*scaled"
    ) as caught:
        tensor_power_iteration(T, v, 12, normalise=False)
    assert (caught.value.task, caught.value.step) == ((1,), first_bad)
    assert f"|v| = {(2**first_bad - 1) * np.log10(scale):.6g} in" in str(caught.value)
    marked = tensor_power_iteration(T, v, 12, normalise=False, on_failure="mark")
    assert marked.failed.tolist() == [False, True]
    assert marked.n_steps.tolist() == [12, first_bad - 1]
    assert marked.path[1, :first_bad, 0].tolist() == [scale ** (2**t - 1) for t in range(first_bad)]
    assert marked.path[1, first_bad:].isnan().all()
    assert marked.norms[1, first_bad - 1 :].isnan().all()
    assert (marked.path[0] == 1).all()
    assert (tensor_power_iteration(T, v, 12).path == 1).all()


def test_a_path_that_underflows_before_it_would_be_zero_has_failed():
    """v_1 = 1e-400 e_1 underflows; v_2 = T(I, e_1, e_1) = 0 would be exact, but comes after the failure."""
    T = torch.zeros(2, 2, 2, dtype=torch.float64)
    T[1, 0, 0] = 1e-200
    v = torch.tensor([1e-100, 0.0], dtype=torch.float64)
    result = tensor_power_iteration(T, v, 3, normalise=False, on_failure="mark")
    assert result.failed
    assert result.n_steps == 0
    assert result.path[1:].isnan().all()
    with pytest.raises(TensorPowerError, match=r"step 1 of task \(\): log10 \|v\| = -400 in the plain"):
        tensor_power_iteration(T, v, 3, normalise=False)


def test_normalised_iteration_marks_a_task_without_a_next_vector():
    T = torch.zeros(3, 2, 2, 2, dtype=torch.float64)
    T[:, 0, 0, 0], T[:, 1, 1, 1] = 2.0, 1.0
    T[1, 0, 0, 0] = 0.0
    v = torch.tensor([1.0, 0.0], dtype=torch.float64)
    result = tensor_power_iteration(T, v, 3, on_failure="mark")
    assert result.failed.tolist() == [False, True, False]
    assert result.n_steps.tolist() == [3, 0, 3]
    assert result.path[1, 0].tolist() == [1.0, 0.0]
    assert result.path[1, 1:].isnan().all()
    assert (result.path[[0, 2]] == v).all()
    assert result.norms[1, 0] == 0
    assert result.norms[1, 1:].isnan().all()
    with pytest.raises(TensorPowerError, match=r"step 1 of task \(1,\): \|T\(I, v, v\)\| is 0.0, needs"):
        tensor_power_iteration(T, v, 3)


# ---- bad input

T2 = torch.zeros(2, 2, 2, dtype=torch.float64)
T2[0, 0, 0] = T2[1, 1, 1] = 1.0
V2 = torch.tensor([1.0, 0.0], dtype=torch.float64)
NAN = T2.clone()
NAN[1, 0, 1] = torch.nan
LOPSIDED = T2.clone()
LOPSIDED[0, 1, 0] = 0.5


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: contract(NAN, V2), r"T\[1, 0, 1\] is nan, needs finite"),
        (lambda: contract(T2, V2 * torch.inf), r"v\[\d\] is (inf|nan), needs finite"),
        (lambda: contract(T2[0], V2), r"T has shape \(2, 2\), needs \(\.\.\., d, d, d\)"),
        (lambda: contract(T2[:1], V2), r"T has shape \(1, 2, 2\), needs"),
        (lambda: contract(T2[:, :0], V2), r"T has shape \(2, 0, 2\), needs"),
        (lambda: contract(T2.long(), V2), "T is of type torch.int64, needs a floating"),
        (lambda: contract(T2.numpy(), V2), "T is of type ndarray, needs a floating"),
        (lambda: contract(T2, V2.float()), "v is torch.float32 .* needs torch.float64"),
        (lambda: contract(T2, torch.ones(3).double()), r"v has shape \(3,\), needs \(\.\.\., 2\)"),
        (
            lambda: contract(T2.expand(4, 2, 2, 2), V2.expand(3, 2)),
            r"v has batch shape \(3,\), needs one that fits \(4,\)",
        ),
        (lambda: tensor_power_iteration(T2, 0 * V2, 3), r"v is 0 in task \(\), needs a start"),
        (lambda: growth(T2, torch.stack([V2, 0 * V2]), 3), r"v is 0 in task \(1,\), needs a start"),
        (lambda: tensor_power_iteration(T2, V2, 0), "steps is 0, needs an integer of at least 1"),
        (lambda: growth(T2, V2, 1.5), "steps is 1.5, needs an integer"),
        (lambda: tensor_power_iteration(T2, V2, 3, tol=-1.0), "tol is -1.0 with normalise = True, needs"),
        (lambda: tensor_power_iteration(T2, V2, 3, tol=float("nan")), "tol is nan with"),
        (lambda: tensor_power_iteration(T2, V2, 3, False, tol=1.0), "tol is 1.0 with normalise = False"),
        (lambda: tensor_power_iteration(T2, V2, 3, on_failure="warn"), "on_failure is 'warn', needs one of"),
        (lambda: robust_tensor_power(T2, 0, generator=seeded(0)), "n_components is 0, needs"),
        (lambda: robust_tensor_power(T2, 1, n_starts=0, generator=seeded(0)), "n_starts is 0, needs"),
        (lambda: robust_tensor_power(T2, 1, n_iter=0, generator=seeded(0)), "n_iter is 0, needs"),
        (lambda: robust_tensor_power(T2, 1), "neither of generator and starts given, needs one"),
        (
            lambda: robust_tensor_power(T2, 1, generator=seeded(0), starts=V2.expand(1, 1, 2)),
            "both of generator and starts given, needs one",
        ),
        (
            lambda: robust_tensor_power(T2, 2, starts=V2.expand(1, 3, 2)),
            r"starts have shape \(1, 3, 2\), needs \(\.\.\., 2, n_starts, 2\)",
        ),
        (lambda: robust_tensor_power(T2, 1, starts=0 * V2.expand(1, 3, 2)), r"starts\[0, 0\] is 0, needs"),
        (lambda: robust_tensor_power(T2, 1, starts=V2.float().expand(1, 3, 2)), "starts is torch.float32"),
        (
            lambda: robust_tensor_power(T2, 1, starts=V2.expand(5, 1, 3, 2)),
            r"starts have batch shape \(5,\), needs one that broadcasts to \(\)",
        ),
        (lambda: robust_tensor_power(LOPSIDED, 1, generator=seeded(0)), "differs from its transposes by 0.5"),
        (lambda: robust_tensor_power(NAN, 1, generator=seeded(0)), r"T\[1, 0, 1\] is nan"),
    ],
)
def test_bad_input(call, match):
    with pytest.raises(ValueError, match=match) as caught:
        call()
    assert "\n" not in str(caught.value)
