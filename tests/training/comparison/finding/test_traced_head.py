"""A head trained on the trace: derivatives, what is not seen, where flows end, the bound on their rate."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from training.comparison.finding.traced_head import TracedHead, factor_flow, form_flow


def small_head(seed=0, tasks=3, rows=4, keys=3, width=2):
    """Random rows; the last column of the keys is the same within a task: softmax does not see it."""
    rng = np.random.default_rng(seed)
    seen = rng.normal(size=(tasks, keys, width))
    same = np.broadcast_to(rng.normal(size=(tasks, 1, 1)), (tasks, keys, 1))
    queries, offset = rng.normal(size=(tasks, rows, width)), rng.normal(size=(tasks, keys))
    return TracedHead(queries, np.concatenate([seen, same], -1), offset, rng.normal(size=(width, width + 1)))


HEAD = small_head()


def torch_loss(form):
    h, g, o = (torch.from_numpy(part) for part in (HEAD.queries, HEAD.keys, HEAD.offset))
    return -(torch.from_numpy(HEAD.wanted) * (h @ form @ g.mT + o[:, None]).log_softmax(-1)).sum(-1).mean()


def test_derivatives_are_those_of_the_cross_entropy():
    form = torch.from_numpy(np.random.default_rng(1).normal(size=HEAD.target.shape)).requires_grad_(True)
    gradient, hessian = torch.autograd.grad(torch_loss(form), form)[0], None
    hessian = torch.autograd.functional.hessian(torch_loss, form).reshape(6, 6)
    at = form.detach().numpy()
    assert np.abs(HEAD.gradient(at) - gradient.numpy()).max() < 1e-14  # sums of 36 terms of size 1 / 12
    assert np.abs(HEAD.hessian(at) - hessian.numpy()).max() < 1e-14
    gap = float(torch_loss(form.detach()) - torch_loss(torch.from_numpy(HEAD.target)))
    assert HEAD.loss(at) == pytest.approx(gap, rel=1e-12)
    assert HEAD.loss(HEAD.target) == 0


def test_what_softmax_does_not_see():
    assert HEAD.seen.shape == (6, 4)
    assert HEAD.is_product
    unseen = np.array([[0.0, 0.0, 5.0], [0.0, 0.0, -2.0]])
    assert HEAD.distance(HEAD.target + unseen) < 1e-14
    assert np.abs(HEAD.visible(unseen)).max() < 1e-14
    assert HEAD.distance(HEAD.target + np.eye(2, 3)) > 0.1  # the control
    few = replace(HEAD, queries=HEAD.queries[:1, :2], keys=HEAD.keys[:1, :2], offset=HEAD.offset[:1, :2])
    assert few.is_product  # two rows, one difference
    bound = np.concatenate([few.queries[:, :1], few.keys[:, :1, :2]])  # h of each task with its own g alone
    apart = TracedHead(bound, np.stack([HEAD.keys[0, :2], HEAD.keys[1, :2]]), np.zeros((2, 2)), HEAD.target)
    assert not apart.is_product  # 2 directions of the 4 of the product


def test_the_flow_of_the_form_ends_at_the_projection_no_slower_than_the_bound():
    start = np.random.default_rng(2).normal(size=HEAD.target.shape)
    times, forms = form_flow(HEAD, start, 40 / HEAD.slowest)
    end = start - HEAD.visible(start - HEAD.target)
    allowed = len(times) * 1e-6 * (1 + np.abs(forms).max())  # as many steps of the integrator's tolerance
    assert np.abs(forms[-1] - end).max() < allowed
    apart = np.array([np.linalg.norm(HEAD.visible(form - HEAD.target)) for form in forms])
    rate = HEAD.slowest * np.exp(-apart[0] * HEAD.widest)
    assert (apart <= apart[0] * np.exp(-rate * times) + allowed).all()
    assert (apart >= apart[0] * np.exp(-times * HEAD.widest**2) - allowed).all()
    wrong = replace(HEAD, target=2 * HEAD.target)  # the control: another target, another end
    assert HEAD.distance(form_flow(wrong, start, 40 / wrong.slowest)[1][-1]) > 0.1


def test_the_flow_of_factors_is_that_of_an_explicit_integrator_and_arrives():
    rng = np.random.default_rng(3)
    start = rng.normal(size=(2, 2)), rng.normal(size=(3, 2))

    def velocity(_, flat):
        q, k = flat[:4].reshape(2, 2), flat[4:].reshape(3, 2)
        gradient = HEAD.gradient(q @ k.T)
        return -np.concatenate([(gradient @ k).ravel(), (gradient.T @ q).ravel()])

    flat = np.concatenate([part.ravel() for part in start])
    checked = solve_ivp(velocity, (0, 5), flat, "DOP853", rtol=1e-10, atol=1e-10).y[:, -1]
    times, forms = factor_flow(HEAD, start, 5.0)
    wanted = checked[:4].reshape(2, 2) @ checked[4:].reshape(3, 2).T
    assert np.abs(forms[-1] - wanted).max() < len(times) * 1e-6 * (1 + np.abs(flat).max()) ** 2
    times, forms = factor_flow(HEAD, start, 200 / HEAD.slowest)
    assert HEAD.distance(forms[0]) > 1
    assert HEAD.distance(forms[-1]) < 1e-5
    still = factor_flow(HEAD, (np.zeros((2, 2)), np.zeros((3, 2))), 5.0)[1][-1]
    assert np.array_equal(still, np.zeros((2, 3)))  # the control: a saddle holds what starts on it
