"""The data's own units: what the network sees does not depend on the person's, and its answer comes back."""

import pytest
import torch
from model_instances import points, prefix_mask, small_model
from torch import Tensor

from constructions.language.rounding import unit_roundoff
from training.model.frame import Frame

U = unit_roundoff(torch.float64)
COLUMNS = torch.tensor([2.0**10, 2.0**-7], dtype=torch.float64)
SHIFT = torch.tensor([1e4, -3e3], dtype=torch.float64)


def on_a_grid(*shape: int) -> Tensor:
    """Multiples of 2^-10 below 16: averages of 2^m of them, scaled by COLUMNS and shifted, are exact."""
    return (points(*shape) * 2**10).round() / 2**10


@pytest.mark.parametrize("diagonal", [False, True])
def test_the_points_have_mean_0_and_covariance_1_inside(diagonal: bool) -> None:
    X = points(3, 50, 2) @ torch.tensor([[1.0, 0.0], [3.0, 0.1]], dtype=torch.float64)
    mask = prefix_mask(50, 50, 20, 3)
    frame = Frame.of(X.masked_fill(~mask[:, :, None], 0.0), mask, diagonal)
    for task, present in enumerate(mask):
        z = frame.inside(X)[task][present]
        # Sums of n numbers of size up to 7, n + 8 roundings each, behind a solve of that condition number.
        condition = float(torch.linalg.cond(frame.root[task]))
        tolerance = 7**2 * (len(z) + 8) * U * condition
        assert float(z.mean(0).abs().max()) <= tolerance
        S = z.mT @ z / len(z)
        S = S.diagonal() if diagonal else S
        assert float((S - (1 if diagonal else torch.eye(2))).abs().max()) <= tolerance


@pytest.mark.parametrize("kind", ["line", "constant", "one point"])
def test_points_without_a_covariance_have_a_frame(kind: str) -> None:
    X = points(1, 1 if kind == "one point" else 9, 2)
    if kind == "line":
        X = X[..., :1].expand(-1, -1, 2).contiguous()
    if kind == "constant":
        X[..., 1] = 7.0
    frame = Frame.of(X, None, False)
    z = frame.inside(X)
    assert bool(z.isfinite().all())
    # A triangular solve is backward stable: A z is off by 2 d u |A| |z|, and so is the product behind it.
    size = frame.root.abs() @ z.abs().mT
    assert bool(((frame.means(z) - X).abs() <= 8 * U * (size.mT + X.abs() + frame.centre.abs())).all())
    if kind != "line":
        assert bool((z[..., 1] == 0).all())


@pytest.mark.parametrize("kind", ["diagonal", "full"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@torch.no_grad()
def test_a_scaled_and_shifted_data_set_has_the_scaled_and_shifted_estimate(
    kind: str, dtype: torch.dtype
) -> None:
    """On a grid all averages are exact and powers of two scale without rounding: z is the same to the bit.

    So is then all that the network says, in whichever dtype it is; only mu = m + A mu_z is rounded anew,
    where the shift makes it large.
    """
    model = small_model({"covariance": kind, "standardise": True, "data_scale": 1.0}).to(dtype)
    X, mask = on_a_grid(4, 32, 2), prefix_mask(32, 32, 16, 8, 32)
    one, other = (model.estimate(data, 3, mask) for data in (X, X * COLUMNS + SHIFT))
    assert torch.equal(one.weights, other.weights)
    expected = one.means * COLUMNS + SHIFT
    # Two roundings on either side, each of numbers of this size at most.
    assert bool(((expected - other.means).abs() <= 4 * U * (expected.abs() + SHIFT.abs())).all())
    scale = COLUMNS.square() if kind == "diagonal" else COLUMNS[:, None] * COLUMNS
    # exp(log S_z + 2 log A) rounds a logarithm below 32, up to 32 u; roots of powers of two are exact.
    slack = 2 * 34 * U if kind == "diagonal" else 0.0
    assert bool(
        ((one.covariances * scale - other.covariances).abs() <= slack * other.covariances.abs()).all()
    )


def test_the_root_of_a_lower_triangular_map() -> None:
    """A is the Cholesky factor of B A A^T B^T too: B times the old one, B lower triangular."""
    X, B = on_a_grid(4, 32, 2), torch.tensor([[32.0, 0.0], [-2.0, 0.25]], dtype=torch.float64)
    one, other = (Frame.of(data, None, False) for data in (X, X @ B.mT + SHIFT))
    assert torch.equal(one.centre @ B.mT + SHIFT, other.centre)
    expected = B @ one.root
    correlation = other.root / torch.linalg.vector_norm(other.root, dim=-1, keepdim=True)
    # Cholesky of a correlation matrix of n + 8 roundings an entry is off by that times its condition.
    tolerance = (32 + 8) * U * float(torch.linalg.cond(correlation).max()) ** 2
    assert tolerance < 1e-6
    assert bool(((expected - other.root).norm(dim=-1) <= tolerance * expected.norm(dim=-1)).all())


@torch.no_grad()
def test_estimate_and_network_agree() -> None:
    """To the bit: float64 on both sides, the same operations."""
    model = small_model({"covariance": "full", "standardise": True, "data_scale": 1.0})
    X, mask = points(3, 12, 2), prefix_mask(12, 12, 7, 5)
    found, mixture = model.network(X, 2, mask), model.estimate(X, 2, mask)
    assert torch.equal(found.means, mixture.means)
    assert torch.equal(found.to_mixture().covariances, mixture.covariances)
    noise = X.masked_fill(~mask[:, :, None], torch.nan)
    assert torch.equal(model.network(noise, 2, mask).means, found.means)


def test_unit_covariances_are_in_one_unit() -> None:
    with pytest.raises(ValueError, match="standardise is True, needs covariance 'diagonal' or 'full'"):
        small_model({"standardise": True})
