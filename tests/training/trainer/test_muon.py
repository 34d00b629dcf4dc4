"""Muon: what the iteration does to singular values, and the size of a step."""

import math

import pytest
import torch

from training.trainer.muon import COEFFICIENTS, STEPS, Muon, orthogonalise

U32 = 2.0**-24  # unit roundoff of float32


def quintic(s: torch.Tensor) -> torch.Tensor:
    """What one iteration does to a singular value: a s + b s^3 + c s^5."""
    a, b, c = COEFFICIENTS
    return s * (a + s * s * (b + c * s * s))


def iterated(s: torch.Tensor) -> torch.Tensor:
    for _ in range(STEPS):
        s = quintic(s)
    return s


def matrices(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def with_singular_values(values: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    u = torch.linalg.qr(matrices(rows, len(values), seed=1)).Q
    v = torch.linalg.qr(matrices(columns, len(values), seed=2)).Q
    return (u * values) @ v.T


def band() -> tuple[float, float, float]:
    """(threshold, low, high): singular values from `threshold` to 1 end in [low, high], from calculus.

    The quintic grows up to s1, falls to s2, grows again: s1^2, s2^2 are the roots of a + 3 b t + 5 c t^2. Its
    largest value before s2 is q(s1) = 1.2024, its smallest from s1 on q(s2) = 0.682. As q(1.2024) < 1.2024,
    no value passes q(s1), and what has reached q(s2) stays above it. Below s1 it grows, so `threshold` is
    the start that reaches q(s2) in STEPS steps and no later, found by bisection.
    """
    a, b, c = COEFFICIENTS
    root = math.sqrt(9 * b * b - 20 * a * c)
    extremes = torch.tensor([(-3 * b - root) / (10 * c), (-3 * b + root) / (10 * c)], dtype=torch.float64)
    high, low = quintic(extremes.sqrt()).tolist()
    start = torch.tensor([0.0, 1.0], dtype=torch.float64)
    for _ in range(60):
        middle = start.mean()
        reached, value = False, middle
        for _ in range(STEPS):
            value = quintic(value)
            reached = reached or float(value) >= low
        start[int(reached)] = middle
    return float(start[1]), low, high


def test_the_band_of_the_scalar_iteration():
    """By evaluation on a fine grid: the band of the calculus, and [0.7, 1.2] of the docstring, rounded."""
    threshold, low, high = band()
    assert 1e-3 < threshold < 2e-3
    assert (round(low, 1), round(high, 1)) == (0.7, 1.2)
    grid = torch.logspace(math.log10(threshold), 0, 200_001, dtype=torch.float64)
    ends = iterated(grid)
    # Each of the 5 iterations rounds 6 times, and slopes are at most a = 3.4445: 5 * 6 * 3.4445^5 * 2^-53.
    slack = 30 * COEFFICIENTS[0] ** 5 * 2.0**-53
    assert low - slack <= float(ends.min())
    assert float(ends.max()) <= high + slack
    assert float(iterated(torch.tensor(0.9 * threshold, dtype=torch.float64))) < low


@pytest.mark.parametrize("shape", [(8, 8), (8, 32), (32, 8), (1, 7), (7, 1), (64, 64)])
def test_singular_values_follow_the_scalar_iteration(shape):
    """Singular values become iterated(s / |M|_F), singular vectors stay, whatever the shape.

    Rounding: an iteration is two products of inner size n <= 64 and a third, each backward stable, on
    matrices of norm at most 1.2024 times slopes of at most 3.4445 a step: the error is below
    5 steps * 3 products * n * 3.4445^5 * 1.2024^5 * 2^-53 < 5e-10 for n = 64, in the norm of the matrix.
    """
    given = matrices(*shape)
    slack = 15 * max(shape) * (COEFFICIENTS[0] * 1.2024) ** 5 * 2.0**-53
    u, s, vh = torch.linalg.svd(given, full_matrices=False)
    expected = (u * iterated(s / s.square().sum().sqrt())) @ vh
    assert float(torch.linalg.matrix_norm(orthogonalise(given) - expected, ord=2)) <= slack


@pytest.mark.parametrize("condition", [1.0, 10.0, 100.0])
@pytest.mark.parametrize(("rows", "columns"), [(16, 16), (16, 64), (64, 16)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_singular_values_end_in_the_band(condition, rows, columns, dtype):
    """16 of them, spread over `condition`: the smallest share of |M|_F is at least 1 / (4 condition).

    That is above the threshold of 1.5e-3. Rounding as above with the unit roundoff of the dtype.
    """
    threshold, low, high = band()
    assert 1 / (4 * condition) > threshold
    values = torch.logspace(0, -math.log10(condition), 16, dtype=torch.float64)
    found = torch.linalg.svdvals(
        orthogonalise(with_singular_values(values, rows, columns).to(dtype)).double()
    )
    slack = 15 * 64 * (COEFFICIENTS[0] * 1.2024) ** 5 * torch.finfo(dtype).eps / 2
    assert low - slack <= float(found.min())
    assert float(found.max()) <= high + slack


@pytest.mark.parametrize("factor", [2.0**-40, 2.0**-20, 2.0**20, 2.0**40])
def test_the_size_of_the_matrix_does_not_matter(factor):
    """To the bit for powers of two, which scale norm and quotient exactly."""
    given = matrices(6, 9, dtype=torch.float32)
    assert torch.equal(orthogonalise(factor * given), orthogonalise(given))


def test_a_batch_is_its_matrices_and_tall_is_wide_transposed():
    """Sums of a product may be ordered otherwise in a batch: the slack of the scalar iteration, doubled."""
    given = matrices(3, 2, 9, 5)
    together = orthogonalise(given)
    slack = 2 * 15 * 9 * (COEFFICIENTS[0] * 1.2024) ** 5 * 2.0**-53
    for i in range(3):
        for j in range(2):
            alone = orthogonalise(given[i, j])
            assert float((together[i, j] - alone).abs().max()) <= slack
            assert float((orthogonalise(given[i, j].T) - alone.T).abs().max()) <= slack


def test_zero_matrices():
    """Zeros stay zeros, also beside others in a batch."""
    given = torch.stack([torch.zeros(4, 3), matrices(4, 3, dtype=torch.float32)])
    found = orthogonalise(given)
    assert torch.equal(found[0], torch.zeros(4, 3))
    assert float(found[1].abs().max()) > 0
    parameter = torch.nn.Parameter(torch.ones(4, 3))
    parameter.grad = torch.zeros(4, 3)
    Muon([parameter], lr=1.0).step()
    assert torch.equal(parameter, torch.ones(4, 3))


@pytest.mark.parametrize("shape", [(16, 16), (16, 64), (64, 16), (4, 16, 8)])
def test_root_mean_square_of_a_step(shape):
    """0.2 lr sqrt(max(r, c)) |orth|_F / sqrt(r c), |orth|_F between 0.68 and 1.21 of sqrt(min(r, c)).

    So between 0.68 and 1.21 of 0.2 lr, whatever the shape; a Gaussian matrix has no singular value below the
    threshold here (checked). The slack of rounding is that of float32, relative to the size of an entry.
    """
    threshold, low, high = band()
    parameter = torch.nn.Parameter(torch.zeros(shape))
    gradient = matrices(*shape, dtype=torch.float32)
    values = torch.linalg.svdvals(gradient)
    assert float((values / values.square().sum(-1, keepdim=True).sqrt()).min()) > threshold
    parameter.grad = gradient
    Muon([parameter], lr=0.5).step()
    size = float(parameter.detach().square().mean().sqrt())
    slack = 15 * 64 * (COEFFICIENTS[0] * 1.2024) ** 5 * U32
    assert 0.2 * 0.5 * (low - slack) <= size <= 0.2 * 0.5 * (high + slack)
    assert float((parameter.detach() * gradient).sum()) < 0  # downhill


def test_a_step_is_the_formula():
    """m <- beta m + (1 - beta) g, W <- W - 0.2 lr sqrt(max) orth((1 - beta) g + beta m), in float64.

    lerp rounds otherwise than the two products: relative errors of a few 2^-53 in the argument of orth, which
    its slopes may take to 3.4445^5 of that; the sum of two steps is below 1e-11.
    """
    beta, rate = 0.9, 0.1
    parameter = torch.nn.Parameter(matrices(5, 7))
    expected, momentum = parameter.detach().clone(), torch.zeros(5, 7, dtype=torch.float64)
    optimiser = Muon([parameter], lr=rate, momentum=beta)
    for seed in (3, 4):
        gradient = matrices(5, 7, seed=seed)
        momentum = beta * momentum + (1 - beta) * gradient
        step = orthogonalise((1 - beta) * gradient + beta * momentum)
        expected -= 0.2 * rate * math.sqrt(7) * step
        parameter.grad = gradient
        optimiser.step()
    assert float((parameter.detach() - expected).abs().max()) < 1e-11
    assert list(optimiser.state[parameter]) == ["momentum"]


def test_parameters_without_gradient_stay_and_vectors_are_refused():
    parameter = torch.nn.Parameter(torch.ones(2, 2))
    optimiser = Muon([parameter], lr=1.0)
    optimiser.step()
    assert torch.equal(parameter, torch.ones(2, 2))
    assert not optimiser.state
    with pytest.raises(ValueError, match=r"a parameter has shape \(3,\), needs \(..., rows, columns\)"):
        Muon([torch.nn.Parameter(torch.ones(3))], lr=1.0)
