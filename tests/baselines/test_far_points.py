"""Posteriors and densities of points of any size, against 700 digits: squares that overflow or cancel."""

import mpmath
import numpy as np
import pytest
import torch
from em_instances import COVARIANCE_TYPES, instance
from mpmath import mpf

from baselines import far_points
from baselines.em_estimator import EMMixture
from baselines.em_steps import e_step
from baselines.mixture import Mixture

U = 2.0**-53
DIGITS = 700  # squares of 2^1024 beside numbers of order 1


def exact(mixture, dense, x):
    """Posterior and log p(x) of one point x (2,) under a mixture in the plane with matrices `dense`."""
    joints = []
    for weight, mean, S in zip(mixture.weights, mixture.means, dense, strict=True):
        a, b, c = (mpf(S[i, j].item()) for i, j in ((0, 0), (0, 1), (1, 1)))
        u, v = (mpf(x[j].item()) - mpf(mean[j].item()) for j in (0, 1))
        determinant = a * c - b * b
        square = (c * u * u - 2 * b * u * v + a * v * v) / determinant
        joints.append(
            mpmath.log(weight.item()) - (square + mpmath.log(determinant)) / 2 - mpmath.log(2 * mpmath.pi)
        )
    top = max(joints)
    shares = [mpmath.exp(joint - top) for joint in joints]
    total = sum(shares)
    return [float(share / total) for share in shares], top + mpmath.log(total)


def dense(mixture):
    K, c, kind = mixture.n_components, mixture.covariances, mixture.covariance_type
    identity = torch.eye(2, dtype=torch.float64).expand(K, 2, 2)
    if c is None:
        return identity
    if kind == "diagonal":
        return torch.diag_embed(c)
    return c.expand(K, 2, 2) if kind in ("tied", "full") else c.expand(K)[:, None, None] * identity


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("size", [1e4, 1e8, 1e37, 1e154, 1e200, 1.7e308])
def test_any_size(covariance_type, size):
    """Log odds are a product of factors that round by about (d + 4) u each: by 1e-15 |r_k - r_b| |r_k + r_b|,
    which is 3e-10 at size 1e4 and one covariance. Beyond that, and where covariances differ, the posterior of
    these points is 0 or 1."""
    _, mixture = instance(6, 2, 3, 20, covariance_type)
    X = size * torch.tensor([[1.0, 0.3], [-0.7, 1.0], [0.2, -1.0]], dtype=torch.float64)
    shares, scores = mixture.responsibilities(X), mixture.score_samples(X)
    with mpmath.workdps(DIGITS):
        for n in range(3):
            wanted, score = exact(mixture, dense(mixture), X[n])
            np.testing.assert_allclose(shares[:, n].numpy(), wanted, rtol=0, atol=1e-9)
            assert mixture.predict(X)[n] == int(np.argmax(wanted))
            assert scores[n].item() == pytest.approx(float(score), rel=1e-12)  # -inf where float64 ends


@pytest.mark.parametrize("size", [1e37, 1e154, 1e300])
def test_between_two_means_the_squares_say_nothing(size):
    """At right angles to the line of the means only the weights decide, however far; along it, the means."""
    mixture = Mixture(
        torch.tensor([0.2, 0.8], dtype=torch.float64), torch.tensor([[-5.0, 0.0], [5.0, 0.0]]).double()
    )
    X = torch.tensor([[0.0, size], [size, 0.0], [-size, 0.0]], dtype=torch.float64)
    shares = mixture.responsibilities(X).mT
    assert shares[1:].tolist() == [[0.0, 1.0], [1.0, 0.0]]
    torch.testing.assert_close(shares[0], mixture.weights, rtol=4 * U, atol=0)


def test_an_estimator_far_away():
    model = EMMixture(2, init=[[-5.0], [5.0]]).fit([[-5.5], [-4.5], [4.5], [5.5]])
    far = np.array([[1e37], [1e154], [1e308], [-1e37]])
    assert model.predict_proba(far).tolist() == [[0.0, 1.0]] * 3 + [[1.0, 0.0]]
    assert model.predict(far).tolist() == [1, 1, 1, 0]


def test_far_means_cost_no_precision():
    """Means 1e9 apart: the expanded square would lose (d + 4) u 1e18, more than a density is."""
    mixture = Mixture(torch.tensor([0.5, 0.5]).double(), torch.tensor([[0.0], [1e9]]).double())
    X = torch.tensor([[0.5], [1e9 + 3]], dtype=torch.float64)
    wanted = -0.5 * np.log(2 * np.pi) - 0.5 * np.array([0.25, 9.0]) - np.log(2)
    np.testing.assert_allclose(mixture.score_samples(X).numpy(), wanted, rtol=8 * U)
    shares, level = e_step(X, mixture)
    assert shares.tolist() == [[1.0, 0.0], [0.0, 1.0]]
    np.testing.assert_allclose(level.numpy(), wanted, rtol=8 * U)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_near_points_are_not_touched_and_batches_broadcast(covariance_type, monkeypatch):
    """Blocks of two points; the far ones of a batch as each alone, the near ones as without any."""
    X, mixture = instance(7, 2, 3, 6, covariance_type, batch=(2, 2))
    one = X[:, :1].clone()
    one[0, 0, 2], one[1, 0, 4] = 1e40, -1e200
    monkeypatch.setattr(far_points, "POINTS_AT_ONCE", 2)
    together = mixture.responsibilities(one)
    plain = mixture.responsibilities(X[:, :1])
    for i in range(2):
        kept = torch.arange(6) != (2, 4)[i]
        assert torch.equal(together[i][..., kept], plain[i][..., kept])
        for j in range(2):
            alone = mixture[i, j].responsibilities(one[i, 0])
            torch.testing.assert_close(together[i, j], alone, rtol=1e-12, atol=0)


def test_single_precision():
    mixture = Mixture(torch.tensor([0.5, 0.5]), torch.tensor([[-5.0], [5.0]]))
    far = torch.tensor([[1e5], [1e19], [3e38]])
    assert mixture.responsibilities(far).mT.tolist() == [[0.0, 1.0]] * 3


def test_every_point_far_is_like_any_other():
    """The formula for far points agrees with the usual one where both are good."""
    for kind in COVARIANCE_TYPES:
        X, mixture = instance(8, 3, 4, 50, kind)
        joint = mixture.log_joint(X)
        everywhere = torch.ones(50, dtype=torch.bool)
        parameters = (mixture.weights, mixture.means, mixture.covariances, kind)
        mended, logits = far_points.mend(joint, everywhere, X, *parameters)
        torch.testing.assert_close(mended, joint, rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(logits.softmax(-2), joint.softmax(-2), rtol=0, atol=1e-11)


def test_is_far():
    joint = -torch.tensor([[1.0, 1e6, torch.inf], [2.0, 1.0, torch.inf]], dtype=torch.float64)
    assert far_points.is_far(joint, 8).tolist() == [False, False, True]
    assert far_points.is_far(10 * joint, 8).tolist() == [False, True, True]
