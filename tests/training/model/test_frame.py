"""The data's own units: what the network sees does not depend on the person's, and its answer comes back."""

import pytest
import torch
from model_instances import points, prefix_mask, small_model

from training.model.frame import Frame

COLUMNS = torch.tensor([1e3, 2.0**-7], dtype=torch.float64)
SHIFT = torch.tensor([1e4, -3e3], dtype=torch.float64)


@pytest.mark.parametrize("diagonal", [False, True])
def test_the_points_have_mean_0_and_covariance_1_inside(diagonal: bool) -> None:
    X = points(3, 50, 2) @ torch.tensor([[1.0, 0.0], [3.0, 0.1]], dtype=torch.float64)
    mask = prefix_mask(50, 50, 20, 3)
    frame = Frame.of(X.masked_fill(~mask[:, :, None], 0.0), mask, diagonal)
    for task, present in enumerate(mask):
        z = frame.inside(X)[task][present]
        # Sums of n products of size 1, behind a solve with a root of condition below 100.
        assert torch.allclose(z.mean(0), torch.zeros(2).double(), atol=100 * 50 * 2**-52)
        S = z.mT @ z / len(z)
        S = S.diagonal() if diagonal else S
        assert torch.allclose(
            S,
            torch.ones(2).double().diag_embed() if not diagonal else torch.ones(2).double(),
            atol=100 * 50 * 2**-52,
        )


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
    assert torch.allclose(frame.means(z), X, rtol=1e-12)
    if kind != "line":
        assert float(z[..., 1].abs().max()) < 1e-12


@pytest.mark.parametrize("kind", ["diagonal", "full"])
@torch.no_grad()
def test_a_scaled_and_shifted_data_set_has_the_scaled_and_shifted_estimate(kind: str) -> None:
    """Of points near 10 a shift by 1e4 keeps 1e-16 * 1e4 / 1e-2 of a deviation; the network carries it on."""
    model = small_model({"covariance": kind, "standardise": True, "data_scale": 1.0})
    X, mask = points(4, 30, 2), prefix_mask(30, 30, 12, 25, 30)
    one, other = (model.estimate(data, 3, mask) for data in (X, X * COLUMNS + SHIFT))
    assert torch.allclose(one.weights, other.weights, atol=1e-9)
    assert torch.allclose(one.means * COLUMNS + SHIFT, other.means, rtol=1e-9)
    scale = COLUMNS.square() if kind == "diagonal" else COLUMNS[:, None] * COLUMNS
    assert torch.allclose(
        one.covariances * scale, other.covariances, rtol=1e-8, atol=1e-10 * float(scale.min())
    )


@torch.no_grad()
def test_full_covariances_follow_any_lower_triangular_map() -> None:
    """The Cholesky factor of A S A^T is A times that of S, A lower triangular, its diagonal positive."""
    model = small_model({"covariance": "full", "standardise": True, "data_scale": 1.0})
    X, A = points(4, 30, 2), torch.tensor([[40.0, 0.0], [-3.0, 0.02]], dtype=torch.float64)
    one, other = (model.estimate(data, 3) for data in (X, X @ A.mT + SHIFT))
    # As above, with a map of condition 2e3 between the two.
    assert torch.allclose(one.weights, other.weights, atol=1e-7)
    assert torch.allclose(one.means @ A.mT + SHIFT, other.means, rtol=1e-7)


@torch.no_grad()
def test_float32_weights_lose_nothing_to_a_shift() -> None:
    """The points come to the data's units in float64: float32 begins there."""
    model = small_model({"covariance": "full", "standardise": True, "data_scale": 1.0}).float()
    X = points(4, 30, 2)
    one, other = (model.estimate(data, 3) for data in (X, X * COLUMNS + SHIFT))
    # Both z agree within 1e-10; rounding them to float32 may go either way, by 2^-24 of size 4.
    assert torch.allclose(one.weights, other.weights, atol=1e-5)
    assert ((one.means * COLUMNS + SHIFT - other.means).abs() < 1e-4 * COLUMNS).all()


@torch.no_grad()
def test_estimate_and_network_agree() -> None:
    model = small_model({"covariance": "full", "standardise": True, "data_scale": 1.0})
    X, mask = points(3, 12, 2), prefix_mask(12, 12, 7, 5)
    found, mixture = model.network(X, 2, mask), model.estimate(X, 2, mask)
    assert torch.allclose(found.means, mixture.means, rtol=1e-12)
    assert torch.allclose(found.factors @ found.factors.mT, mixture.covariances, rtol=1e-12)
    noise = X.masked_fill(~mask[:, :, None], torch.nan)
    assert torch.equal(model.network(noise, 2, mask).means, found.means)


def test_unit_covariances_are_in_one_unit() -> None:
    with pytest.raises(ValueError, match="standardise is True, needs covariance 'diagonal' or 'full'"):
        small_model({"standardise": True})
