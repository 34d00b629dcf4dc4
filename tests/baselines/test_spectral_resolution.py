"""What the spectral method cannot tell from 0: bounds on rounding where they decide."""

import pytest
import torch
from tensor_instances import seeded

from baselines.spectral import SpectralError, second_moment, spectral

U = 2.0**-53


def test_the_difference_of_moment_and_variance_rounds_by_the_variance():
    """x^2 = 2^-60 and s = 1: x^2 - s rounds to -1, off by 2^-60, below u s; (N + 2) u x^2 alone is 2^-111."""
    X = torch.tensor([[2.0**-30]], dtype=torch.float64)
    moment, rounding = second_moment(X, torch.tensor(1.0, dtype=torch.float64))
    assert moment.item() == -1.0
    assert 2.0**-60 <= rounding.item() <= 2 * U


@pytest.mark.parametrize(("share", "told"), [(0.8, True), (1.2, False)])
def test_an_eigenvalue_below_what_k_deflations_leave_is_none(share, told, monkeypatch):
    """T = e_1^3 + x e_2^3 as the third moment: x is refused up to K (12 K + 14) u |T| = 76 u, K = 2."""
    T = torch.zeros(1, 2, 2, 2, dtype=torch.float64)
    T[0, 0, 0, 0], T[0, 1, 1, 1] = 1.0, share * 76 * U
    monkeypatch.setattr(
        "baselines.spectral.whitened_third_moment", lambda X, W, s, shares: (T, torch.zeros(1).double())
    )
    X = 4 * torch.eye(2, dtype=torch.float64).repeat(3, 1)
    if told:
        with pytest.raises(SpectralError, match="third moment cannot be told from 0"):
            spectral(X, 2, generator=seeded(0))
    else:
        assert spectral(X, 2, generator=seeded(0)).tensor_eigenvalues.min() == pytest.approx(share * 76 * U)
