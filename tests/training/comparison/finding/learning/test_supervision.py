"""The losses: 0 or the construction's error where the weights are the theorem's, and what each compares."""

import pytest
import torch

from training.comparison.common.random_paths import OriginPurpose
from training.comparison.finding.learning.batches import paths
from training.comparison.finding.learning.stacked import StackedNetworks
from training.comparison.finding.learning.supervision import Losses
from training.comparison.finding.learning.trace import EMPath, scales, states
from training.comparison.origins.em_problem import EMProblem

PROBLEM = EMProblem(n_features=1, n_components=2, n_samples=9, steps=2, pieces=32, dtype=torch.float64)


@pytest.fixture(scope="module")
def losses() -> Losses:
    sample = paths(PROBLEM, 16, OriginPurpose.FINDING_SCALES, 0)
    stream = PROBLEM.construction.stream
    return Losses(PROBLEM, scales(stream, states(stream, sample, PROBLEM.floor)))


@pytest.fixture(scope="module")
def path() -> EMPath:
    return EMPath.stacked([paths(PROBLEM, 5, OriginPurpose.HELD_OUT, seed) for seed in (0, 1)])


def constructed_and_empty() -> StackedNetworks:
    empty = PROBLEM.constructed()
    for weight in empty.parameters():
        weight.data.zero_()
    return StackedNetworks([PROBLEM.constructed(), empty])


def test_the_output_loss_is_the_problems_own(losses, path):
    examples = [PROBLEM.examples(5, OriginPurpose.HELD_OUT, seed) for seed in (0, 1)]
    networks = constructed_and_empty()
    found = losses.output(networks, path, 2)
    for seed, one in enumerate(examples):
        expected = float(PROBLEM.losses(networks.network(seed), one, "em").mean())
        # Squares of differences of numbers below 10 that err by their rounding, 1e-15 each, and 1e-12 for
        # two paths of EM whose sums are ordered otherwise.
        assert float(found[seed]) == pytest.approx(expected, abs=1e-10)
    assert float(found[1]) > 100 * float(found[0])


def test_every_step_is_the_mean_over_the_loops(losses, path):
    networks = constructed_and_empty()
    both = [losses.output(networks, path, loops) for loops in (1, 2)]
    found = losses.named("every step", False, networks, path, 2)
    assert torch.allclose(found, (both[0] + both[1]) / 2, rtol=1e-14)
    assert not torch.allclose(found, both[1], rtol=1e-3)


@pytest.mark.parametrize("kind", ["trace", "forced"])
@pytest.mark.parametrize("sub_layers", [False, True])
def test_the_trace_tells_the_construction_from_a_network_that_does_nothing(losses, path, kind, sub_layers):
    found = losses.named(kind, sub_layers, constructed_and_empty(), path, 2)
    assert float(found[0]) < 0.02  # chords of 32 pieces in all, in variances of the blocks
    assert float(found[1]) > 1


def test_exact_states_are_given_to_every_sub_layer(losses, path):
    """A wrong E attention is one wrong sub-layer of four if forced; else all behind it see it."""
    wrong = PROBLEM.constructed()
    dict(wrong.named_parameters())["layers.0.attention.value"].data.zero_()
    pair, same = StackedNetworks([PROBLEM.constructed(), wrong]), path[:1]
    path = EMPath.joined([same, same])
    exact = states(PROBLEM.construction.stream, path, PROBLEM.floor)
    apart = [(pair.attention(0, exact[at]) - exact[at + 1]).square() for at in (0, 4)]
    attention = (torch.stack(apart) * losses.scales).sum(-1).mean((0, 2, 3))
    forced = losses.trace(pair, path, 2, forced=True, sub_layers=True)
    # The other three sub-layers are equal: means of squares in float64, 1e-12 is 1e4 roundings.
    assert float(forced[1] - forced[0]) == pytest.approx(float(attention[1] - attention[0]) / 4, abs=1e-12)
    own = losses.trace(pair, path, 2, forced=False, sub_layers=True)
    assert float(own[1] - own[0]) > 2 * float(forced[1] - forced[0])
