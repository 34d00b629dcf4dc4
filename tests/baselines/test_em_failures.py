"""Where EM has no answer it says so, for that task and component, and leaves the other tasks alone."""

import pytest
import torch
from em_instances import COVARIANCE_TYPES, instance

from baselines.em import Status, em
from baselines.em_steps import DegenerateComponentError, e_step, em_step, m_step
from baselines.mixture import Mixture


def with_one_changed(start, task, means=None, covariances=None):
    new_means, new_covariances = start.means.clone(), start.covariances
    if means is not None:
        new_means[task] = means
    if covariances is not None:
        new_covariances = start.covariances.clone()
        new_covariances[task] = covariances
    return Mixture(start.weights, new_means, new_covariances, start.covariance_type)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_empty_component_is_reported(covariance_type):
    X, good = instance(4, 2, 3, 60, covariance_type, batch=(4,))
    far = good.means[2].clone()
    far[1] = 1e4
    bad = with_one_changed(good, 2, means=far)
    result, reference = em(X, init=bad), em(X, init=good)
    assert result.status[2] == Status.EMPTY
    assert result.component[2] == 1
    assert result.n_iter[2] == 0
    torch.testing.assert_close(result.mixture.means[2], far, rtol=1e-15, atol=1e-12)
    for task in (0, 1, 3):
        assert result.status[task] == Status.CONVERGED
        assert result.component[task] == -1
        torch.testing.assert_close(result.mixture.means[task], reference.mixture.means[task])
    with pytest.raises(
        DegenerateComponentError, match=r"component 1 of task \(2,\) is empty: .*0\.0"
    ) as caught:
        em_step(X, bad)
    assert (caught.value.task, caught.value.component, caught.value.reason) == ((2,), 1, "empty")


@pytest.mark.parametrize("covariance_type", ["spherical", "diagonal", "full"])
def test_collapse_onto_one_point_is_reported(covariance_type):
    """A component alone with one far point loses its whole variance in a step."""
    X, good = instance(4, 2, 3, 60, covariance_type, batch=(3,))
    X[1, 0] = 200.0
    means = good.means[1].clone()
    means[2] = 200.0
    start = with_one_changed(good, 1, means=means)
    result = em(X, init=start)
    assert result.status.tolist() == [Status.CONVERGED, Status.SINGULAR, Status.CONVERGED]
    assert result.component.tolist() == [-1, 2, -1]
    assert torch.isfinite(result.history[1, : int(result.n_iter[1]) + 1]).all()
    with pytest.raises(DegenerateComponentError, match=r"component 2 of task \(1,\) is singular"):
        em_step(X, start)


@pytest.mark.parametrize("covariance_type", ["tied", "full"])
def test_points_on_a_line_are_singular(covariance_type):
    X, _ = instance(4, 1, 2, 60)
    X = torch.cat([X, 2 * X + 1], dim=-1)
    result = em(X, 2, covariance_type=covariance_type, generator=torch.Generator().manual_seed(0))
    assert result.status == Status.SINGULAR
    assert result.n_iter == 0
    identity = torch.eye(2, dtype=torch.float64).expand(result.mixture.covariances.shape)
    assert torch.equal(result.mixture.covariances, identity)


@pytest.mark.parametrize("covariance_type", ["tied_spherical", "spherical", "diagonal", "tied", "full"])
def test_variances_below_the_normal_numbers_are_singular(covariance_type):
    X, _ = instance(4, 2, 2, 40)
    result = em(1e-160 * X, 2, covariance_type=covariance_type, generator=torch.Generator().manual_seed(0))
    assert result.status == Status.SINGULAR
    assert result.n_iter == 0


@pytest.mark.parametrize("covariance_type", ["tied_spherical", "spherical", "diagonal", "tied", "full"])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e8])
def test_equal_points_are_singular(covariance_type, value):
    X = torch.full((6, 2), value, dtype=torch.float64)
    result = em(X, 2, covariance_type=covariance_type, generator=torch.Generator().manual_seed(0))
    assert result.status == Status.SINGULAR
    torch.testing.assert_close(result.mixture.means, X[:2], rtol=1e-15, atol=0)


def test_equal_points_are_no_trouble_with_unit_covariance():
    X = torch.full((6, 2), 0.1, dtype=torch.float64)
    result = em(X, 2, generator=torch.Generator().manual_seed(0))
    assert result.status == Status.CONVERGED
    torch.testing.assert_close(result.mixture.means, X[:2], rtol=1e-15, atol=0)


def test_overflow_is_reported():
    X, good = instance(4, 2, 2, 40, "spherical", batch=(2,))
    start = with_one_changed(good, 0, covariances=torch.full((2,), 3e-308, dtype=torch.float64))
    result = em(X, init=start)
    assert result.status.tolist() == [Status.OVERFLOW, Status.CONVERGED]
    assert result.n_iter[0] == 0
    torch.testing.assert_close(result.mixture.means[0], start.means[0])
    e_step(X, start)  # the densities are within range: it is the square of EM, expanded, that is not
    with pytest.raises(ValueError, match="leaves the range of torch"):
        e_step(10 * X, start)


def test_a_failed_restart_loses_to_a_sound_one():
    """Collapsing restarts reach a higher likelihood on the way; they must not be preferred for it."""
    X, _ = instance(9, 2, 4, 24, batch=(64,))
    generator = torch.Generator().manual_seed(0)
    runs = [
        em(X, 4, covariance_type="spherical", init="random-points", generator=generator) for _ in range(8)
    ]
    failed = torch.stack([run.status == Status.SINGULAR for run in runs])
    levels = torch.stack([run.log_likelihood_per_point for run in runs])
    best = em(
        X,
        4,
        covariance_type="spherical",
        init="random-points",
        n_init=8,
        generator=torch.Generator().manual_seed(0),
    )
    sound = ~failed.all(0)
    tempting = sound & failed.gather(0, levels.argmax(0, keepdim=True))[0]
    assert tempting.any()
    assert (best.status[sound] <= Status.MAX_ITER).all()
    expected = levels.masked_fill(failed, -torch.inf).amax(0)
    assert torch.equal(best.log_likelihood_per_point[sound], expected[sound])


def test_m_step_names_the_empty_component():
    X = torch.arange(6, dtype=torch.float64).reshape(3, 2)
    shares = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    with pytest.raises(DegenerateComponentError, match=r"component 1 of task \(\) is empty"):
        m_step(X, shares)
    one_point = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    with pytest.raises(DegenerateComponentError, match=r"component 1 of task \(\) is singular"):
        m_step(X, one_point, "spherical")
    torch.testing.assert_close(m_step(X, one_point).means[1], X[2])
