"""The laws of public benchmarks: weights, deviations, normal-inverse-Wishart, the unit box."""

import dataclasses

import pytest
import torch
from scipy import stats

from baselines.mixture_kinds import full_covariances
from baselines.task_families import inverse_wishart_roots
from training.tasks import TaskDistribution, sample_tasks

MANY = 4000
P = 1e-6
"""A test with a fixed seed that fails at this level is no bad luck."""


def drawn(K: int = 3, n_tasks: int = MANY, N: int = 20, dtype=torch.float64, **law):
    distribution = TaskDistribution(2, (K,), (N, N), max_cosine=2.0, **law)
    lengths = torch.arange(n_tasks) % 7 + N - 6
    return sample_tasks(distribution, n_tasks, K, lengths, torch.Generator().manual_seed(0), dtype=dtype)


def test_dirichlet_weights_are_uniform_on_the_simplex() -> None:
    """One of three has the law Beta(1, 2), and the least of three times 3 that of a least of uniforms."""
    weights = drawn(weights="dirichlet").truth.weights
    assert stats.kstest(weights[:, 0], stats.beta(1, 2).cdf).pvalue > P
    assert stats.kstest(3 * weights.amin(1), stats.beta(1, 2).cdf).pvalue > P


def test_log_uniform_deviations() -> None:
    law = {"deviation_range": (0.1, 2.0), "deviation_law": "log-uniform"}
    variances = drawn(covariance="diagonal", **law).truth.covariances
    assert stats.kstest(variances.sqrt()[:, 0, 0], stats.loguniform(0.1, 2.0).cdf).pvalue > P


def test_spherical_deviations_are_one_for_all_coordinates() -> None:
    truth = drawn(covariance="spherical", deviation_range=(0.3, 0.3)).truth
    assert truth.covariance_type == "spherical"
    # 0.3 + 0 * uniform, squared: one rounding.
    assert torch.allclose(truth.covariances, torch.tensor(0.09, dtype=torch.float64), rtol=4 * 2**-53)


@pytest.mark.parametrize("degrees", [2, 5])
def test_inverse_wishart_covariances_and_the_means_around_them(degrees: int) -> None:
    """An entry of the diagonal of S^{-1} is chi-square of `degrees`, kappa mu^T S^{-1} mu of d."""
    truth = drawn(covariance="inverse-wishart", degrees=degrees, kappa=0.01, K=1).truth
    precisions = torch.linalg.inv(truth.covariances[:, 0])
    assert stats.kstest(precisions[:, 1, 1], stats.chi2(degrees).cdf).pvalue > P
    mu = truth.means[:, 0]
    squares = 0.01 * torch.einsum("ti,tij,tj->t", mu, precisions, mu)
    assert stats.kstest(squares, stats.chi2(2).cdf).pvalue > P


def test_degrees_0_are_those_of_d() -> None:
    law = {"covariance": "inverse-wishart", "n_tasks": 5}
    assert torch.equal(drawn(**law).truth.means, drawn(**law, degrees=2).truth.means)


def test_a_condition_number_that_the_dtype_cannot_hold_is_drawn_again() -> None:
    generator = torch.Generator().manual_seed(0)
    roots = inverse_wishart_roots((2000,), 2, 2, generator, "cpu", largest_condition=50.0)
    values = torch.linalg.svdvals(roots)
    # Decided on R, measured on its inverse: both condition numbers of size 7, within 50 u of each other.
    assert bool(((values[:, 0] / values[:, 1]).square() <= 50 * (1 + 2 * 50 * 2**-53)).all())
    assert drawn(covariance="inverse-wishart", dtype=torch.float32).truth.means.dtype == torch.float32


@pytest.mark.parametrize("covariance", ["spherical", "diagonal", "full", "inverse-wishart"])
def test_the_unit_box_moves_points_and_mixture_together(covariance: str) -> None:
    """Densities change by the volume of the box alone, which is the same for every point of a task."""
    law = {"covariance": covariance, "n_tasks": 50, "deviation_range": (0.2, 1.5)}
    plain, boxed = drawn(**law), drawn(**law, min_max=True)
    mask = boxed.mask
    assert boxed.X.masked_fill(~mask[:, :, None], 0.5).amin((1, 2)).eq(0).all()
    assert boxed.X.masked_fill(~mask[:, :, None], 0.5).amax((1, 2)).eq(1).all()
    assert (boxed.X[~mask] == 0).all()
    assert torch.equal(plain.labels, boxed.labels)
    ours, theirs = boxed.truth.score_samples(boxed.X), plain.truth.score_samples(plain.X)
    apart = ours - theirs
    S = full_covariances(plain.truth), full_covariances(boxed.truth)
    for task, present in enumerate(mask):
        here = apart[task][present]
        # Quadratic forms by inverse roots on either side: about 50 roundings, times the condition number.
        worst = max(float(torch.linalg.cond(side[task]).max()) for side in S)
        size = float(torch.maximum(ours[task].abs(), theirs[task].abs())[present].max()) + 8
        assert float(here.max() - here.min()) <= 2 * 50 * 2**-53 * worst * size


def test_refusals() -> None:
    for changes, line in (
        ({"degrees": 1}, "degrees is 1, needs at least n_features = 2, or 0"),
        ({"kappa": 0.0}, "kappa is 0.0, needs a finite number > 0"),
        ({"min_max": True}, "min_max is True, needs another covariance than 'unit'"),
        ({"min_max": 1}, "min_max is 1, needs True or False"),
        ({"weights": "flat"}, "weights is 'flat', needs one of paper, dirichlet"),
        (
            {"covariance": "inverse-wishart", "perturbation": 1.0},
            "covariance is 'inverse-wishart', which gives",
        ),
    ):
        with pytest.raises(ValueError, match=line):
            dataclasses.replace(TaskDistribution(2), **changes)


def test_correlated_covariances_have_unit_variances_and_one_correlation_up_to_sign() -> None:
    """Entry (i, j) is rho s_i s_j to the bit; each of the 4 patterns is as likely."""
    law = TaskDistribution(3, (2,), covariance="correlated", correlation=0.95)
    truth = sample_tasks(law, 2000, 2, 1, torch.Generator().manual_seed(0), dtype=torch.float64).truth
    S = truth.covariances
    assert S is not None
    assert truth.covariance_type == law.covariance_type == "full"
    assert (S.diagonal(dim1=-2, dim2=-1) == 1).all()
    off = torch.stack([S[..., 0, 1], S[..., 0, 2], S[..., 1, 2]], -1) / 0.95
    assert (off.abs() == 1).all()
    assert (off.prod(-1) == 1).all()
    patterns = (off[..., 0] > 0).long() + 2 * (off[..., 1] > 0)
    assert stats.chisquare(patterns.flatten().bincount(minlength=4)).pvalue > P
    assert (S[:, 0] != S[:, 1]).any(-1).any(-1).double().mean() > 0.7  # 3 of 4 pairs of patterns differ
    low, high = torch.linalg.eigvalsh(S[0, 0])[[0, -1]]
    torch.testing.assert_close(low, low.new_tensor(0.05), atol=1e-14, rtol=0)
    torch.testing.assert_close(high, low.new_tensor(2.9), atol=1e-14, rtol=0)


def test_uncorrelated_coordinates_have_the_identity() -> None:
    truth = drawn(covariance="correlated").truth
    assert truth.covariances is not None
    assert torch.equal(truth.covariances, torch.eye(2, dtype=torch.float64).expand_as(truth.covariances))


def test_points_are_correlated_as_the_law_says() -> None:
    """Of n points the moment of (x_1 - mu_1) s (x_2 - mu_2) is rho within 5 (1 + rho^2)^(1/2) n^(-1/2)."""
    law = TaskDistribution(2, (2,), covariance="correlated", correlation=0.9)
    batch = sample_tasks(law, 1, 2, 20_000, torch.Generator().manual_seed(0), dtype=torch.float64)
    S = batch.truth.covariances
    assert S is not None
    centred = batch.X[0] - batch.truth.means[0, batch.labels[0]]
    moments = centred.prod(-1) * S[0, batch.labels[0], 0, 1].sign()
    assert abs(float(moments.mean()) - 0.9) < 5 * (1.81 / 20_000) ** 0.5


def test_spaced_deviations_are_the_same_in_every_component() -> None:
    """1/4, 1, 4 in three dimensions: eigenvalues are their squares, whatever the rotation."""
    law = TaskDistribution(3, (2,), covariance="full", deviation_law="spaced", deviation_range=(0.25, 4.0))
    S = sample_tasks(law, 50, 2, 1, torch.Generator().manual_seed(0), dtype=torch.float64).truth.covariances
    assert S is not None
    values = torch.linalg.eigvalsh(S)
    wanted = torch.tensor([1 / 16, 1.0, 16.0], dtype=torch.float64).expand_as(values)
    torch.testing.assert_close(values, wanted, rtol=0, atol=1e-13)  # 16 u, times ten operations
    assert S[..., 0, 1].std() > 1


def test_the_kind_of_mixture_that_a_law_says() -> None:
    box = {"min_max": True}
    for law in (
        {"covariance": "unit"},
        {"covariance": "spherical"},
        {"covariance": "spherical"} | box,
        {"covariance": "diagonal"} | box,
        {"covariance": "full"} | box,
        {"covariance": "correlated", "correlation": 0.5} | box,
        {"covariance": "inverse-wishart"},
    ):
        assert (
            TaskDistribution(2, (3,), **law).covariance_type == drawn(n_tasks=7, **law).truth.covariance_type
        )


@pytest.mark.parametrize(
    ("law", "message"),
    [
        ({"correlation": 0.5}, "correlation is 0.5, needs covariance 'correlated', not 'unit'"),
        ({"covariance": "correlated", "correlation": 1}, "correlation is 1, needs at most 0.9999"),
        (
            {"covariance": "correlated", "correlation": -0.1},
            "correlation is -0.1, needs a finite number >= 0",
        ),
        ({"covariance": "spherical", "deviation_law": "spaced"}, "deviation_law is 'spaced', needs n_feat"),
    ],
)
def test_laws_of_covariances_that_are_refused(law, message) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        TaskDistribution(2, **law)
    assert "\n" not in str(caught.value)
