"""What EM must do on any instance: climb, ignore order and names and origin, count weights, chunk, batch."""

import math

import pytest
import torch
from em_instances import COVARIANCE_TYPES, instance, radius_and_variance, step_rounding
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.em import em
from baselines.em_steps import em_step
from baselines.mixture import Mixture
from baselines.points import prepare
from baselines.starts import start_means

SEEDS = st.integers(0, 2**31 - 1)
TYPES = st.sampled_from(COVARIANCE_TYPES)
FEW = settings(max_examples=40, deadline=None)


def assert_close(one: Mixture, other: Mixture, tolerance: float) -> None:
    torch.testing.assert_close(one.weights, other.weights, rtol=0, atol=tolerance)
    torch.testing.assert_close(one.means, other.means, rtol=0, atol=tolerance)
    if one.covariances is None:
        assert other.covariances is None
    else:
        torch.testing.assert_close(one.covariances, other.covariances, rtol=0, atol=tolerance)


def level_rounding(X, start, end):
    """How far the computed log-likelihood per point can fall in a step: (16 (d + 8) + 8 N) u (1 + R^2/s)^2.

    Two evaluations, each an average of logsumexps off by (d + 8) u R^2/s at most (em_instances), times the
    condition number for the whitened types. The rounded M step misses the exact maximiser by N u, relative to
    the responsibilities; there the slope of the log-likelihood is at most R/s in a mean and R^2/s in a log
    variance, themselves off by N u R and N u R^2/s.
    """
    radius, least = radius_and_variance(X, start, end)
    N, d = X.shape[-2:]
    return (16 * (d + 8) + 8 * N) * torch.finfo(X.dtype).eps * (1 + radius**2 / least) ** 2


@FEW
@given(SEEDS, TYPES, st.integers(1, 6), st.integers(1, 5), st.integers(5, 40))
def test_likelihood_never_decreases(seed, covariance_type, d, K, points_each):
    X, mixture = instance(seed, d, K, K * (points_each + d), covariance_type)
    levels = []
    for _ in range(8):
        new, _, _ = em_step(X, mixture)
        before, after = mixture.log_likelihood_per_point(X), new.log_likelihood_per_point(X)
        assert after >= before - level_rounding(X, mixture, new)
        levels.append(before)
        mixture = new
    assert levels[-1] > levels[0]


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_history_is_the_path_of_single_steps(covariance_type):
    X, start = instance(3, 2, 3, 50, covariance_type)
    result = em(X, init=start, tol=0, max_iter=6)
    mixture, path = start, []
    for _ in range(6):
        path.append(mixture.log_likelihood_per_point(X))
        mixture, _, total = em_step(X, mixture)
        torch.testing.assert_close(total, path[-1] * 50, rtol=1e-13, atol=0)
    path.append(mixture.log_likelihood_per_point(X))
    torch.testing.assert_close(result.history, torch.stack(path), rtol=0, atol=1e-11)
    assert_close(result.mixture, mixture, 1e-11)
    assert result.log_likelihood_per_point == result.history[-1]


def test_small_responsibilities_count():
    """Points 0 and 1, means 0 and 10, equal weights: component 1 has shares e^-50 and e^-40 of them.

    Its mean goes to 1/(1 + e^-10), decided by shares below 1e-17 alone. Exponents round by (d + 4) u 10^2 R,
    about 1e-13.
    """
    X = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    start = Mixture(torch.tensor([0.5, 0.5]).double(), torch.tensor([[0.0], [10.0]]).double())
    shares = math.exp(-50), math.exp(-40)
    for new in (em(X, init=start, tol=0, max_iter=1).mixture, em_step(X, start)[0]):
        assert new.weights[1].item() == pytest.approx(sum(shares) / 2, rel=1e-12)
        assert new.means[1].item() == pytest.approx(1 / (1 + math.exp(-10)), rel=1e-12)


def test_a_tolerance_of_zero_never_stops():
    """With one component the first step changes nothing, and the level stays to the bit."""
    X = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    result = em(X, init=Mixture(torch.ones(1).double(), torch.zeros(1, 1).double()), tol=0, max_iter=5)
    assert result.history.unique().numel() == 1
    assert (result.n_iter, result.status) == (5, 1)


@FEW
@given(SEEDS, TYPES, st.integers(1, 5), st.integers(1, 5))
def test_order_of_points_does_not_matter(seed, covariance_type, d, K):
    X, mixture = instance(seed, d, K, 12 * K, covariance_type)
    shuffled = X[torch.randperm(len(X), generator=torch.Generator().manual_seed(seed))]
    one, other = em_step(X, mixture)[0], em_step(shuffled, mixture)[0]
    assert_close(one, other, 2 * step_rounding(X, mixture, one))


@FEW
@given(SEEDS, TYPES, st.integers(1, 5), st.integers(2, 5))
def test_names_of_components_do_not_matter(seed, covariance_type, d, K):
    X, mixture = instance(seed, d, K, 12 * K, covariance_type)
    permutation = torch.randperm(K, generator=torch.Generator().manual_seed(seed))
    one, other = em_step(X, mixture)[0], em_step(X, mixture.permute(permutation))[0]
    assert_close(one.permute(permutation), other, 2 * step_rounding(X, mixture, one))


@FEW
@given(SEEDS, TYPES, st.integers(1, 5), st.integers(1, 5), st.integers(-(2**20), 2**20))
def test_origin_does_not_matter(seed, covariance_type, d, K, shift):
    """Coordinates are multiples of 2^-20 and the shift a whole number below 2^20, so X + shift is exact; only
    the mean itself, a number as large as the shift, is rounded to u |shift| on the way out."""
    X, mixture = instance(seed, d, K, 12 * K, covariance_type)
    moved = Mixture(mixture.weights, mixture.means + shift, mixture.covariances, covariance_type)
    one, other = em_step(X, mixture)[0], em_step(X + shift, moved)[0]
    back = Mixture(other.weights, other.means - shift, other.covariances, covariance_type)
    out = 4 * torch.finfo(X.dtype).eps * abs(shift)
    radius, least = radius_and_variance(X, mixture, one)
    slope = (1 + radius**2) * (1 + radius / least)
    assert_close(one, back, 2 * step_rounding(X, mixture, one) + out * slope)


@FEW
@given(SEEDS, TYPES, st.integers(1, 4), st.integers(1, 4))
def test_weight_is_the_number_of_copies(seed, covariance_type, d, K):
    X, mixture = instance(seed, d, K, 15 * K, covariance_type)
    copies = torch.randint(0, 4, (len(X),), generator=torch.Generator().manual_seed(seed))
    copies[: (d + 1) * K] += 1
    one, _, level = em_step(X, mixture, copies.double())
    repeated = X.repeat_interleave(copies, dim=0)
    other, _, other_level = em_step(repeated, mixture)
    tolerance = 2 * step_rounding(repeated, mixture, one)
    assert_close(one, other, tolerance)
    torch.testing.assert_close(level, other_level, rtol=1e-12, atol=0)
    kwargs = {"init": mixture, "tol": 0, "max_iter": 1}
    assert_close(em(X, sample_weight=copies.double(), **kwargs).mixture, other, tolerance)


@pytest.mark.parametrize("init", ["k-means++", "plain-k-means++", "random-points", "normal"])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_points_of_weight_zero_change_nothing(init, covariance_type):
    """Far away and ignored: neither the starts nor the steps may see them.

    Draws invert a running sum, in which such points leave no trace. Random points are drawn by the largest of
    N keys, which more points change: there a given start is used, and the next test sees the draws.
    """
    X, start = instance(11, 3, 3, 60, covariance_type, batch=(4,))
    far = torch.cat([X, torch.full((4, 5, 3), 1e6, dtype=torch.float64)], dim=-2)
    weight = torch.cat([torch.ones(4, 60), torch.zeros(4, 5)], dim=-1).double()

    def fit(points, sample_weight, generator):
        return em(
            points,
            3,
            covariance_type=covariance_type,
            init=start if init == "random-points" else init,
            sample_weight=sample_weight,
            generator=generator,
            tol=0,
            max_iter=5,
        )

    alone = fit(X, torch.ones(4, 60).double(), torch.Generator().manual_seed(2))
    among = fit(far, weight, torch.Generator().manual_seed(2))
    assert_close(alone.mixture, among.mixture, 1e-9)
    torch.testing.assert_close(alone.history, among.history, rtol=0, atol=1e-9)


@pytest.mark.parametrize("init", ["k-means++", "plain-k-means++", "random-points"])
def test_starts_are_points_of_positive_weight(init):
    X = torch.arange(20, dtype=torch.float64).reshape(1, 20, 1).expand(200, 20, 1)
    weight = (torch.arange(20) % 2).double().expand(200, 20)
    result = em(
        X, 3, init=init, sample_weight=weight, tol=1e9, max_iter=1, generator=torch.Generator().manual_seed(0)
    )
    assert result.status.le(1).all()
    points = prepare(X, weight, None)
    means = start_means(points, 3, init, torch.Generator().manual_seed(1)) + points.centre
    assert (means.round() % 2 == 1).all()
    assert (means.sort(1).values.diff(dim=1) > 0.5).all()
    assert len(means.round().unique()) == 10


@pytest.mark.parametrize("chunk_size", [1, 7, 60, 1000])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_chunks_change_nothing(covariance_type, chunk_size):
    X, start = instance(8, 3, 3, 60, covariance_type, batch=(3,))
    weight = torch.rand(3, 60, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole = em(X, init=start, tol=1e-4, sample_weight=weight)
    chunked = em(X, init=start, tol=1e-4, sample_weight=weight, chunk_size=chunk_size)
    assert torch.equal(whole.n_iter, chunked.n_iter)
    assert_close(whole.mixture, chunked.mixture, 1e-10)
    drawn = {"covariance_type": covariance_type, "tol": 0.0, "max_iter": 3}
    whole = em(X, 3, generator=torch.Generator().manual_seed(4), **drawn)
    chunked = em(X, 3, generator=torch.Generator().manual_seed(4), chunk_size=chunk_size, **drawn)
    assert_close(whole.mixture, chunked.mixture, 1e-10)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_a_batch_is_a_loop(covariance_type, monkeypatch):
    """Tasks stop after different numbers of steps, so finished ones leave the batch while others go on."""
    X, start = instance(6, 2, 3, 60, covariance_type, batch=(2, 6))
    monkeypatch.setattr("baselines.em.NUMBERS_AT_ONCE", 60 * 10 * 7)
    together = em(X, init=start, tol=1e-5, max_iter=60)
    assert len(together.n_iter.unique()) > 4
    assert together.history.shape == (2, 6, int(together.n_iter.max()) + 1)
    for i in range(2):
        for j in range(6):
            alone = em(X[i, j], init=start[i, j], tol=1e-5, max_iter=60)
            assert alone.n_iter == together.n_iter[i, j]
            assert alone.status == together.status[i, j]
            assert_close(alone.mixture, together.mixture[i, j], 1e-9)
            steps = int(alone.n_iter) + 1
            torch.testing.assert_close(alone.history, together.history[i, j, :steps], rtol=0, atol=1e-10)
            assert together.history[i, j, steps:].isnan().all()


def test_best_restart_is_kept():
    X, _ = instance(21, 2, 4, 80, batch=(16,))
    several = em(X, 4, n_init=6, init="normal", generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    runs = [em(X, 4, init="normal", generator=generator) for _ in range(6)]
    levels = torch.stack([run.log_likelihood_per_point for run in runs])
    torch.testing.assert_close(several.log_likelihood_per_point, levels.amax(0), rtol=0, atol=0)
    assert torch.equal(several.restart, levels.argmax(0))
    assert len(several.restart.unique()) > 1
    for task in range(16):
        best = runs[int(several.restart[task])]
        assert torch.equal(several.mixture.means[task], best.mixture.means[task])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_follows_the_data(dtype):
    X, _ = instance(2, 3, 2, 50)
    result = em(X.to(dtype), 2, covariance_type="full", generator=torch.Generator().manual_seed(0))
    assert result.mixture.means.dtype == result.history.dtype == dtype
    assert torch.get_default_dtype() == torch.float32
