"""Training one network: a pure function of its plan, measured where it is told, and what the changes are."""

import dataclasses
import math

import pytest
import torch

from training.comparison.common.regimes import em_iterates
from training.comparison.starts.learning.arms import RunPlan, WideSizes, starting_network
from training.comparison.starts.learning.levels import EM_STEPS, held_out, level, more_em, overall
from training.comparison.starts.learning.runs import (
    MUON_SHARE,
    PATH_SHARE,
    loss_of,
    optimisers_of,
    take_step,
    train,
    watched_steps,
)
from training.comparison.starts.learning.slotted_tasks import StartProblem
from training.trainer.muon import Muon

PROBLEM = StartProblem(2)
SIZES = WideSizes(width=32, heads=2, head_dim=9, hidden=90)
PLAN = RunPlan(2, "constructed", "none", 1e-3, 4, 0, tasks_per_step=4)


def asked():
    return held_out(PROBLEM, 4, 0)


def test_steps_that_are_watched():
    assert watched_steps(12, 12) == (0, 1, 2, 3, 4, 5, 7, 8, 10, 12)
    assert watched_steps(600, 4) == (0, 38, 150, 338, 600)
    assert watched_steps(3, 1) == (0, 3)


def test_training_is_a_pure_function_and_measures_where_it_is_told():
    first, second = (train(PROBLEM, PLAN, SIZES, asked()[:2], asked(), watches=2) for _ in range(2))

    def errors_of(run):
        return [(point.step, point.alone, point.with_em) for point in run.curve]

    assert errors_of(first) == errors_of(second)
    assert first.levels == second.levels
    assert [point.step for point in first.curve] == [0, 1, 4]
    assert [one.n_components for one in first.levels] == [2, 3, 4, 5]
    assert first.curve[0].seconds == 0 < first.curve[1].seconds < first.curve[2].seconds == first.seconds
    assert first.curve[-1].alone == overall(first.levels[:2])
    assert first.curve[-1].with_em == overall(first.levels[:2], with_em=True)
    assert first.curve[0].alone != first.curve[-1].alone
    still = train(PROBLEM, dataclasses.replace(PLAN, rate=1e-12), SIZES, asked()[:2], asked(), watches=2)
    moved = abs(first.curve[-1].alone - first.curve[0].alone)
    assert abs(still.curve[-1].alone - still.curve[0].alone) < 1e-3 * moved  # the control: the rate moves it


def test_a_run_that_breaks_off_keeps_what_was_measured_and_has_no_levels():
    run = train(PROBLEM, dataclasses.replace(PLAN, rate=1e9), SIZES, asked()[:1], asked(), watches=4)
    assert run.curve[0].step == 0
    assert run.curve[-1].step < PLAN.steps
    assert run.levels == []


def test_a_gradient_that_is_not_finite_changes_nothing():
    network = starting_network(PROBLEM, PLAN, SIZES)
    with torch.no_grad():
        network.layers[0].mlp.w1[0, 0] = math.nan
    before = [p.clone() for p in network.parameters()]
    with pytest.raises(ArithmeticError, match="step 7 is not finite"):
        take_step(PROBLEM, network, optimisers_of(network, PLAN), PLAN, 7, 1e-3)
    for p, q in zip(network.parameters(), before, strict=True):
        assert torch.equal(p.nan_to_num(), q.nan_to_num())


def test_the_path_adds_the_distance_to_ems_after_every_earlier_step():
    network = starting_network(PROBLEM, PLAN, SIZES).requires_grad_(False)
    tasks = PROBLEM.batch(4, 0, 1)
    states = PROBLEM.states(network, tasks)
    plain = loss_of(PROBLEM, network, tasks, PLAN)
    assert torch.equal(plain, PROBLEM.truth_losses(states[-1], tasks).mean())
    path = em_iterates(tasks.X, tasks.start, 2)
    earlier = [PROBLEM.em_losses(states[i], tasks, path[i + 1]).mean() for i in range(2)]
    found = loss_of(PROBLEM, network, tasks, dataclasses.replace(PLAN, change="path"))
    assert float(found) == pytest.approx(float(plain + PATH_SHARE * (earlier[0] + earlier[1]) / 2), rel=1e-6)
    assert float(found) > float(plain)
    random = starting_network(PROBLEM, dataclasses.replace(PLAN, arm="random"), SIZES).requires_grad_(False)
    far = PROBLEM.em_losses(PROBLEM.states(random, tasks)[0], tasks, path[1])
    assert float(far.mean()) > 10 * float(earlier[0])  # the control: a network that is not EM is far from it


def test_muon_has_the_matrices_and_adamw_the_rest():
    network = starting_network(PROBLEM, PLAN, SIZES)
    (adamw, one), (muon, share) = optimisers_of(network, dataclasses.replace(PLAN, change="muon"))
    assert isinstance(muon, Muon)
    assert (one, share) == (1.0, MUON_SHARE)
    counts = [sum(p.numel() for g in o.param_groups for p in g["params"]) for o in (adamw, muon)]
    assert sum(counts) == sum(p.numel() for p in network.parameters())
    assert all(p.ndim >= 2 for g in muon.param_groups for p in g["params"])
    assert len(optimisers_of(network, PLAN)) == 1


@pytest.mark.parametrize("change", ["none", "tied", "path", "images", "muon"])
def test_every_change_takes_a_step(change):
    plan = dataclasses.replace(PLAN, change=change)
    network = starting_network(PROBLEM, plan, SIZES)
    before = [p.detach().clone() for p in network.parameters()]
    take_step(PROBLEM, network, optimisers_of(network, plan), plan, 0, 1e-3)
    assert any(not torch.equal(p, q) for p, q in zip(network.parameters(), before, strict=True))


def test_levels_are_errors_before_and_after_em():
    one = asked()[1]
    at_oracle = level(one.oracle, one)
    assert at_oracle.alone.percent_bad == 0
    assert at_oracle.alone.mean == pytest.approx(float(one.oracle_errors.mean()))
    at_start = level(one.tasks.start, one)
    assert at_start.with_em.mean < at_start.alone.mean
    assert at_start.with_em == level(more_em(one.tasks.start, one.tasks), one).alone
    assert EM_STEPS == 10
    assert torch.equal(one[:2].tasks.X, one.tasks.X[:2])
    other = held_out(PROBLEM, 4, 1)[1]
    assert not torch.equal(other.tasks.X, one.tasks.X)
