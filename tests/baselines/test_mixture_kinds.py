"""A mixture in covariances of another type."""

import pytest
import torch

from baselines.mixture import Mixture
from baselines.mixture_kinds import as_kind, full_covariances

KINDS = ("unit", "tied_spherical", "spherical", "diagonal", "tied", "full")


def full(B: int = 3, K: int = 2, d: int = 3) -> Mixture:
    generator = torch.Generator().manual_seed(0)
    A = torch.randn(B, K, d, d, dtype=torch.float64, generator=generator)
    weights = torch.rand(B, K, dtype=torch.float64, generator=generator) + 0.1
    means = torch.randn(B, K, d, dtype=torch.float64, generator=generator)
    S = A @ A.mT + 0.1 * torch.eye(d)
    return Mixture(weights / weights.sum(-1, keepdim=True), means, (S + S.mT) / 2, "full")


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_likeliest_of_its_type_in_expectation(kind: str) -> None:
    """-2 E log N = log det C + tr C^{-1} S, shares pi_k: no other of the type nearby is less."""
    mixture = full()
    found = as_kind(mixture, kind)
    assert found.covariance_type == kind
    assert torch.equal(found.means, mixture.means)
    if kind == "unit":
        back = as_kind(found, "full").covariances
        assert torch.equal(back, torch.eye(3, dtype=torch.float64).expand_as(back))
    else:

        def cost(C: torch.Tensor) -> torch.Tensor:
            each = torch.logdet(C) + (torch.linalg.inv(C) * mixture.covariances).sum((-2, -1))
            return (mixture.weights * each).sum(-1)

        best = full_covariances(found)
        other = full_covariances(as_kind(full(B=3)[torch.tensor([1, 2, 0])], kind))
        for share in (-0.01, 0.01):
            assert bool((cost(best) < cost(best * (1 + share))).all())
        assert bool((cost(best) < cost(0.99 * best + 0.01 * other)).all())


@pytest.mark.parametrize("kind", KINDS)
def test_up_and_down_again_changes_nothing(kind: str) -> None:
    below = as_kind(full(), kind)
    again = as_kind(as_kind(below, "full"), kind)
    if below.covariances is not None:
        # Sums of at most d equal numbers, and of K of them with shares that sum to 1: 8 roundings at most.
        assert torch.allclose(below.covariances, again.covariances, rtol=8 * 2**-52)
    assert as_kind(below, kind) is below


def test_another_name() -> None:
    with pytest.raises(ValueError, match="covariance_type is 'round'"):
        as_kind(full(), "round")
