"""Gradient ascent on the likelihood: gradient, proved increase, torch's own optimiser, EM's maxima."""

import pytest
import torch
from em_instances import instance
from hypothesis import given, settings
from hypothesis import strategies as st
from tensor_instances import seeded

from baselines.em import em
from baselines.em_parameters import Parameters
from baselines.em_steps import em_step
from baselines.likelihood_descent import gradient, likelihood_descent
from baselines.mixture import Mixture
from baselines.points import prepare
from baselines.tasks import paper_tasks

SEEDS = st.integers(0, 2**31 - 1)
FEW = settings(max_examples=20, deadline=None)
U = 2.0**-53


def level_by_hand(X, logits, means):
    """L = (1/N) sum_n log sum_k softmax(a)_k N(x_n; mu_k, I) without the constant (d/2) log(2 pi)."""
    squares = (X.unsqueeze(-2) - means.unsqueeze(-3)).square().sum(-1)
    return torch.logsumexp(torch.log_softmax(logits, -1).unsqueeze(-2) - 0.5 * squares, -1).mean(-1)


def autograd(X, logits, means):
    """Gradients of every task's L."""
    logits, means = logits.clone().requires_grad_(), means.clone().requires_grad_()
    return torch.autograd.grad(level_by_hand(X, logits, means).sum(), (logits, means))


def rounding(X):
    """2 (d + 8) u R^2 for a responsibility, R < 60 between two points or means, N u for a sum, R times it for
    a gradient, and the same again for autograd's."""
    return 2 * (2 * (X.shape[-1] + 8) * 60**2 + X.shape[-2]) * 2 * U * 60


@FEW
@given(SEEDS, st.integers(1, 5), st.integers(1, 4))
def test_gradient_is_autograds(seed, K, d):
    X, start = instance(seed, d, K, 30, batch=(3,))
    points = prepare(X, None, None)
    level, of_logits, of_means = gradient(
        points, Parameters(start.weights, start.means - points.centre, None)
    )
    exact_logits, exact_means = autograd(X, start.weights.log(), start.means)
    torch.testing.assert_close(of_logits, exact_logits, rtol=0, atol=rounding(X))
    torch.testing.assert_close(of_means, exact_means, rtol=0, atol=rounding(X))
    torch.testing.assert_close(level, start.log_likelihood_per_point(X), rtol=0, atol=rounding(X))


@FEW
@given(SEEDS, st.integers(1, 5), st.integers(1, 4), st.sampled_from([0.01, 0.5, 1.0, 1.9, 2.0]))
def test_the_proved_increase(seed, K, d, step_size):
    """L(z + s g) >= L(z) + s (1 - s/2) |g|^2 at each of 6 steps."""
    X, start = instance(seed, d, K, 30, batch=(3,))
    mixture = start
    for _ in range(6):
        of_logits, of_means = autograd(X, mixture.weights.log(), mixture.means)
        length = of_logits.square().sum(-1) + of_means.square().sum((-2, -1))
        result = likelihood_descent(X, init=mixture, step_size=step_size, max_iter=1, tol=0)
        before, after = result.history.unbind(-1)
        assert (after - before >= step_size * (1 - step_size / 2) * length - rounding(X)).all()
        mixture = result.mixture


def test_a_step_that_is_too_large_can_lower_it():
    X = paper_tasks(10, 2, 3, 40, seeded(1)).X
    result = likelihood_descent(X, 3, step_size=20.0, max_iter=10, tol=0, generator=seeded(2))
    assert (result.history.diff(dim=-1) < -0.1).any()
    monotone = likelihood_descent(X, 3, step_size=2.0, max_iter=10, tol=0, generator=seeded(2))
    assert (monotone.history.diff(dim=-1) >= -rounding(X)).all()


@pytest.mark.parametrize(("step_size", "momentum"), [(1.0, 0.0), (0.5, 0.9)])
def test_is_torchs_optimiser(step_size, momentum):
    """Thirty steps of torch.optim.SGD; what one step rounds, later ones do not magnify near a maximum."""
    X, start = instance(3, 3, 3, 40, batch=(4,))
    logits = start.weights.log().clone().requires_grad_()
    means = start.means.clone().requires_grad_()
    optimiser = torch.optim.SGD([logits, means], lr=step_size, momentum=momentum, maximize=True)
    for _ in range(30):
        optimiser.zero_grad()
        level_by_hand(X, logits, means).sum().backward()
        optimiser.step()
    result = likelihood_descent(X, init=start, step_size=step_size, momentum=momentum, max_iter=30, tol=0)
    tolerance = 30 * rounding(X)
    torch.testing.assert_close(result.mixture.means, means.detach(), rtol=0, atol=tolerance)
    torch.testing.assert_close(result.mixture.weights, logits.detach().softmax(-1), rtol=0, atol=tolerance)
    assert (result.n_iter == 30).all()
    assert not result.converged.any()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_stops_where_em_stands_still(momentum):
    """EM moves mu_k by g N/W_k and pi_k by g exactly: by at most tol over the least share, and tol."""
    X = paper_tasks(8, 3, 3, 80, seeded(4)).X
    result = likelihood_descent(X, 3, momentum=momentum, max_iter=5000, tol=1e-6, generator=seeded(5))
    assert result.converged.all()
    moved, shares, _ = em_step(X, result.mixture)
    share = (shares.sum(-1) / 80).amin(-1)
    reach = (moved.means - result.mixture.means).norm(dim=-1).amax(-1)
    assert (reach <= 1e-6 / share + rounding(X)).all()
    assert ((moved.weights - result.mixture.weights).abs() <= 1e-6 + rounding(X)).all()
    loose = likelihood_descent(X, 3, momentum=momentum, max_iter=5000, tol=1e-2, generator=seeded(5))
    assert (loose.n_iter < result.n_iter).all()


@pytest.mark.parametrize("init", ["k-means++", "plain-k-means++", "random-points", "normal"])
def test_starts_are_those_of_em(init):
    X = paper_tasks(6, 2, 3, 40, seeded(6)).X
    mine = likelihood_descent(X, 3, init=init, max_iter=1, tol=0, generator=seeded(7))
    peer = em(X, 3, init=init, max_iter=1, tol=0, generator=seeded(7))
    assert torch.equal(mine.history[:, 0], peer.history[:, 0])


def test_a_task_that_starts_at_the_end_takes_no_step():
    X, start = instance(8, 2, 1, 30)
    start = Mixture(start.weights, X.mean(0, keepdim=True))
    result = likelihood_descent(X, init=start, tol=1e-9)
    assert result.converged
    assert result.n_iter == 0
    torch.testing.assert_close(result.mixture.means, start.means, rtol=0, atol=1e-14)


def test_restarts_batch_shape_and_dtype():
    X = paper_tasks(6, 2, 4, 40, seeded(9)).X.float().reshape(2, 3, 40, 2)
    settings_ = {"init": "normal", "max_iter": 60, "momentum": 0.5}
    together = likelihood_descent(X, 4, n_init=3, generator=seeded(10), **settings_)
    assert together.mixture.means.shape == (2, 3, 4, 2)
    assert together.mixture.means.dtype == torch.float32
    generator = seeded(10)
    alone = [likelihood_descent(X, 4, generator=generator, **settings_) for _ in range(3)]
    best = torch.stack([run.objective_per_point for run in alone]).amax(0)
    assert torch.equal(together.objective_per_point, best)
    assert together.restart.unique().numel() > 1


X = paper_tasks(2, 2, 3, 10, seeded(11)).X


@pytest.mark.parametrize(
    ("data", "changes", "match"),
    [
        (X * torch.nan, {}, r"X\[0, 0, 0\] is nan, needs finite"),
        (X[:, :2], {}, "X has 2 points, needs at least n_components = 3"),
        (X, {"step_size": 0.0}, "step_size is 0.0, needs a finite number > 0"),
        (X, {"step_size": float("nan")}, "step_size is nan, needs"),
        (X, {"momentum": 1.0}, "momentum is 1.0, needs 0 <= momentum < 1"),
        (X, {"momentum": -0.1}, "momentum is -0.1, needs"),
        (X, {"generator": None}, "generator is None, needs"),
        (X, {"tol": float("nan")}, "tol is nan, needs >= 0"),
        (X, {"max_iter": 0}, "max_iter is 0, needs"),
        (X, {"n_components": None}, "n_components is None, needs"),
        (X, {"step_size": 1e300}, "means.* needs finite values"),
    ],
)
def test_refuses(data, changes, match):
    with pytest.raises(ValueError, match=match) as caught:
        likelihood_descent(data, **({"n_components": 3, "generator": seeded(0)} | changes))
    assert "\n" not in str(caught.value)
