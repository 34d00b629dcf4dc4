"""Single moves of the posterior sampler keep their law; what is said of its samples, by hand."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from tensor_instances import seeded

from baselines.posterior_mean import _summary, split_r_hat
from baselines.posterior_sampling import Draws, TaskPrior, jump, log_joint, weights_move
from baselines.posterior_tempering import Samples

CHAINS, MOVES = 4000, 12


def assert_mean(values, expected):
    """Within six standard errors: by chance outside once in 5e8."""
    error = float(values.std()) / len(values) ** 0.5
    assert float(values.mean()) == pytest.approx(expected, abs=6 * error)


def test_weights_move_to_the_counts_times_the_prior():
    """x = pi_1 at counts 1 and 1 and l = 1/100, h = 1: density x (1 - x) (1/M^2 - 1/(100 m)^2).

    Proposed from Dirichlet(b n) in place of Dirichlet(1 + b n), x would have the density without x (1 - x).
    """
    prior = TaskPrior(raw_range=(0.01, 1.0))
    weights = torch.full((CHAINS, 2), 0.5, dtype=torch.float64)
    strength = torch.ones_like(weights)
    for seed in range(MOVES):
        weights = weights_move(weights, strength, prior, seeded(seed))

    def density(x):
        M = max(x, 1 - x)
        return x * (1 - x) * (1 / M**2 - 1 / (100 * (1 - M)) ** 2)

    ends = 1 / 101, 100 / 101
    total = quad(density, *ends, points=[0.5])[0]
    spread = quad(lambda x: (x - 0.5) ** 2 * density(x), *ends, points=[0.5])[0] / total
    assert_mean((weights[:, 0] - 0.5).square(), spread)


def test_a_jump_keeps_the_prior_where_the_data_have_no_part():
    """b = 0, one point at 0: a mean stays uniform on [-2, 2], E mu^2 = 4/3, though jumps end near the point.

    Without the ratio of the proposals it would become N(0, 1) cut to the box, E mu^2 = 0.77.
    """
    X, b = torch.zeros(1, 1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    means = 4 * torch.rand(1, CHAINS, 1, 1, dtype=torch.float64, generator=seeded(0)) - 2
    theta = Draws(means, torch.ones(1, CHAINS, 1, dtype=torch.float64))
    for seed in range(MOVES):
        theta, _ = jump(theta, log_joint(X, theta), X, b, TaskPrior(box=2.0), seeded(100 + seed))
    assert np.mean((theta.means != means).numpy()) > 0.5
    assert_mean(theta.means.flatten().square(), 4 / 3)


def test_two_islands_that_disagree_by_hand():
    """One mean, at 0 on one island and 2 on the other, evidence 3 and 1: shares 3/4 and 1/4, centre 1/2.

    Error 2/1 ((3/4)^2 (1/2)^2 + (1/4)^2 (3/2)^2) = 9/16, risk 3/4 (1/2)^2 + 1/4 (3/2)^2 = 3/4, evidence 2.
    """
    means = torch.tensor([0.0, 2.0], dtype=torch.float64).reshape(1, 2, 1, 1, 1).expand(1, 2, 4, 1, 1)
    flat = torch.zeros(1, 2, 4, dtype=torch.float64)
    evidence = torch.tensor([[3.0, 1.0]], dtype=torch.float64).log()
    samples = Samples(means, torch.ones_like(means[..., 0]), flat, evidence, torch.ones(1).long())
    found = _summary(samples, torch.zeros(1).double(), False, seeded(0))
    assert found.mixture.means.item() == pytest.approx(0.5)
    assert found.monte_carlo_error.item() == pytest.approx(9 / 16)
    assert found.risk.item() == pytest.approx(3 / 4)
    assert found.log_evidence.exp().item() == pytest.approx(2.0)


def test_r_hat_is_a_ratio_of_variances():
    """Halves (0, 4) and (0, 4), (8, 12) and (8, 12): W = 8, averages 2, 2, 10, 10, V = 64/3, L = 2."""
    values = torch.tensor([[0.0, 4.0, 0.0, 4.0], [8.0, 12.0, 8.0, 12.0]], dtype=torch.float64)
    assert split_r_hat(values).item() == pytest.approx((1 / 2 + 64 / 3 / 8) ** 0.5)
