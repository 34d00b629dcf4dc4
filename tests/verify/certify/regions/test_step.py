"""One step over a box: the derivatives against finite differences, the new states against samples."""

import numpy as np
import pytest
import torch
from region_samples import drawn, members

from constructions.em.weights import em_construction
from verify.certify.regions.box import Box
from verify.certify.regions.chords import Hinges
from verify.certify.regions.intervals import Interval, concatenate
from verify.certify.regions.step import Step


def em_map(X, state):
    """(N, d), (K, 1 + d) -> (K, 1 + d) exact EM in float64."""
    w = torch.softmax(X @ state[:, 1:].mT + state[:, 0] - state[:, 1:].square().sum(-1) / 2, -1)
    return torch.cat([w.mean(0).log()[:, None], w.mT @ X / w.sum(0)[:, None]], 1)


def state_of(box):
    return concatenate([box.weights.log()[:, None], box.means], 1)


@pytest.mark.parametrize(("d", "K"), [(1, 1), (1, 3), (2, 2), (3, 3)])
def test_derivatives_at_a_point_are_those_of_autograd(d, K):
    rng = np.random.default_rng(d * 10 + K)
    X, weights, means = drawn(rng, 7, d, K)
    box = Box.around(X, weights, means)
    state = state_of(box)
    over = Step.over(box.points, state)
    X, at = torch.tensor(X), torch.tensor(state.middle)
    by_points, by_state = torch.autograd.functional.jacobian(em_map, (X, at))
    for found, exact in ((over.by_points(), by_points), (over.by_state(), by_state)):
        exact = exact.reshape(found.shape).numpy()
        assert np.allclose(found.lo, exact, rtol=1e-9, atol=1e-11)
        assert (found.hi - found.lo).max() < 1e-10
    assert np.allclose(over.after.middle, em_map(X, at).numpy(), rtol=1e-12, atol=1e-12)


def test_new_states_of_members_are_held():
    rng = np.random.default_rng(5)
    em = em_construction(2, 3, 1, 32)
    box = Box.around(*drawn(rng, 8, 2, 3), 0.05, mean_radius=0.02)
    over = Step.over(box.points, state_of(box))
    made, chords = over.constructed(Hinges.of(em.log_resp)), over.chord_errors(Hinges.of(em.log_resp))
    for X, weights, means in zip(*members(rng, box, 200), strict=True):
        X, state = torch.tensor(X), torch.tensor(np.column_stack([np.log(weights), means]))
        new = em_map(X, state).numpy()
        w = torch.softmax(X @ state[:, 1:].mT + state[:, 0] - state[:, 1:].square().sum(-1) / 2, -1)
        u = em.log_resp(w).exp()
        ours = (u.mT @ X / u.sum(0)[:, None]).numpy()
        for found, exact in ((over.after, new), (made[:, 1:], ours), (chords, ours - new[:, 1:])):
            assert (found.lo - 1e-12 <= exact).all()
            assert (exact <= found.hi + 1e-12).all()


def test_far_components_keep_their_shares():
    """Responsibilities below 1e-300 of a component: its mean is still known."""
    points = Interval.exact([[0.0], [0.5], [1.0]])
    state = Interval.exact([[np.log(0.5), 0.0], [np.log(0.5), 30.0]])
    over = Step.over(points, state)
    exact = em_map(torch.tensor(points.lo), torch.tensor(state.lo)).numpy()
    assert np.allclose(over.after.lo, exact, rtol=1e-12)
    assert np.allclose(over.after.hi, exact, rtol=1e-12)
