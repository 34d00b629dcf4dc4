"""Curvature against the dense Hessian, and losses along lines."""

import math

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from training.comparison.common.random_paths import OriginPurpose
from training.comparison.origins.curvature import TOLERANCE, curvature
from training.comparison.origins.em_problem import EMProblem
from training.comparison.origins.straight_lines import barrier, compare_lines, line_losses
from training.comparison.origins.training_runs import RunPlan, slot_blocks, starting_network
from training.comparison.symmetry.group import random_copy

TINY = EMProblem(n_features=1, n_components=2, n_samples=6, steps=1, pieces=2, dtype=torch.float64)
EXAMPLES = TINY.examples(5, OriginPurpose.HELD_OUT)


def mean_loss(network):
    return TINY.losses(network, EXAMPLES, "em").mean()


def dense_hessian(network):
    """By torch.autograd.functional.hessian, on one flat vector of parameters."""
    names = [name for name, _ in network.named_parameters()]
    shapes = [p.shape for p in network.parameters()]
    flat = torch.cat([p.detach().flatten() for p in network.parameters()])

    def loss(vector):
        parts = vector.split([shape.numel() for shape in shapes])
        weights = {n: part.view(shape) for n, part, shape in zip(names, parts, shapes, strict=True)}
        tokens = torch.func.functional_call(network, weights, (EXAMPLES.tokens,))
        pi, mu = TINY.readout(tokens, EXAMPLES.present)
        wanted = EXAMPLES.em
        return ((mu - wanted.means).square().mean((1, 2)) + (pi - wanted.weights).square().mean(1)).mean()

    with sdpa_kernel(SDPBackend.MATH):
        gradient = torch.autograd.functional.jacobian(loss, flat)
        return gradient, torch.autograd.functional.hessian(loss, flat, vectorize=True)


@pytest.mark.parametrize("start", ["constructed", "random"])
def test_lanczos_agrees_with_the_dense_hessian(start):
    network = starting_network(TINY, RunPlan(start, "em", 1e-3, 1, 0))
    gradient, hessian = dense_hessian(network)
    values = torch.linalg.eigvalsh(hessian)
    found = curvature(network, mean_loss, 2, 0)
    assert found.parameters == len(gradient)
    assert found.gradient_norm == pytest.approx(float(gradient.norm()), rel=1e-9)
    scale = float(values.abs().max())
    for mine, exact in ((found.largest, values.flip(0)[:2]), (found.smallest, values[:2])):
        # ARPACK's criterion: a residual of TOLERANCE |eigenvalue|, and an eigenvalue within the residual.
        assert torch.tensor(mine, dtype=torch.float64) == pytest.approx(exact.numpy(), abs=TOLERANCE * scale)
    assert found.stable_rate == pytest.approx(2 / found.largest[0])


def test_another_loss_has_another_curvature():
    """The control: what was measured is a matter of the loss."""
    network = starting_network(TINY, RunPlan("constructed", "em", 1e-3, 1, 0))
    once = curvature(network, mean_loss, 1, 0)
    twice = curvature(network, lambda n: 2 * mean_loss(n), 1, 0)
    assert twice.largest[0] == pytest.approx(2 * once.largest[0], rel=2 * TOLERANCE)
    assert twice.gradient_norm == pytest.approx(2 * once.gradient_norm)


def test_a_loss_that_is_not_finite_is_refused():
    network = starting_network(TINY, RunPlan("constructed", "em", 1e-3, 1, 0))
    with torch.no_grad():
        network.layers[0].mlp.w1.fill_(torch.nan)
    with pytest.raises(ValueError, match="the loss is nan, needs a finite one"):
        curvature(network, mean_loss, 1, 0)


def test_barriers():
    assert barrier([1.0, 3.0, 2.0]) == 1.5
    assert barrier([1.0, 1.5, 2.0]) == 1
    assert barrier([4.0, 1.0, 2.0]) == 1


def test_the_line_to_a_copy_is_flat_after_alignment_only():
    constructed = TINY.constructed()
    copied = random_copy(constructed, torch.Generator().manual_seed(1)).transformer

    def loss(network):
        return float(mean_loss(network))

    found = compare_lines(constructed, copied, slot_blocks(TINY), loss, 7)
    assert found.distance <= 1e-10
    assert found.barrier_before > 1.5
    assert found.barrier_after == pytest.approx(1, abs=1e-6)  # weights equal to 1e-10, slopes below 1e4
    assert found.before[0] == pytest.approx(found.after[0])
    assert len(found.t) == len(found.before) == 7


def test_line_losses_end_at_the_two_networks():
    a = starting_network(TINY, RunPlan("constructed", "em", 1e-3, 1, 0)).requires_grad_(False)
    b = starting_network(TINY, RunPlan("random", "em", 1e-3, 1, 0)).requires_grad_(False)
    values = line_losses(a, b, lambda n: float(mean_loss(n)), [0.0, 0.5, 1.0])
    with torch.no_grad():
        assert values[0] == pytest.approx(float(mean_loss(a)))
        assert values[2] == pytest.approx(float(mean_loss(b)))
    assert all(map(math.isfinite, values))
