"""The norm in which a path of EM is bounded, by hand: what a step disturbs, and what a radius allows."""

import math
from types import SimpleNamespace

import pytest
import torch

from constructions import em_construction
from constructions.em.bounds import StepData
from constructions.em.derivative import Derivative, State, block_movement, derivative
from constructions.em.path_bounds import _disturbance, path_bound
from constructions.language.rounding import unit_roundoff

X = torch.tensor([[[-2.0], [-1.0], [1.0], [3.0]]], dtype=torch.float64)
EVERYTHING = {
    "token_mask": torch.ones(1, 4, dtype=torch.bool),
    "component_mask": torch.ones(1, 2, dtype=torch.bool),
    "n_features": torch.ones(1, dtype=torch.long),
}


def path_of(em, weights, means, **named):
    """Bounds of the steps of a run whose states are given."""
    weights, means = (torch.tensor(v, dtype=torch.float64)[None] for v in (weights, means))
    everything = EVERYTHING | named
    return weights, path_bound(em, X, path_weights=weights, path_means=means[..., None], **everything)


def test_a_step_disturbs_means_and_logarithms_of_weights():
    """sum_k p_k (dmu_k^2 + da_k^2), p = (1/4, 3/4); mu off by 0.3 and 0, pi of 1/2 by 1/4: a by log 2."""
    given = {"exact_weights": [[0.5, 0.5]], "weight_instance": [[0.25, 0.25]], "mean_instance": [[0.3, 0.0]]}
    bound = SimpleNamespace(**{name: torch.tensor(v, dtype=torch.float64) for name, v in given.items()})
    then = torch.tensor([[0.25, 0.75]], dtype=torch.float64)
    found = _disturbance(bound, then, EVERYTHING["component_mask"])
    assert found.item() == pytest.approx(math.sqrt(0.25 * 0.09 + math.log(2) ** 2))


def test_one_step_is_bounded_component_by_component():
    """Nothing is carried yet: a component has its own bounds, however far the others are off."""
    em = em_construction(1, 2, 1, 16, radius=4.0)
    weights, bound = path_of(em, [[0.5, 0.5], [0.2, 0.8]], [[-1.0, 1.0], [-1.5, 1.5]])
    assert torch.equal(bound.mean[:, 0], bound.steps[0].mean_instance)
    assert torch.equal(bound.weight[:, 0], bound.steps[0].weight_instance)
    assert (bound.radius[:, 1] / weights[:, 1].sqrt() > 1.2 * bound.mean[:, 0]).any()


def test_a_step_carries_on_what_its_rows_do():
    """mean: beta_k + c_k / sqrt(p_k); weight: beta'_k + pi_k (e^(c'_k / sqrt(p_k)) - 1); by hand, 2 steps."""
    em = em_construction(1, 2, 1, 256, radius=4.0)
    states = [[0.5, 0.5], [0.45, 0.55], [0.4, 0.6]], [[-1.0, 1.0], [-1.3, 1.6], [-1.4, 1.9]]
    weights, bound = path_of(em, *states, refreshed=True)
    means = torch.tensor(states[1], dtype=torch.float64)[None, 1, :, None]
    first, second = bound.steps
    logs = -torch.log1p(-first.weight_instance / first.exact_weights)
    reach = (first.mean_instance.square() + logs.square()).sqrt()
    data = StepData.uniform(X, weights[:, 1], means, True)
    moves = derivative(data, second, weights[:, 2], reach)
    log_moved, mean_moved = moves.carried(bound.radius[:, 1], weights[:, 1].sqrt() * reach)
    assert (mean_moved > 0.1 * bound.radius[:, 1]).all()
    expected = second.mean_instance + mean_moved / weights[:, 2].sqrt()
    torch.testing.assert_close(bound.mean[:, 1], expected, rtol=1e-12, atol=0)
    expected = second.weight_instance + second.exact_weights * torch.expm1(log_moved / weights[:, 2].sqrt())
    torch.testing.assert_close(bound.weight[:, 1], expected, rtol=1e-12, atol=0)
    assert bound.lipschitz[0, 1] == moves.factor


def test_what_is_carried_is_the_smaller_of_the_whole_and_of_the_blocks():
    """Two components in d = 1; J maps (a_1, mu_1, a_2, mu_2), the movement is 0.1 and 0.2, 0.3 and 0."""
    J = torch.tensor([[3.0, 0, 4, 0], [0, 1, 0, 0], [0, 0, 5, 12], [0, 0, 8, 6]], dtype=torch.float64)
    moved = torch.tensor([[[0.3, 0.4], [0.3, 0.0]]], dtype=torch.float64)
    moves = Derivative(J.view(1, 2, 2, 2, 2), moved, torch.tensor([True]))

    def carried(radius, *apart):
        parts = torch.tensor([radius], dtype=torch.float64), torch.tensor([apart], dtype=torch.float64)
        return [part[0].tolist() for part in moves.carried(*parts)]

    log_weight, mean = carried(1.0, 1.0, 1.0)  # whole rows: norms 5, 13; 1, 10; movement 0.5, 0.3
    assert log_weight + mean == pytest.approx([5.5, 13.3, 1.5, 10.3])
    log_weight, mean = carried(1.0, 1.0, 0.1)  # blocks: 3 + 0.4, 1.3; 1, 1.0; movement 0.34, 0.3
    assert log_weight + mean == pytest.approx([3.74, 1.6, 1.34, 1.3])
    assert carried(0.0, 0.0, 0.0) == [[0.0, 0.0], [0.0, 0.0]]


def test_approximation_and_rounding_are_carried_by_the_same_factors():
    """r^A_{t+1} = b^A_t + Lip_t r^A_t, the rest of r alike with the rest of b; float32, 2 steps."""
    em = em_construction(1, 2, 1, 256, radius=4.0)
    states = [[0.5, 0.5], [0.45, 0.55], [0.4, 0.6]], [[-1.0, 1.0], [-1.3, 1.6], [-1.4, 1.9]]
    weights, bound = path_of(em, *states, dtype=torch.float32)
    rest = bound.radius - bound.approximation
    assert bound.holds.all()
    for t, step in enumerate(bound.steps):
        then = weights[:, t + 1]
        whole, exact = (
            _disturbance(b, then, EVERYTHING["component_mask"]) for b in (step, step.without_rounding())
        )
        carried = bound.lipschitz[:, t] * bound.approximation[:, t]
        assert bound.approximation[0, t + 1].item() == pytest.approx((exact + carried).item(), rel=1e-15)
        expected = whole - exact + bound.lipschitz[:, t] * rest[:, t]
        assert rest[0, t + 1].item() == pytest.approx(expected.item(), rel=1e-9)
        assert 0 < exact < whole
    for parts in ((bound.mean_approximation, bound.mean), (bound.weight_approximation, bound.weight)):
        assert (parts[0] < parts[1]).all()
        assert (parts[0][:, 1] > 0).all()


def test_without_rounding_a_step_is_bounded_in_every_dtype_alike():
    """The states are given, so only rounding knows the dtype."""
    em = em_construction(1, 2, 1, 256, radius=4.0)
    states = [[0.5, 0.5], [0.45, 0.55]], [[-1.0, 1.0], [-1.3, 1.6]]
    one, other = (path_of(em, *states, dtype=dtype)[1] for dtype in (torch.float32, torch.float64))
    # A difference of two bounds, with as many digits as the larger has.
    slack = 8 * unit_roundoff(torch.float64) * one.mean
    assert ((one.mean_approximation - other.mean_approximation).abs() <= slack).all()
    assert (one.mean - one.mean_approximation > 1e6 * (other.mean - other.mean_approximation)).all()


def test_what_the_starts_are_apart_is_carried_as_rounding():
    em = em_construction(1, 2, 1, 256, radius=4.0)
    states = [[0.5, 0.5], [0.45, 0.55]], [[-1.0, 1.0], [-1.3, 1.6]]
    _, alone = path_of(em, *states)
    _, apart = path_of(em, *states, start=torch.tensor([1e-3], dtype=torch.float64))
    carried = 1e-3 * apart.lipschitz[0, 0].item()
    assert carried > 1e-5
    assert (apart.radius - alone.radius)[0, 1].item() == pytest.approx(carried)
    assert torch.equal(apart.approximation, alone.approximation)


@pytest.mark.parametrize(("floor", "holds"), [(0.1, True), (0.3, False), (0.2, False)])
def test_nothing_is_claimed_once_a_weight_is_not_above_the_floor(floor, holds):
    em = em_construction(1, 2, 1, 4096, floor=floor, radius=4.0)
    _, bound = path_of(em, [[0.5, 0.5], [0.2, 0.8]], [[-1.0, 1.0], [-1.5, 1.5]])
    assert bound.holds.tolist() == [[holds]]
    assert bound.radius[0, 1].isfinite().item() == holds


def test_how_far_the_derivative_moves_in_a_ball():
    """Points -1 and 1, both means 0, weights 1/2: w = 1/2, W = 1, psi = phi = sqrt 2, every block alike.

    With reach r a logit moves by e = r phi + r^2/2, so w lies in [l, h] = [s(-2 e), s(2 e)], s the logistic
    function, and the new mean within t = (h - l)/(2 l). An entry w_ik w_ij / W_k = 1/4 moves by at most
    c = max(h^2/(2 l) - 1/4, 1/4 - l^2/(2 h)), so the block, two points, by 2 (c psi phi +
    h^2/(2 l) (t phi + (psi + t) r)).
    """
    X = torch.tensor([[[-1.0], [1.0]]], dtype=torch.float64)
    two, r = torch.ones(1, 2, dtype=torch.bool), 0.1
    data = StepData(
        X,
        two,
        torch.full((1, 2), 0.5).double(),
        torch.zeros(1, 2, 1).double(),
        two,
        torch.ones(1).long(),
        True,
    )
    exact = {"share_error": torch.zeros(1, 1), "centre_error": torch.zeros(1, 1)}
    state = State.at(data, SimpleNamespace(exact_means=data.means, **exact))
    found = block_movement(state, torch.full((1, 2), r, dtype=torch.float64))
    e = r * math.sqrt(2) + r * r / 2
    low, high = 1 / (1 + math.exp(2 * e)), 1 / (1 + math.exp(-2 * e))
    shift, most = (high - low) / (2 * low), high * high / (2 * low)
    change = max(most - 1 / 4, 1 / 4 - low * low / (2 * high))
    expected = 2 * (change * 2 + most * (shift * math.sqrt(2) + (math.sqrt(2) + shift) * r))
    torch.testing.assert_close(
        found, torch.full((1, 2, 2), expected, dtype=torch.float64), rtol=1e-12, atol=0
    )
