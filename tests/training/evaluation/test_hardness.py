"""What may make a task hard, from its truth by hand."""

from types import SimpleNamespace

import torch

from baselines.mixture import Mixture
from training.comparison.failures.strata import scores


def test_hardness_is_the_closest_pair_and_the_least_component():
    """Means (0, 0), (3, 0), (0, 4): the closest are 3 apart; the least weight of 0.2 has 12 of 60 points."""
    means = torch.tensor([[[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]]], dtype=torch.float64)
    truth = Mixture(torch.tensor([[0.2, 0.3, 0.5]], dtype=torch.float64), means)
    X, _ = truth.sample(60, torch.Generator().manual_seed(0))
    tasks = SimpleNamespace(
        truth=truth,
        batch=SimpleNamespace(X=X),
        regime=SimpleNamespace(n_components=3, n_samples=60, spectral_refusal=True),
        floor=torch.tensor([0.01], dtype=torch.float64),
        generator=lambda purpose: torch.Generator().manual_seed(9),
        failed=lambda mixture: torch.zeros(1, dtype=torch.bool),
    )
    found = scores(tasks)
    assert (found["closest"].item(), found["em"].item(), found["floor"].item()) == (-3.0, 0.0, 0.01)
    torch.testing.assert_close(found["least"], torch.tensor([-12.0], dtype=torch.float64))
