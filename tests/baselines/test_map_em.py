"""EM for the posterior mode: the density of the weights, both M steps, ascent, the mode, bad input."""

import itertools
import math

import pytest
import torch
from em_instances import instance
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import nquad, quad
from tensor_instances import seeded

from baselines.em import em
from baselines.map_em import log_prior, map_em, weights_step
from baselines.mixture import Mixture
from baselines.tasks import paper_tasks

SEEDS = st.integers(0, 2**31 - 1)
FEW = settings(max_examples=40, deadline=None)
LOW, HIGH = 0.2, 0.8


def f64(values):
    return torch.tensor(values, dtype=torch.float64)


# ---- the density of the weights


@pytest.mark.parametrize(("low", "high"), [(0.2, 0.8), (1.0, 1.5)])
def test_density_of_two_weights_integrates_to_one(low, high):
    """((h/M)^K - (l/m)^K)/(K (h - l)^K) over pi_1, where it is positive: l/(l + h) < pi_1 < h/(l + h)."""

    def density(p):
        return math.exp(log_prior(f64([p, 1 - p]), (low, high)).item()) / (2 * (high - low) ** 2)

    total, error = quad(density, low / (low + high), high / (low + high), points=[0.5], epsabs=1e-12)
    assert total == pytest.approx(1, abs=error + 1e-12)


def test_density_of_three_weights_has_the_moments_of_the_sampler():
    """E sum_k pi_k^2 by the density and by averaging over raw weights, both on grids of midpoints: they
    are off by O(h^2), below 1e-3 of the value, and equal weights would be at 1/3 against 0.365."""
    n = 400
    edges = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    p, q = torch.meshgrid(edges, edges, indexing="ij")
    inside = p + q < 1
    weights = torch.stack([p[inside], q[inside], (1 - p - q)[inside]], dim=-1)
    ratio = weights.amax(-1) / weights.amin(-1)
    density = torch.where(ratio < HIGH / LOW, log_prior(weights).exp(), 0.0)
    by_density = (density * weights.square().sum(-1)).sum() / density.sum()
    raw = LOW + (HIGH - LOW) * (torch.arange(60, dtype=torch.float64) + 0.5) / 60
    grid = torch.cartesian_prod(raw, raw, raw)
    by_sampler = (grid / grid.sum(-1, keepdim=True)).square().sum(-1).mean()
    assert by_density.item() == pytest.approx(by_sampler.item(), rel=1e-3)
    assert abs(by_sampler.item() - 1 / 3) > 0.02


def test_density_is_the_integral_over_the_scale():
    """p(pi) against int s^(K-1) [l <= s pi_k <= h] ds, up to the factor K that log_prior leaves out."""
    for weights in ([0.3, 0.7], [0.2, 0.3, 0.5], [0.1, 0.25, 0.2, 0.25, 0.2], [0.15, 0.6, 0.25]):
        K = len(weights)
        integral, _ = nquad(lambda s, K=K: s ** (K - 1), [(LOW / min(weights), HIGH / max(weights))])
        assert log_prior(f64(weights)).exp().item() == pytest.approx(K * integral, rel=1e-12)


def test_density_is_zero_outside():
    assert log_prior(f64([[0.2, 0.8], [0.1, 0.9]])).tolist() == [-math.inf, -math.inf]
    assert math.isfinite(log_prior(f64([0.2001, 0.7999])).item())
    assert log_prior(f64([1.0])).item() == pytest.approx(math.log(HIGH - LOW))


# ---- the M step of the weights


def objective(weights, shares, raw_range=(LOW, HIGH)):
    return (shares * weights.log()).sum(-1) + log_prior(weights, raw_range)


@st.composite
def shares_and_range(draw):
    """W of 1 to 8 components, some of them next to or exactly nothing, and a range of raw weights."""
    K = draw(st.integers(1, 8))
    shares = draw(st.lists(st.one_of(st.just(0.0), st.floats(1e-12, 60.0)), min_size=K, max_size=K))
    if sum(shares) <= K + 0.1:
        shares[draw(st.integers(0, K - 1))] += K + 1.0
    low = draw(st.sampled_from([0.2, 0.05, 0.6, 0.79]))
    return f64(shares), (low, HIGH)


@FEW
@given(shares_and_range())
def test_weights_meet_the_conditions_of_the_maximum(problem):
    """KKT: alpha on the largest, beta on the least, their sums as the head of map_em says. The problem is
    convex, so this is the maximum. rho is computed from the answer: off by K times the few ulp of log(M/m),
    1e-13, so the sums by that times K rho/(1 - rho)^2."""
    shares, (low, high) = problem
    K = len(shares)
    weights = weights_step(shares, (low, high))
    multiplier = shares.sum() - K
    largest, least = weights.max(), weights.min()
    rho = (low * largest / (high * least)).item() ** K
    assert rho < 1
    tolerance = 1e-12 * (shares.sum().item() + K * K * rho / (1 - rho) ** 2 + K)
    surplus = shares - multiplier * weights
    assert weights.sum().item() == pytest.approx(1, abs=1e-14)
    if largest == least:
        assert surplus.clamp(min=0).sum().item() <= K / (1 - rho) + tolerance
        return
    at_most, at_least = weights >= largest * (1 - 1e-13), weights <= least * (1 + 1e-13)
    assert (surplus[at_most] >= -tolerance).all()
    assert (surplus[at_least] <= tolerance).all()
    assert (surplus[~at_most & ~at_least].abs() <= tolerance).all()
    assert surplus[at_most].sum().item() == pytest.approx(K / (1 - rho), abs=tolerance)
    assert -surplus[at_least].sum().item() == pytest.approx(K * rho / (1 - rho), abs=tolerance)


@FEW
@given(shares_and_range(), SEEDS)
def test_no_other_weights_are_better(problem, seed):
    """Near ones and far ones; sums of K terms of size W |log pi| round by less than 1e-13 of them."""
    shares, raw_range = problem
    K = len(shares)
    weights = weights_step(shares, raw_range)
    best = objective(weights, shares, raw_range)
    raw = raw_range[0] + (raw_range[1] - raw_range[0]) * torch.rand(
        500, K, dtype=torch.float64, generator=seeded(seed)
    )
    far = raw / raw.sum(-1, keepdim=True)
    near = torch.cat([weights + size * (far - weights) for size in (1e-1, 1e-3, 1e-5)])
    others = objective(torch.cat([far, near]), shares, raw_range)
    size = (shares * weights.log().abs()).sum() + log_prior(weights, raw_range).abs() + K
    assert math.isfinite(best.item())
    assert others.max() <= best + 1e-13 * size


@pytest.mark.parametrize("shares", [[30.0, 70.0], [10.0, 90.0], [0.0, 50.0], [49.0, 51.0], [50.0, 50.0]])
def test_two_weights_against_a_grid(shares):
    """A million weights: the maximum is within one of them of the answer."""
    p = torch.linspace(0.2, 0.8, 1_000_001, dtype=torch.float64)[1:-1]
    values = objective(torch.stack([p, 1 - p], dim=-1), f64(shares))
    assert weights_step(f64(shares))[0].item() == pytest.approx(p[values.argmax()].item(), abs=1.2e-6)


def test_weights_follow_the_counts():
    """Order kept, ratio below h/l, equal when the counts are nearly so, and nearly the shares when N is large
    and the shares are well inside: the prior moves log pi by O(K/N)."""
    weights = weights_step(f64([[10.0, 40.0, 78.0], [0.0, 1.0, 127.0], [42.0, 43.0, 43.0]]))
    assert (weights[0].diff() > 0).all()
    assert weights[1, 0] == weights[1, 1] < weights[1, 2]  # both at the floor that the ratio h/l leaves
    assert (weights.amax(-1) / weights.amin(-1) < HIGH / LOW).all()
    torch.testing.assert_close(weights[2], f64([1 / 3] * 3))
    many = weights_step(1e9 * f64([0.2, 0.3, 0.5]))
    torch.testing.assert_close(many, f64([0.2, 0.3, 0.5]), rtol=1e-7, atol=0)
    order = list(itertools.permutations([10.0, 40.0, 78.0]))
    for shares in order:
        torch.testing.assert_close(weights_step(f64(shares)), weights[0][f64(shares).argsort().argsort()])


# ---- the whole iteration


@settings(max_examples=12, deadline=None)
@given(SEEDS, st.integers(1, 5), st.integers(1, 4))
def test_the_objective_never_falls(seed, K, d):
    """From random starts, out of the box too; tol = 0 for 25 steps. L per point rounds by (d + 8 + N) u R^2,
    R < 40, the prior by far less."""
    X, start = instance(seed, d, K, 40, batch=(4,))
    start = Mixture(torch.full_like(start.weights, 1 / K), 3 * start.means)
    result = map_em(X, init=start, box=2.0, max_iter=25, tol=0)
    assert result.history.shape == (4, 26)
    assert (result.history.diff(dim=-1) >= -(d + 48) * 2.0**-52 * 40**2).all()
    assert (result.mixture.means.abs() <= 2.0 * (1 + 1e-13)).all()
    ratio = result.mixture.weights.amax(-1) / result.mixture.weights.amin(-1)
    assert (ratio < HIGH / LOW).all()


def posterior(X, weights, means, box=5.0):
    """F/N of batches of parameters (S, K), (S, K, d) on one task; -inf outside the box."""
    N = len(X)
    value = Mixture(weights, means).log_likelihood_per_point(X) + log_prior(weights) / N
    return torch.where((means.abs() <= box).all(-1).all(-1), value, -torch.inf)


@pytest.mark.parametrize(("d", "K"), [(2, 3), (4, 2)])
def test_stops_at_a_mode(d, K):
    """No change of 2e-3 or 2e-2 in the parameters is better. F/N rounds by (d + 8 + N) u R^2 = 2e-11 at most;
    what is left to gain where a step gains 1e-13 is below 1e-11 unless EM contracts by under 1 % a step."""
    X = paper_tasks(3, d, K, 60, seeded(d * K)).X
    result = map_em(X, K, max_iter=400, tol=1e-13, generator=seeded(1))
    assert result.converged.all()
    for task in range(3):
        weights, means = result.mixture.weights[task], result.mixture.means[task].clamp(-5, 5)
        noise = torch.randn(400, K, d + 1, dtype=torch.float64, generator=seeded(task))
        scale = torch.where(torch.arange(400) % 2 == 0, 2e-3, 2e-2)[:, None, None].double()
        logits = weights.log() + (scale * noise)[..., 0]
        others = posterior(X[task], logits.softmax(-1), (means + (scale * noise)[..., 1:]).clamp(-5, 5))
        assert torch.isfinite(others).float().mean() > 0.9
        assert others.max() <= result.objective_per_point[task] + 2e-11
        best = posterior(X[task], weights[None], means[None])[0]
        assert best.item() == pytest.approx(result.objective_per_point[task].item(), abs=2e-11)


def test_the_box_holds_the_means():
    """Points around (8, 0) and (-8, 0) in the box of 5: the first coordinate of each mean is at the wall."""
    X = torch.cat(
        [f64([[8.0, 0.0]]) + 0.1 * torch.randn(30, 2, dtype=torch.float64, generator=seeded(2))] * 2
    )
    X[30:, 0] -= 16
    result = map_em(X, 2, generator=seeded(3))
    torch.testing.assert_close(result.mixture.means[:, 0].sort().values, f64([-5.0, 5.0]))
    free = map_em(X, 2, box=100.0, generator=seeded(3))
    torch.testing.assert_close(free.mixture.means, em(X, 2, generator=seeded(3)).mixture.means)


def test_a_component_without_points_keeps_its_mean():
    X = torch.randn(50, 1, dtype=torch.float64, generator=seeded(4))
    start = Mixture(f64([0.5, 0.5]), f64([[0.0], [90.0]]))
    result = map_em(X, init=start, box=100.0)
    assert result.converged
    assert result.mixture.means[1].item() == 90
    assert result.mixture.weights[1] > LOW / (LOW + HIGH)
    assert result.mixture.means[0].item() == pytest.approx(X.mean().item(), abs=1e-13)


def test_one_component():
    X = torch.randn(3, 20, 2, dtype=torch.float64, generator=seeded(5)) + f64([4.9, 0.0])
    result = map_em(X, 1, generator=seeded(6))
    torch.testing.assert_close(result.mixture.means.squeeze(1), X.mean(1).clamp(-5, 5), rtol=0, atol=1e-13)
    assert (result.mixture.weights == 1).all()


def test_keeps_the_best_restart():
    X = paper_tasks(10, 2, 5, 60, seeded(7)).X
    together = map_em(X, 5, n_init=3, tol=1e-4, generator=seeded(8))
    generator = seeded(8)
    alone = [map_em(X, 5, tol=1e-4, generator=generator) for _ in range(3)]
    values = torch.stack([run.objective_per_point for run in alone])
    assert torch.equal(together.objective_per_point, values.amax(0))
    assert together.restart.unique().numel() > 1
    for task, restart in enumerate(together.restart.tolist()):
        assert torch.equal(together.mixture.means[task], alone[restart].mixture.means[task])
        steps = int(together.n_iter[task])
        assert steps == alone[restart].n_iter[task]
        assert together.history[task, steps] == together.objective_per_point[task]
        assert together.history[task, steps + 1 :].isnan().all()


def test_a_batch_is_a_loop(monkeypatch):
    X = paper_tasks(6, 3, 3, 50, seeded(9)).X.reshape(2, 3, 50, 3)
    start = Mixture(f64([0.3, 0.3, 0.4]).expand(2, 3, 3), X[..., :3, :])
    monkeypatch.setattr("baselines.ascent.NUMBERS_AT_ONCE", 4 * 50 * (3 + 2 + 6))
    together = map_em(X, init=start)
    assert together.mixture.means.shape == (2, 3, 3, 3)
    assert together.n_iter.unique().numel() > 1
    for i, j in itertools.product(range(2), range(3)):
        alone = map_em(X[i, j], init=start[i, j])
        assert alone.n_iter == together.n_iter[i, j]
        torch.testing.assert_close(alone.mixture.means, together.mixture.means[i, j], rtol=0, atol=1e-9)
    shared = map_em(X, init=Mixture(start.weights[0, 0], X[0, 0, :3]))
    torch.testing.assert_close(shared.mixture.means[0, 0], together.mixture.means[0, 0], rtol=0, atol=1e-9)


def test_float32():
    X = paper_tasks(5, 3, 3, 100, seeded(10)).X
    start = Mixture(torch.full((5, 3), 1 / 3, dtype=torch.float64), X[:, :3])
    double = map_em(X, init=start, max_iter=20, tol=0)
    single = map_em(X.float(), init=Mixture(start.weights.float(), X[:, :3].float()), max_iter=20, tol=0)
    assert single.mixture.means.dtype == single.objective_per_point.dtype == torch.float32
    # a log joint is off by (d + 8) u R^2 = 11 x 6e-8 x 300 = 2e-4, a mean by 17 > R times that; it contracts
    torch.testing.assert_close(single.mixture.means.double(), double.mixture.means, rtol=0, atol=17 * 2e-4)


X = paper_tasks(2, 2, 3, 10, seeded(11)).X
START = Mixture(torch.full((2, 3), 1 / 3, dtype=torch.float64), X[:, :3])
LOPSIDED = Mixture(f64([0.1, 0.2, 0.7]).expand(2, 3), X[:, :3])
ROUND = Mixture(START.weights, START.means, torch.ones(2, 3, dtype=torch.float64), "spherical")


@pytest.mark.parametrize(
    ("data", "changes", "match"),
    [
        (X * torch.nan, {}, r"X\[0, 0, 0\] is nan, needs finite"),
        (X[:, :3], {}, "X has 3 points, needs more than n_components = 3"),
        (X, {"n_components": None}, "n_components is None, needs an integer unless"),
        (X, {"n_components": 0}, "n_components is 0, needs"),
        (X, {"generator": None}, "generator is None, needs"),
        (X, {"init": "kmeans"}, "init is 'kmeans', needs a Mixture or one of"),
        (X, {"box": 0.0}, "box is 0.0, needs a finite number > 0"),
        (X, {"box": math.nan}, "box is nan, needs"),
        (X, {"raw_range": (0.5, 0.5)}, r"raw_range is \(0.5, 0.5\), needs 0 < low < high"),
        (X, {"raw_range": (0.0, 0.5)}, "raw_range is"),
        (X, {"n_init": 0}, "n_init is 0, needs"),
        (X, {"max_iter": 0}, "max_iter is 0, needs"),
        (X, {"tol": -1.0}, "tol is -1.0, needs >= 0"),
        (X, {"init": LOPSIDED}, r"init has weights of ratio 6\.9.*, needs < 4.0 of raw_range"),
        (X, {"init": START, "n_init": 2}, "n_init is 2, needs 1"),
        (X, {"init": START, "n_components": 4}, "n_components is 4, needs 3"),
        (X, {"init": ROUND}, "init has covariance_type 'spherical', needs 'unit'"),
        (X.float(), {"init": START}, "X is torch.float32"),
        (X[0], {"init": START}, r"init has batch shape \(2,\), needs one that broadcasts to \(\)"),
    ],
)
def test_refuses(data, changes, match):
    with pytest.raises(ValueError, match=match) as caught:
        map_em(data, **({"n_components": 3, "generator": seeded(0)} | changes))
    assert "\n" not in str(caught.value)


def test_weights_step_refuses_too_few_points():
    with pytest.raises(ValueError, match=r"the shares sum to 3\.0, needs more than K = 3"):
        weights_step(f64([[2.0, 1.0, 0.0], [5.0, 5.0, 5.0]]))
    assert torch.isfinite(weights_step(f64([2.1, 1.0, 0.0]))).all()
