"""Training all seeds of a cell together: nobody sees another, given layers stay, and a loss falls."""

import dataclasses

import pytest
import torch

from training.comparison.common.random_paths import OriginPurpose
from training.comparison.finding.learning.batches import TASKS_PER_STEP, batches, fixed_set, paths
from training.comparison.finding.learning.cells import Cell
from training.comparison.finding.learning.optimisers import CLIP, WARMUP, clip_each, rate_at
from training.comparison.finding.learning.starts import first_network, shape_of
from training.comparison.finding.learning.trace import EMPath
from training.comparison.finding.learning.training import losses_of, train_cell
from training.model.balance import balanced

TINY = Cell("tiny", "", "", n_features=1, n_components=2, loops=1)


def held_out(cell: Cell = TINY):
    return paths(cell.problem, 4, OriginPurpose.HELD_OUT, 0)


@pytest.mark.parametrize("optimiser", ["AdamW", "Muon", "gradient descent"])
def test_a_seed_trains_as_if_it_were_alone(optimiser):
    """Bit by bit the same beside another neighbour: products of stacks are made matrix by matrix."""
    cell = dataclasses.replace(TINY, optimiser=optimiser, supervision="forced")
    first, second = (train_cell(cell, [3, other], 4, held_out(), 1) for other in (4, 5))
    for name, weight in first.networks.weights.items():
        assert torch.equal(weight[0], second.networks.weights[name][0])
        if weight.ndim > 2:
            assert not torch.equal(weight[1], second.networks.weights[name][1])


def test_alone_is_as_together_within_rounding():
    """Plain gradient descent of 2 steps: float32 sums in another order, 6e-8 a number, some hundred in a row,

    times a rate of 0.1 and gradients of norm 1 at most.
    """
    cell = dataclasses.replace(TINY, optimiser="gradient descent", learning_rate=0.1)
    together = train_cell(cell, [3, 4], 2, held_out(), 1).networks
    alone = train_cell(cell, [4], 2, held_out(), 1).networks
    for name, weight in together.weights.items():
        apart = (weight[1] - alone.weights[name][0]).detach().abs().max()
        assert float(apart) <= 2 * 0.1 * 200 * 6e-8 + 1e-7 * float(weight.detach().abs().max())
        assert weight.ndim < 3 or not torch.equal(weight[0], weight[1])


@pytest.mark.parametrize("given", ["E", "M"])
def test_a_layer_that_is_given_stays(given):
    cell = dataclasses.replace(TINY, given=given)
    networks = train_cell(cell, [0], 2, held_out(), 1).networks
    constructed = balanced(cell.problem.constructed()).float()
    for name, weight in constructed.named_parameters():
        same = torch.equal(weight, networks.weights[name][0])
        assert same == name.startswith("layers.0" if given == "E" else "layers.1") or not weight.norm()


def test_the_trace_is_learned():
    cell = dataclasses.replace(TINY, supervision="forced", sub_layers=True, learning_rate=0.01)
    path = EMPath.stacked([held_out()])
    traces = []
    for steps in (1, 120):
        found = train_cell(cell, [0], steps, held_out(), 2)
        with torch.no_grad():
            traces.append(float(losses_of(cell).named("forced", True, found.networks, path, 1)))
    assert [step for step, _ in found.watched] == [0, 60, 120]
    assert traces[1] < 0.1 * traces[0]


def test_fixed_sets_are_nested_and_fresh_tasks_are_new():
    ten = dataclasses.replace(TINY, fixed_tasks=10)
    assert torch.equal(fixed_set(ten, 0, 4).tokens, fixed_set(ten, 0).tokens[:4])
    assert torch.equal(
        fixed_set(ten, 0).tokens, fixed_set(dataclasses.replace(ten, fixed_tasks=30), 0).tokens[:10]
    )
    seen = next(batches(ten, [0])).tokens
    assert seen.shape[:2] == (1, TASKS_PER_STEP)
    known = fixed_set(ten, 0).tokens
    assert all(any(torch.equal(task, one) for one in known) for task in seen[0])
    fresh = batches(TINY, [0, 1])
    first, second = next(fresh).tokens, next(fresh).tokens
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])


def test_sizes_of_tasks_vary_and_are_the_same_for_all_seeds():
    cell = dataclasses.replace(TINY, sizes=(4, 7))
    many = batches(cell, [0, 1])
    seen = {next(many).tokens.shape[2] for _ in range(200)}
    assert seen == {4, 7}


def test_shapes_and_first_weights():
    wide = dataclasses.replace(TINY, heads=4, units=3, activation="gelu")
    own, found = TINY.problem.constructed().shape, shape_of(wide)
    assert [layer.heads for layer in found.layers] == [4 * layer.heads for layer in own.layers]
    assert [layer.hidden for layer in found.layers] == [3 * layer.hidden for layer in own.layers]
    assert found.activation == "gelu"
    small = first_network(dataclasses.replace(TINY, initial_scale=0.5), 1)
    for name, weight in first_network(TINY, 1).named_parameters():
        assert torch.equal(0.5 * weight, dict(small.named_parameters())[name])
        assert (weight.ndim < 2) == (not bool(weight.any()))


def test_gradients_are_clipped_seed_by_seed():
    weights = [torch.zeros(2, 3, requires_grad=True), torch.zeros(2, 2, 2, requires_grad=True)]
    for weight in weights:
        weight.grad = torch.ones_like(weight)
        weight.grad[1] *= 0.1
    before = [weight.grad.clone() for weight in weights if weight.grad is not None]
    clip_each(weights)
    norms = sum(w.grad.flatten(1).square().sum(1) for w in weights if w.grad is not None)
    assert float(norms[0]) == pytest.approx(CLIP**2, rel=1e-6)
    assert all(
        torch.equal(w.grad[1], g[1]) for w, g in zip(weights, before, strict=True) if w.grad is not None
    )


def test_rates_warm_up_and_go_to_zero():
    assert rate_at(TINY, 0, 1000) == pytest.approx(TINY.learning_rate / WARMUP)
    assert rate_at(TINY, 1000, 1000) == pytest.approx(0, abs=1e-12)
    assert rate_at(TINY, WARMUP, 10**6) == pytest.approx(TINY.learning_rate, rel=1e-6)


def test_loops_and_losses_change_on_the_way():
    cell = dataclasses.replace(TINY, loops=3, curriculum=True, supervision="forced", finish=0.25)
    assert [cell.loops_at(step, 9) for step in range(9)] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert [cell.supervision_at(step, 4) for step in range(4)] == ["forced"] * 3 + ["output"]
    assert TINY.loops_at(0, 9) == 1
    assert {TINY.supervision_at(step, 4) for step in range(4)} == {"output"}
