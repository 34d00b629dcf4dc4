"""Networks of the construction's shape: the problem, the starts, training, and what is said of them."""

import dataclasses

import pytest
import torch

from baselines.em import em
from baselines.metrics import errors
from baselines.mixture import Mixture
from constructions.language.rounding import gamma, unit_roundoff
from training.comparison.common.random_paths import OriginPurpose, generator_of
from training.comparison.origins.em_problem import EMProblem
from training.comparison.origins.measure import reference_levels
from training.comparison.origins.training_runs import (
    RunPlan,
    learning_rate,
    measure,
    measured_steps,
    radius_of_return,
    slot_blocks,
    starting_network,
    train,
)
from training.comparison.symmetry.alignment import align_transformers
from training.comparison.symmetry.random_network import random_like

U = unit_roundoff(torch.float64)
HELD_OUT = OriginPurpose.HELD_OUT
SMALL = EMProblem(n_features=2, n_components=2, n_samples=9, steps=1, pieces=6, dtype=torch.float64)


def points_and_starts(problem, examples):
    """X and the starting means, read back from the tokens."""
    s = problem.construction.stream
    return examples.tokens[..., s.x.slice], examples.tokens[:, : problem.n_components, s.mu.slice]


def test_examples_hold_exactly_as_many_steps_of_em():
    examples = SMALL.examples(7, HELD_OUT, 3)
    X, means = points_and_starts(SMALL, examples)
    start = Mixture(torch.full((7, 2), 0.5, dtype=torch.float64), means)
    expected = em(X, init=start, max_iter=SMALL.steps, tol=0.0).mixture
    # One step, from points that lie otherwise in memory. A log-density errs by (d + 8) u R^2, a share by
    # twice that, the sums over N by gamma_N, an average of points by R times as much; both sides.
    R = 2 * float(X.norm(dim=-1).max())
    tolerance = 2 * (2 * (2 + 8) * U * R**2 + gamma(2 * 9, U)) * max(1.0, R)
    assert SMALL.steps == 1
    assert (examples.em.means - expected.means).abs().max() <= tolerance
    assert (examples.em.weights - expected.weights).abs().max() <= tolerance
    more = em(X, init=start, max_iter=SMALL.steps + 1, tol=0.0).mixture
    assert (more.means - expected.means).abs().max() > 1e6 * tolerance


def test_starts_are_different_points_of_the_data():
    examples = SMALL.examples(20, HELD_OUT)
    X, means = points_and_starts(SMALL, examples)
    assert torch.equal(torch.cdist(means, X).amin(-1), torch.zeros(20, 2, dtype=torch.float64))
    assert bool((means[:, 0] != means[:, 1]).any(-1).all())


def test_losses_are_the_papers_metric():
    """em: in the order of the slots. truth: after the best permutation, as baselines.metrics has it."""
    examples = SMALL.examples(11, HELD_OUT, 5)
    network = SMALL.constructed()
    with torch.no_grad():
        weights, means = SMALL.outputs(network, examples)
        em_loss, truth_loss = (SMALL.losses(network, examples, target) for target in ("em", "truth"))
    expected = errors(Mixture(weights, means), examples.truth).total
    # Sums of a few squares of numbers below 10, and differences of equal operations in another order.
    tolerance = 100 * gamma(20, U)
    assert float((truth_loss - expected).abs().max()) <= tolerance
    ordered = (means - examples.em.means).square().mean((1, 2)) + (
        weights - examples.em.weights
    ).square().mean(1)
    assert float((em_loss - ordered).abs().max()) <= tolerance
    assert float(em_loss.max()) < 1  # the construction is near EM in every task: its pieces are 6


def test_a_network_that_is_not_finite_has_a_loss_that_is_not():
    network = SMALL.constructed()
    with torch.no_grad():
        network.layers[0].mlp.w1.fill_(torch.nan)
        for target in ("em", "truth"):
            assert bool(SMALL.losses(network, SMALL.examples(3, HELD_OUT), target).isnan().all())


def test_the_construction_is_near_em_and_a_still_network_returns_its_start():
    levels = reference_levels(SMALL, SMALL.examples(50, HELD_OUT))
    assert levels.construction.em < 0.1 * levels.start.em
    X, means = points_and_starts(SMALL, SMALL.examples(50, HELD_OUT))
    examples = SMALL.examples(50, HELD_OUT)
    weights = torch.full((50, 2), 0.5, dtype=torch.float64)
    expected = (means - examples.em.means).square().mean((1, 2)) + (
        weights - examples.em.weights
    ).square().mean(1)
    # The read-out leaks N e^-64 of other tokens, and takes log and exp of the weights once.
    assert levels.start.em == pytest.approx(float(expected.mean()), rel=1e-12)
    assert X.shape == (50, 9, 2)


@pytest.mark.parametrize("size", [1e-3, 0.1, 2.0])
@pytest.mark.parametrize("seed", [0, 7])
def test_noise_has_the_named_size_in_every_tensor(size, seed):
    before = starting_network(SMALL, RunPlan("constructed", "em", 1e-3, 1, seed)).requires_grad_(False)
    after = starting_network(SMALL, RunPlan("noise", "em", 1e-3, 1, seed, noise=size)).requires_grad_(False)
    for p, q in zip(before.parameters(), after.parameters(), strict=True):
        # The sum and the difference round by u |p| (1 + size) in all, at most 1e-13 / size of the noise.
        assert float((q - p).norm()) == pytest.approx(size * float(p.norm()), rel=1e-9, abs=1e-12)


def test_a_random_start_has_nothing_of_the_construction():
    """Its scores are as far from the construction's as unrelated scores of any norm: above 0.9 of it."""
    constructed = SMALL.constructed()
    network = starting_network(SMALL, RunPlan("random", "em", 1e-3, 1, 0))
    found = align_transformers(constructed, network, slot_blocks(SMALL)).by_kind
    other = align_transformers(
        constructed, random_like(constructed, torch.Generator().manual_seed(0)), slot_blocks(SMALL)
    )
    assert min(found.values()) > 0.9
    assert min(other.by_kind.values()) > 0.9
    near = starting_network(SMALL, RunPlan("noise", "em", 1e-3, 1, 0, noise=1e-3))
    assert align_transformers(constructed, near, slot_blocks(SMALL)).distance < 2e-3


def test_balancing_keeps_the_function():
    examples = SMALL.examples(20, HELD_OUT, 2)
    network = starting_network(SMALL, RunPlan("constructed", "em", 1e-3, 1, 0))
    # 2 layers of at most 60 units whose slopes reach 1e3 at floor 1e-3: about 1e3 * 100 u.
    assert SMALL.function_distance(network, SMALL.constructed(), examples) <= 1e5 * gamma(1, U)


def test_training_is_a_pure_function_and_measures_where_it_is_told():
    held_out = SMALL.examples(30, HELD_OUT)
    plan = RunPlan("noise", "em", 3e-3, 30, 4, noise=0.03, measured=(0, 10, 30))
    first, second = (train(SMALL, plan, held_out) for _ in range(2))
    assert first.curve == second.curve
    assert [point.step for point in first.curve] == [0, 10, 30]
    assert first.watched == second.watched
    assert [step for step, _ in first.watched] == list(range(31))
    assert first.watched[10][1] == first.curve[1].loss
    for p, q in zip(first.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(p, q)
    assert first.curve[-1].loss < first.curve[0].loss
    other = train(SMALL, dataclasses.replace(plan, seed=5), held_out)
    assert other.curve[-1].loss != first.curve[-1].loss


def test_a_rate_of_zero_changes_nothing():
    """The control of training: what it is said to change, it changes."""
    held_out = SMALL.examples(30, HELD_OUT)
    plan = RunPlan("noise", "em", 0.0, 10, 4, noise=0.03, measured=(0, 10))
    first, last = train(SMALL, plan, held_out).curve
    assert dataclasses.replace(last, step=first.step, gradient=first.gradient) == first


def test_a_run_that_breaks_off_keeps_what_was_measured():
    held_out = SMALL.examples(5, HELD_OUT)
    plan = RunPlan("noise", "em", 1e-3, 20, 0, noise=1e200, measured=(0, 20))
    run = train(SMALL, plan, held_out)
    assert [point.step for point in run.curve] == [0]


def test_measuring_the_construction_itself():
    held_out = SMALL.examples(30, HELD_OUT)
    found = measure(SMALL, SMALL.constructed(), held_out, "truth")
    assert found.function == 0
    assert found.weights <= 1e-10
    assert found.loss == found.truth != found.em


def test_the_rate_warms_up_and_ends_at_zero():
    plan = RunPlan("random", "em", 2.0, 1000, 0)
    rates = [learning_rate(plan, step) for step in range(1001)]
    assert rates[0] == pytest.approx(2.0 / 50)
    assert max(rates) == pytest.approx(2.0, rel=0.01)  # half a cosine has lost 0.6 % when the warm-up ends
    assert rates[-1] == 0
    assert rates[1000 // 2] == pytest.approx(1.0)


def test_steps_that_are_measured():
    assert measured_steps(1) == (0, 1)
    assert measured_steps(100) == (0, 1, 3, 10, 30, 100)
    assert measured_steps(1000) == (0, 1, 3, 10, 30, 100, 300, 1000)
    assert measured_steps(250) == (0, 1, 3, 10, 30, 100, 250)


def test_the_radius_ends_at_the_first_size_that_does_not_return():
    assert radius_of_return([0.1, 1e-3, 1e-2], [False, True, True]) == 1e-2
    assert radius_of_return([1e-3, 1e-2, 0.1], [True, False, True]) == 1e-3
    assert radius_of_return([1e-3, 1e-2], [False, True]) is None
    assert radius_of_return([1e-3], [True]) == 1e-3


def test_purposes_and_seeds_have_random_numbers_of_their_own():
    """torch's CPU generator reads 32 bits: seeds that differ beyond them would give the same numbers."""
    paths = [(purpose, seed, chunk) for purpose in OriginPurpose for seed in (0, 1, 1000) for chunk in (0, 1)]
    paths += [(HELD_OUT, 0), (HELD_OUT, 1), (HELD_OUT, 2**20)]
    drawn = [float(torch.rand(1, generator=generator_of(*path), dtype=torch.float64)) for path in paths]
    assert len(set(drawn)) == len(paths)
    assert torch.equal(SMALL.examples(3, HELD_OUT, 5).tokens, SMALL.examples(3, HELD_OUT, 5).tokens)
    held_out, batch = SMALL.examples(4, HELD_OUT, 0), next(SMALL.batches(4, 0))
    assert not torch.isin(held_out.truth.means, batch.truth.means).any()


def test_three_components_on_a_line_have_tasks():
    """Where two of three means have cosine 1; in the plane the limit is the paper's."""
    line = EMProblem(n_features=1, n_components=3, n_samples=8, steps=1, pieces=6)
    assert line.examples(5, HELD_OUT, 0).em.means.shape == (5, 3, 1)
    assert line.distribution.max_cosine > 1
    assert SMALL.distribution.max_cosine < 1
