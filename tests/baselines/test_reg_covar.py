"""reg_covar: where it enters, what the M step then maximises, and that fits on few points end."""

import numpy as np
import pytest
import torch
from em_instances import COVARIANCE_TYPES, instance, step_rounding

from baselines.em import Status, em
from baselines.em_estimator import EMMixture
from baselines.em_steps import e_step
from baselines.mixture import Mixture

EPS = np.finfo(np.float64).eps


def identity(covariances, covariance_type):
    if covariance_type in ("tied", "full"):
        return torch.eye(covariances.shape[-1], dtype=torch.float64).expand_as(covariances)
    return torch.ones_like(covariances)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_one_step_adds_it_to_the_diagonal(covariance_type):
    """Weights and means are the same operations; the sum rounds once more, by u times itself."""
    X, start = instance(3, 3, 2, 30, covariance_type, batch=(4,))
    plain, other = (em(X, init=start, max_iter=1, tol=0, reg_covar=r).mixture for r in (0.0, 0.25))
    assert torch.equal(plain.weights, other.weights)
    assert torch.equal(plain.means, other.means)
    if covariance_type == "unit":
        assert other.covariances is None
        return
    assert plain.covariances is not None
    assert other.covariances is not None
    expected = plain.covariances + 0.25 * identity(plain.covariances, covariance_type)
    assert ((other.covariances - expected).abs() <= EPS * expected.abs()).all()


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES[1:])
def test_what_the_m_step_maximises(covariance_type):
    """Q = sum_kn w_kn (log(pi_k N(x_n; mu_k, S_k)) - r tr(S_k^-1) / 2) is stationary at the new parameters.

    Moving S by a share h of itself moves Q by order h^2 at a maximum, by order h elsewhere: at h = 1e-4 the
    two, of both signs, are told apart by a factor of 1e4; the new S without r is elsewhere.
    """
    X, start = instance(5, 2, 3, 40, covariance_type)
    r, h = 0.5, 1e-4
    shares, _ = e_step(X, start)
    found = {r: em(X, init=start, max_iter=1, tol=0, reg_covar=r).mixture for r in (0.0, r)}

    def objective(mixture):
        S = mixture.covariances
        if covariance_type == "full":
            traces = torch.linalg.inv(S).diagonal(dim1=-2, dim2=-1).sum(-1)
        elif covariance_type == "tied":
            traces = torch.linalg.inv(S).trace().expand(3)
        else:
            traces = (1 / S).sum(-1).expand(3) if covariance_type == "diagonal" else (2 / S).expand(3)
        return (shares * (mixture.log_joint(X) - 0.5 * r * traces.unsqueeze(-1))).sum()

    def slope(mixture):
        moved = [Mixture(*parts(mixture), mixture.covariances * (1 + s), covariance_type) for s in (h, -h)]
        return (objective(moved[0]) - objective(moved[1])).abs() / (2 * h)

    def parts(mixture):
        return mixture.weights, mixture.means

    assert slope(found[r]) <= 1e-4 * slope(found[0.0])


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_ten_components_on_two_places(covariance_type):
    """Every covariance is reg_covar I and nothing else; scikit-learn's own case."""
    X = np.concatenate([np.ones((5, 5)), np.zeros((5, 5))])
    model = EMMixture(10, covariance_type=covariance_type, random_state=0).fit(X)
    assert model.converged_
    if covariance_type == "unit":
        return
    expected = 1e-6 * identity(torch.from_numpy(model.covariances_), covariance_type).numpy()
    np.testing.assert_allclose(model.covariances_, expected, rtol=0, atol=64 * EPS)
    assert np.isfinite(model.score_samples(X)).all()


def test_a_singular_covariance_ends_the_fit_only_without_it():
    """Five components of full covariance in three dimensions on thirteen points: some get three or fewer."""
    X = torch.randn(16, 13, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    settings = {"covariance_type": "full", "max_iter": 500}
    plain = em(X, 5, **settings, generator=torch.Generator().manual_seed(1))
    kept = em(X, 5, **settings, reg_covar=1e-6, generator=torch.Generator().manual_seed(1))
    assert (plain.status == Status.SINGULAR).sum() >= 12
    assert kept.converged.all()
    covariances = kept.mixture.covariances
    rounding = 8 * 3 * 2**-53 * float(covariances.abs().max())  # of eigenvalues in three dimensions, and of S
    assert torch.linalg.eigvalsh(covariances).min() >= 1e-6 - rounding


def test_monotone_without_it():
    X, start = instance(2, 2, 3, 60, "full", batch=(8,))
    found = em(X, init=start, tol=0, max_iter=20)
    assert (found.history.diff(dim=-1) >= -step_rounding(X, start, found.mixture)).all()
