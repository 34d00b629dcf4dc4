"""The spectral estimator: exact moments, an explicit M3, tensorly, invariances, the rate in N, edges."""

import numpy as np
import pytest
import tensorly.decomposition
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spectral_instances import exact_data, exact_tolerance, separated_means
from tensor_instances import seeded

from baselines.align import align
from baselines.metrics import errors
from baselines.mixture import Mixture
from baselines.robust_tensor_power import robust_tensor_power
from baselines.spectral import (
    Status,
    recover,
    second_moment,
    smallest_variance,
    spectral,
    whiten,
    whitened_third_moment,
)
from baselines.tasks import paper_tasks, separated_tasks

SEEDS = st.integers(0, 2**31 - 1)
FEW = settings(max_examples=40, deadline=None)
U = 2.0**-53


def ones(X):
    return torch.ones(X.shape[:-2], dtype=X.dtype)


def assert_exact(result, X, means, counts, variance):
    """The estimate is the mixture whose moments the data have, within what rounding allows."""
    weights = torch.tensor(counts, dtype=torch.float64) / sum(counts)
    s = torch.tensor(variance, dtype=torch.float64)
    moment, rounding = second_moment(X, s)
    resolution = whiten(moment, len(counts), rounding).resolution.item()
    white = whiten(moment, len(counts), rounding)
    third = whitened_third_moment(X, white.W, s)[1].item()
    if result.covariance_type != "unit":
        resolution += smallest_variance(X)[1].item()
    of_means, of_weights = exact_tolerance(means, weights, resolution, third)
    found, order = align(Mixture(result.weights, result.means), Mixture(weights, means))
    assert (found.means - means).norm(dim=-1).max() <= of_means
    raw = result.raw_weights.gather(-1, order)
    assert ((raw - weights) / weights).abs().max() <= of_weights
    assert ((found.weights - weights) / weights).abs().max() <= 2 * of_weights
    assert (result.tensor_eigenvalues > 0).all()


# ---- exact moments, exact answer


@FEW
@given(SEEDS, st.integers(1, 6), st.sampled_from([0.25, 1.0, 3.0]), st.booleans(), st.data())
def test_exact_moments_give_the_mixture(seed, d, variance, known, data):
    """K from 1 to d, weights from 1/(1 + 5 K) up; the variance given, or estimated where K <= d leaves it."""
    K = data.draw(st.integers(1, d))
    counts = data.draw(st.lists(st.integers(1, 6), min_size=K, max_size=K))
    means = separated_means(seed, d, K)
    X = exact_data(means, counts, variance)
    result = spectral(X, K, variance=variance if known else None, n_iter=40, generator=seeded(seed))
    assert result.status == Status.OK
    assert result.variance.item() == pytest.approx(variance, rel=1e-11)
    assert_exact(result, X, means, counts, variance)


def test_a_tiny_weight_is_recovered():
    means = separated_means(1, 4, 3)
    X = exact_data(means, [1, 1000, 400], 1.0)
    assert_exact(spectral(X, 3, n_iter=40, generator=seeded(0)), X, means, [1, 1000, 400], 1.0)


def test_population_moments_give_the_mixture():
    """M2 and T from the parameters alone, no data: whiten, robust_tensor_power, recover."""
    means = separated_means(2, 6, 4, batch=(5,))
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    moment = torch.einsum("k,bki,bkj->bij", weights, means, means)
    white = whiten(moment, 4, torch.zeros(5, dtype=torch.float64))
    assert not white.deficient.any()
    P = means @ white.W
    T = torch.einsum("k,bki,bkj,bkm->bijm", weights, P, P, P)
    found = robust_tensor_power(T, 4, n_iter=40, generator=seeded(3))
    raw, estimate = recover(found.eigenvalues, found.eigenvectors, white.B)
    truth = Mixture(weights.expand(5, 4), means)
    aligned, _ = align(Mixture(raw / raw.sum(-1, keepdim=True), estimate), truth)
    torch.testing.assert_close(raw.sum(-1), torch.ones(5, dtype=torch.float64), rtol=0, atol=1e-11)
    torch.testing.assert_close(aligned.means, means, rtol=0, atol=1e-11)
    torch.testing.assert_close(aligned.weights, truth.weights, rtol=0, atol=1e-11)
    flipped = recover(-found.eigenvalues, -found.eigenvectors, white.B)
    assert torch.equal(flipped[0], raw)
    assert torch.equal(flipped[1], estimate)


def test_whitening_whitens():
    X = paper_tasks(6, 5, 3, 60, seeded(4)).X
    moment, rounding = second_moment(X, ones(X))
    white = whiten(moment, 3, rounding)
    identity = torch.eye(3, dtype=torch.float64).expand(6, 3, 3)
    torch.testing.assert_close(white.W.mT @ moment @ white.W, identity, rtol=0, atol=1e-12)
    torch.testing.assert_close(moment @ white.W, white.B, rtol=0, atol=1e-12)
    torch.testing.assert_close(white.W.mT @ white.B, identity, rtol=0, atol=1e-12)
    everything = torch.linalg.eigvalsh(moment)
    torch.testing.assert_close(white.eigenvalues, everything[:, -3:], rtol=1e-12, atol=0)


def test_moments_of_a_mixture_are_where_the_means_put_them():
    """M2 and T against those of the parameters, from data without sampling error."""
    means = separated_means(5, 4, 3)
    weights = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    X = exact_data(means, [2, 5, 3], 1.7)
    s = torch.tensor(1.7, dtype=torch.float64)
    moment, rounding = second_moment(X, s)
    exact = torch.einsum("k,ki,kj->ij", weights, means, means)
    assert (moment - exact).norm() <= rounding + 40 * U * exact.norm()
    W = torch.randn(4, 3, dtype=torch.float64, generator=seeded(6))
    T, error = whitened_third_moment(X, W, s)
    P = means @ W
    exact = torch.einsum("k,ki,kj,km->ijm", weights, P, P, P)
    assert (T - exact).norm() <= error + 40 * U * exact.norm()


# ---- peers


def explicit_third_moment(X, s):
    """M3 with all its d^3 entries, in loops."""
    N, d = X.shape
    m = X.mean(0)
    M3 = sum(np.einsum("i,j,m->ijm", x, x, x) for x in X) / N
    for j in range(d):
        e = np.eye(d)[j]
        for a, b, c in ((m, e, e), (e, m, e), (e, e, m)):
            M3 = M3 - s * np.einsum("i,j,m->ijm", a, b, c)
    return M3


def textbook(X, W, B, s, starts, n_iter, monkeypatch):
    """One task by the book: the whole M3, whitened afterwards, tensorly's power iteration, un-whitening."""
    T = np.einsum("ijm,ia,jb,mc->abc", explicit_third_moment(X, s), W, W, W)
    draws = iter(starts.reshape(-1, W.shape[1]))
    monkeypatch.setattr(np.random, "random_sample", lambda size: next(draws))
    values, vectors = tensorly.decomposition.symmetric_parafac_power_iteration(
        T, rank=W.shape[1], n_repeat=starts.shape[1], n_iteration=n_iter // 3
    )
    return values**-2.0, values[:, None] * (B @ vectors).T


@pytest.mark.parametrize(("d", "K", "variance"), [(4, 3, 1.0), (3, 3, 0.5), (6, 2, None), (1, 1, 1.0)])
def test_is_the_textbook_method_on_sampled_data(d, K, variance, monkeypatch):
    """Same starts, same steps; sampled moments, so that raw weights do not sum to 1 and no term cancels."""
    X = separated_tasks(4, d, K, 400, seeded(7), separation=5.0).X + 2.0
    starts = torch.randn(4, K, 6, K, dtype=torch.float64, generator=seeded(8))
    result = spectral(X, K, variance=variance, n_iter=30, starts=starts)
    for task in range(4):
        points = X[task].numpy()
        s = variance or np.linalg.eigvalsh(np.cov(points.T, bias=True))[0]
        assert result.variance[task].item() == pytest.approx(s, rel=1e-11)
        moment, rounding = second_moment(X[task], result.variance[task])
        np.testing.assert_allclose(
            moment.numpy(), points.T @ points / 400 - s * np.eye(d), rtol=0, atol=1e-12
        )
        white = whiten(moment, K, rounding)
        raw, means = textbook(
            points, white.W.numpy(), white.B.numpy(), s, starts[task].numpy(), 30, monkeypatch
        )
        np.testing.assert_allclose(result.raw_weights[task].numpy(), raw, rtol=1e-9)
        np.testing.assert_allclose(result.weights[task].numpy(), raw / raw.sum(), rtol=1e-9)
        np.testing.assert_allclose(result.means[task].numpy(), means, rtol=0, atol=1e-9)
        np.testing.assert_allclose(
            result.moment_eigenvalues[task], np.linalg.eigvalsh(moment)[-K:], rtol=1e-10
        )
    assert (result.raw_weights.sum(-1) - 1).abs().min() > 1e-5 or K == d == 1


# ---- invariances


def instance(seed, d=5, K=3, N=3000, batch=(4,)):
    """Sampled tasks so clear that every start set finds the components in the same order."""
    tasks = separated_tasks(batch[0], d, K, N, seeded(seed), separation=6.0)
    shift = torch.arange(1.0, d + 1, dtype=torch.float64)
    return tasks.X + shift, Mixture(tasks.truth.weights, tasks.truth.means + shift)


def assert_same(one, other, tolerance=1e-9):
    aligned, _ = align(one, other)
    torch.testing.assert_close(aligned.means, other.means, rtol=0, atol=tolerance)
    torch.testing.assert_close(aligned.weights, other.weights, rtol=0, atol=tolerance)


SURE = {"n_starts": 30, "n_iter": 60}


def test_order_of_the_points_does_not_matter():
    X, _ = instance(9)
    one = spectral(X, 3, generator=seeded(0), **SURE)
    other = spectral(X[:, torch.randperm(3000, generator=seeded(1))], 3, generator=seeded(2), **SURE)
    assert_same(one.mixture, other.mixture)


def test_rotates_with_the_data():
    X, _ = instance(10)
    R = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=seeded(3))).Q
    one = spectral(X, 3, variance=None, generator=seeded(0), **SURE)
    other = spectral(X @ R, 3, variance=None, generator=seeded(2), **SURE)
    assert_same(Mixture(one.weights, one.means @ R), Mixture(other.weights, other.means))
    torch.testing.assert_close(one.variance, other.variance, rtol=1e-11, atol=0)


@pytest.mark.parametrize("scale", [2.0**-200, 2.0**-10, 2.0**200])
@pytest.mark.parametrize("known", [True, False])
def test_scales_with_the_data(scale, known):
    """Thresholds are relative to the data: nothing changes but the unit."""
    X, _ = instance(11)
    starts = torch.randn(3, 10, 3, dtype=torch.float64, generator=seeded(4))
    one = spectral(X, 3, variance=1.5 if known else None, starts=starts)
    other = spectral(scale * X, 3, variance=1.5 * scale**2 if known else None, starts=starts)
    torch.testing.assert_close(other.means / scale, one.means, rtol=1e-10, atol=0)
    torch.testing.assert_close(other.weights, one.weights, rtol=1e-10, atol=0)
    torch.testing.assert_close(other.variance / scale**2, one.variance, rtol=1e-11, atol=0)
    assert torch.equal(other.status, one.status)


def test_a_batch_is_a_loop(monkeypatch):
    """Blocks of three tasks, some failed: every task is as if alone.

    Sums of another shape may be rounded otherwise. Where the power steps have settled that stays rounding;
    where they still move (one task here has no second eigenvector to settle at) every step magnifies it.
    """
    X = paper_tasks(12, 4, 3, 40, seeded(12)).X.reshape(3, 4, 40, 4).clone()
    X[1, 1, :, 1:] = 0
    starts = torch.randn(3, 4, 3, 5, 3, dtype=torch.float64, generator=seeded(13))
    monkeypatch.setattr("baselines.spectral.NUMBERS_AT_ONCE", 3 * 40 * (4 + 3 + 9))
    together = spectral(X, 3, starts=starts, on_failure="mark")
    assert together.failed.sum() >= 1
    assert together.weights.shape == (3, 4, 3)
    assert together.means.shape == (3, 4, 3, 4)
    assert together.status.shape == together.variance.shape == (3, 4)
    unsettled = together.moved.amax(-1) > 1e-12  # not NaN, which a failed task has in both
    assert unsettled.sum() == 1
    for i in range(3):
        for j in range(4):
            alone = spectral(X[i, j], 3, starts=starts[i, j], on_failure="mark")
            assert alone.status == together.status[i, j]
            estimates = ("weights", "raw_weights", "means", "tensor_eigenvalues")
            for name in ("moment_eigenvalues", *(() if unsettled[i, j] else estimates)):
                torch.testing.assert_close(
                    getattr(alone, name), getattr(together, name)[i, j], rtol=0, atol=1e-9, equal_nan=True
                )
    kept = together.select(~together.failed)
    assert torch.equal(kept.means, together.means[~together.failed])


# ---- statistics


@pytest.mark.parametrize("variance", [1.0, None])
def test_error_falls_as_one_over_the_number_of_points(variance):
    """256 samples of one mixture at N = 1,000 and at 16,000: the mean squared errors differ 16-fold, within 5
    standard errors of the log of their ratio, from the spread over the samples."""
    truth = Mixture(
        torch.full((256, 3), 1 / 3, dtype=torch.float64), separated_means(3, 4, 3).expand(256, 3, 4)
    )
    logs, spreads = [], []
    for N in (1_000, 16_000):
        X, _ = truth.sample(N, seeded(N))
        result = spectral(X, 3, variance=variance, generator=seeded(0), n_iter=15)
        total = errors(result.mixture, truth).total
        logs.append(total.mean().log().item())
        spreads.append((total.std() / total.mean() / 256**0.5).item())
    assert np.hypot(*spreads) < 0.1
    assert abs(logs[0] - logs[1] - np.log(16)) <= 5 * np.hypot(*spreads)


# ---- edges, and the result


@FEW
@given(SEEDS, st.integers(2, 5))
def test_as_many_points_as_components(seed, K):
    """N = K and next to no variance: every point is a component of weight 1/K."""
    X = separated_means(seed, K, K)
    result = spectral(X, K, variance=1e-18, n_iter=40, generator=seeded(seed))
    assert result.covariance_type == "tied_spherical"
    assert_same(
        Mixture(result.weights, result.means), Mixture(torch.full((K,), 1 / K, dtype=torch.float64), X), 1e-9
    )


def test_one_component_is_the_mean_of_its_cubes():
    """K = d = 1: M2 = q, T = (mean x^3 - 3 m) / q^(3/2), so mu = T q^(1/2) and pi = T^-2 before scaling."""
    X = 2 + torch.randn(100, 1, dtype=torch.float64, generator=seeded(18))
    result = spectral(X, 1, generator=seeded(0))
    q = X.square().mean() - 1
    lam = (X.pow(3).mean() - 3 * X.mean()) / q**1.5
    assert result.means.item() == pytest.approx((lam * q**0.5).item(), rel=1e-12)
    assert result.raw_weights.item() == pytest.approx((lam**-2).item(), rel=1e-12)
    assert result.weights.item() == 1


def test_covariance_of_the_mixture():
    X, truth = instance(19)
    known = spectral(X, 3, generator=seeded(0)).mixture
    assert known.covariance_type == "unit"
    assert known.covariances is None
    given = spectral(X, 3, variance=1.01, generator=seeded(0)).mixture
    assert given.covariance_type == "tied_spherical"
    assert (given.covariances == 1.01).all()
    estimated = spectral(X, 3, variance=None, generator=seeded(0))
    assert torch.equal(estimated.mixture.covariances, estimated.variance)
    assert (errors(known, truth).total < 0.05).all()
    assert (errors(estimated.mixture, truth).total < 0.05).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_follows_the_data(dtype):
    """In float32 the bound of M2's error is N u q = 0.02 here; what is lost is well below it."""
    X, _ = instance(20)
    result = spectral(X.to(dtype), 3, variance=None, generator=seeded(0))
    for values in (result.weights, result.means, result.variance, result.moved):
        assert values.dtype == dtype
    exact = spectral(X, 3, variance=None, generator=seeded(0), **SURE)
    weights = result.weights.double()
    aligned, _ = align(Mixture(weights / weights.sum(-1, keepdim=True), result.means.double()), exact.mixture)
    torch.testing.assert_close(
        aligned.means, exact.means, rtol=0, atol=1e-2 if dtype == torch.float32 else 1e-9
    )
