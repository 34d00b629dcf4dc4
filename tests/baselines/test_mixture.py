"""The mixture: densities against torch.distributions, posterior, sampling, selection, relabelling."""

import pytest
import torch
from em_instances import COVARIANCE_TYPES, instance
from torch.distributions import MultivariateNormal

from baselines.mixture import Mixture


def dense(mixture):
    """Covariance matrices (..., K, d, d), written out type by type."""
    d = mixture.n_features
    identity = torch.eye(d, dtype=torch.float64)
    shape = (*mixture.batch_shape, mixture.n_components, d, d)
    s = mixture.covariances
    kind = mixture.covariance_type
    if kind == "unit":
        return identity.expand(shape)
    if kind == "tied_spherical":
        return (s[..., None, None, None] * identity).expand(shape)
    if kind == "spherical":
        return s[..., None, None] * identity
    if kind == "diagonal":
        return torch.diag_embed(s)
    return s.unsqueeze(-3).expand(shape) if kind == "tied" else s


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_densities_are_those_of_torch_distributions(covariance_type, batch):
    X, mixture = instance(1, 3, 4, 30, covariance_type, batch=batch)
    normal = MultivariateNormal(mixture.means.unsqueeze(-2), dense(mixture).unsqueeze(-3))
    joint = normal.log_prob(X.unsqueeze(-3)) + mixture.weights.log().unsqueeze(-1)
    assert joint.shape == (*batch, 4, 30)
    torch.testing.assert_close(mixture.log_joint(X), joint, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(mixture.score_samples(X), joint.logsumexp(-2), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(mixture.responsibilities(X), joint.softmax(-2), rtol=1e-11, atol=1e-14)
    assert torch.equal(mixture.predict(X), joint.argmax(-2))
    a = torch.rand((*batch, 30), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    total = (a * joint.logsumexp(-2)).sum(-1)
    torch.testing.assert_close(mixture.log_likelihood(X, a), total)
    torch.testing.assert_close(mixture.log_likelihood_per_point(X, a), total / a.sum(-1))
    torch.testing.assert_close(mixture.log_likelihood(X), joint.logsumexp(-2).sum(-1))
    torch.testing.assert_close(mixture.log_likelihood_per_point(X), joint.logsumexp(-2).mean(-1))


def test_far_from_the_origin_nothing_is_lost():
    """Every number here is exact, so moving everything by 2^30 must not change a density beyond rounding."""
    X, mixture = instance(2, 3, 3, 20)
    moved = Mixture(mixture.weights, mixture.means + 2**30)
    torch.testing.assert_close(moved.log_joint(X + 2**30), mixture.log_joint(X), rtol=1e-6, atol=1e-6)
    exact = Mixture(mixture.weights, mixture.means.round())
    torch.testing.assert_close(
        Mixture(mixture.weights, exact.means + 2**30).log_joint(X + 2**30),
        exact.log_joint(X),
        rtol=1e-6,
        atol=1e-6,
    )


def test_one_mixture_serves_a_batch_of_data_and_the_reverse():
    X, mixture = instance(3, 2, 3, 10, "full", batch=(4,))
    assert torch.allclose(mixture[1].log_joint(X)[2], mixture[1].log_joint(X[2]))
    assert torch.allclose(mixture.log_joint(X[0])[3], mixture[3].log_joint(X[0]))


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_samples_have_the_moments_of_their_component(covariance_type):
    """20,000 draws: shares within 5 sqrt(p (1 - p)/n), means within 5 sqrt(S_jj/n_k), and each entry of the
    covariance within 5 sqrt((S_ii S_jj + S_ij^2)/n_k), its standard deviation for Gaussian data."""
    n = 20_000
    _, mixture = instance(4, 2, 3, 9, covariance_type, batch=(2,))
    X, labels = mixture.sample(n, torch.Generator().manual_seed(0))
    assert X.shape == (2, n, 2)
    assert labels.shape == (2, n)
    again = mixture.sample(n, torch.Generator().manual_seed(0))
    assert torch.equal(X, again[0])
    assert torch.equal(labels, again[1])
    covariances = dense(mixture)
    for task in range(2):
        for k in range(3):
            own = X[task][labels[task] == k]
            p, S = mixture.weights[task, k], covariances[task, k]
            assert (len(own) / n - p).abs() < 5 * (p * (1 - p) / n).sqrt()
            variances = S.diagonal()
            assert ((own.mean(0) - mixture.means[task, k]).abs() < 5 * (variances / len(own)).sqrt()).all()
            spread = ((variances[:, None] * variances[None] + S.square()) / len(own)).sqrt()
            assert ((own.T.cov() - S).abs() < 5 * spread).all()


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_selection_and_relabelling(covariance_type):
    X, mixture = instance(5, 2, 3, 10, covariance_type, batch=(4, 2))
    one = mixture[3, 1]
    assert one.batch_shape == ()
    torch.testing.assert_close(one.log_joint(X[3, 1]), mixture.log_joint(X)[3, 1])
    permutation = torch.tensor([2, 0, 1]).expand(4, 2, 3)
    renamed = mixture.permute(permutation)
    torch.testing.assert_close(renamed.log_joint(X), mixture.log_joint(X)[:, :, [2, 0, 1]])
    single = mixture.to(dtype=torch.float32)
    assert single.means.dtype == single.weights.dtype == torch.float32
    assert single.covariances is None or single.covariances.dtype == torch.float32
    with pytest.raises(IndexError, match="no batch dimension"):
        one[0]
    with pytest.raises(IndexError):
        mixture[0, 0, 0]
