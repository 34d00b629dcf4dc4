"""Tasks as tokens of the construction, their read-out and their losses."""

import pytest
import torch

from baselines.metrics import errors
from baselines.mixture import Mixture
from constructions.language.hypotheses import HypothesisError
from constructions.language.rounding import gamma, unit_roundoff
from training.comparison.common.random_paths import StartsPurpose, generator_of
from training.comparison.common.regimes import em_iterates
from training.comparison.starts.learning.slotted_tasks import StartProblem
from training.serving.views import signed_permutations

U = unit_roundoff(torch.float64)
PROBLEM = StartProblem(2, dtype=torch.float64)


def drawn(K=3, size=6, N=20, images=1, seed=0):
    return PROBLEM.draw(size, K, N, generator_of(StartsPurpose.HELD_OUT, seed, K), images)


def constructed():
    return PROBLEM.construction.to_transformer(looped=False).requires_grad_(False)


@pytest.mark.parametrize("K", [2, 5])
def test_tokens_hold_points_and_the_start_of_their_slot(K):
    tasks, s = drawn(K), PROBLEM.construction.stream
    assert torch.equal(tasks.tokens[..., s.x.slice], tasks.X)
    slots = torch.arange(20) % K
    assert torch.equal(tasks.tokens[..., s.mu.slice], tasks.start.means[:, slots])
    assert torch.equal(tasks.tokens[..., s.slot.slice].argmax(-1), slots.expand(6, -1))
    assert tasks.present.sum(1).tolist() == [K] * 6
    # The start is found about the centre of the points, which is taken off and put back: two roundings each.
    assert float(torch.cdist(tasks.start.means, tasks.X).amin(-1).max()) <= 8 * U * float(tasks.X.abs().max())


def test_the_construction_comes_near_exact_steps_after_every_pair_of_layers():
    tasks = drawn(2)
    states = PROBLEM.states(constructed(), tasks)
    path = em_iterates(tasks.X, tasks.start, PROBLEM.steps)
    assert len(states) == PROBLEM.steps
    still = float(PROBLEM.em_losses(states[0], tasks, path[0]).mean())  # the control: EM moves
    for state, wanted in zip(states, path[1:], strict=True):
        assert float(PROBLEM.em_losses(state, tasks, wanted).mean()) < 0.05 * still
    looped = PROBLEM.states(PROBLEM.construction.to_transformer().requires_grad_(False), tasks)
    for one, other in zip(states, looped, strict=True):
        assert torch.equal(one, other)


def test_the_read_out_finds_slots_that_layers_have_written_over():
    tasks, s = drawn(), PROBLEM.construction.stream
    state = PROBLEM.states(constructed(), tasks)[-1]
    expected = PROBLEM.read(state, tasks)
    spoiled = state.clone()
    spoiled[..., s.slot.slice] = 7.0
    for one, other in zip(PROBLEM.read(spoiled, tasks), expected, strict=True):
        assert torch.equal(one, other)
    _, own = PROBLEM.readout.pool(spoiled, tasks.present)  # the control: by itself it does not
    assert not torch.allclose(own[:, :3], expected[1])


def test_the_loss_is_the_papers_metric():
    tasks = drawn()
    state = PROBLEM.states(constructed(), tasks)[-1]
    logits, means = PROBLEM.read(state, tasks)
    expected = errors(Mixture(logits.softmax(-1), means), tasks.truth).total
    # Sums of a few squares of numbers below 20, equal operations in another order.
    assert float((PROBLEM.truth_losses(state, tasks) - expected).abs().max()) <= 400 * gamma(20, U)
    estimate = PROBLEM.estimate(constructed(), tasks)
    assert float((errors(estimate, tasks.truth).total - expected).abs().max()) <= 400 * gamma(20, U)


def test_images_are_signed_permutations_of_fewer_tasks():
    tasks = drawn(size=8, images=4)
    assert len(tasks) == 8
    X = tasks.X.unflatten(0, (2, 4))
    for number, image in enumerate(signed_permutations(2, 4)):
        assert torch.equal(X[:, number], X[:, 0] @ image.mT)
        means = tasks.truth.means.unflatten(0, (2, 4))
        assert torch.equal(means[:, number], means[:, 0] @ image.mT)
    assert not torch.equal(X[0, 0], X[1, 0])


def test_steps_have_tasks_of_their_own_and_the_components_in_turn():
    batches = [PROBLEM.batch(4, 0, step) for step in range(5)]
    assert [one.truth.n_components for one in batches] == [2, 3, 4, 5, 2]
    assert all(64 <= one.X.shape[1] <= 128 for one in batches)
    assert torch.equal(PROBLEM.batch(4, 0, 3).tokens, batches[3].tokens)
    assert not torch.equal(batches[0].X[0, :64], batches[4].X[0, :64])
    assert not torch.equal(PROBLEM.batch(4, 1, 0).X[0, :64], batches[0].X[0, :64])


def test_points_beyond_the_radius_are_refused():
    tasks = drawn()
    with pytest.raises(HypothesisError, match="the radius is 12"):
        PROBLEM.slotted(3 * tasks.X, Mixture(tasks.start.weights, 3 * tasks.start.means), tasks.truth)


def test_a_network_that_is_not_finite_has_no_estimate():
    network = constructed()
    with torch.no_grad():
        network.layers[0].mlp.w1.fill_(torch.nan)
    tasks = drawn()
    with pytest.raises(ArithmeticError, match="not finite"):
        PROBLEM.estimate(network, tasks)
    assert bool(PROBLEM.truth_losses(PROBLEM.states(network, tasks)[-1], tasks).isnan().all())
