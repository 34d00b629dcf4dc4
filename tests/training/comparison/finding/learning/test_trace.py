"""The exact path of EM as states: against baselines.em, and against what the construction's layers leave."""

from itertools import pairwise

import pytest
import torch

from baselines.em import em
from baselines.mixture import Mixture
from constructions.language.rounding import gamma, unit_roundoff
from training.comparison.common.random_paths import OriginPurpose
from training.comparison.finding.learning.stacked import StackedNetworks
from training.comparison.finding.learning.trace import WRITTEN, EMPath, em_path, scales, states
from training.comparison.origins.em_problem import EMProblem

U = unit_roundoff(torch.float64)
PROBLEM = EMProblem(n_features=2, n_components=3, n_samples=10, steps=2, pieces=64, dtype=torch.float64)


@pytest.fixture(scope="module")
def path() -> EMPath:
    return em_path(PROBLEM, PROBLEM.examples(6, OriginPurpose.HELD_OUT, 0))


def test_the_path_is_that_of_em(path: EMPath):
    X, start = (
        path.tokens[..., PROBLEM.construction.stream.x.slice],
        path.tokens[:, :3, PROBLEM.construction.stream.mu.slice],
    )
    mixture = Mixture(torch.full((6, 3), 1 / 3, dtype=torch.float64), start)
    R = 2 * float(X.norm(dim=-1).max())
    # Of one step, as in test_training_runs: log-densities err by (d + 8) u R^2, shares by twice that, sums by
    # gamma_N, averages by R times as much; a second step sees means that are wrong by the first's error, and
    # moves by at most R^2 times as much.
    step = 2 * (2 * (2 + 8) * U * R**2 + gamma(2 * 10, U)) * max(1.0, R)
    for loop, tolerance in enumerate((step, step * (1 + R**2))):
        expected = em(X, init=mixture, max_iter=loop + 1, tol=0.0).mixture
        assert (path.means[:, loop] - expected.means).abs().max() <= tolerance
        assert (path.weights[:, loop] - expected.weights).abs().max() <= tolerance
    assert (path.means[:, 0] - path.means[:, 1]).abs().max() > 1e-3  # the control: steps differ


def test_states_are_those_that_the_constructions_layers_leave(path: EMPath):
    """E after E, from exact states: exact but for log_resp, which is as far off as its chords may be."""
    s, built = PROBLEM.construction.stream, PROBLEM.construction
    exact = states(s, path, PROBLEM.floor)
    network = PROBLEM.constructed().requires_grad_(False)
    # Scores up to R^2 ~ 200 and their softmax in float64, some hundred sums: 1e-11 is 100 times that.
    rounding = 1e-11
    for loop in range(PROBLEM.steps):
        found = network.layers[0](exact[4 * loop])
        apart = (found - exact[4 * loop + 2]).abs()
        chords = float(built.log_resp.error)
        assert float(apart[..., s.log_resp.slice].max()) <= chords + rounding / PROBLEM.floor
        apart[..., s.log_resp.slice] = 0
        assert float(apart.max()) <= rounding
        found = StackedNetworks([network]).mlp(1, exact[4 * loop + 3][None])[0]
        apart = (found - exact[4 * loop + 4]).abs()
        assert float(apart[..., s.log_pi.slice].max()) <= float(built.log_pi.error) + rounding / PROBLEM.floor
        assert (
            float(apart[..., s.half_norm2.slice].max()) <= float(built.square.error) + rounding
        )  # d/2 of them
        assert float((exact[4 * loop] - exact[4 * loop + 2]).abs().max()) > 1  # the control: another state


def test_every_layer_writes_its_blocks_and_no_other(path: EMPath):
    s = PROBLEM.construction.stream
    exact = states(s, path, PROBLEM.floor)
    assert len(exact) == 1 + 4 * PROBLEM.steps
    written = (
        {"resp"},
        {"log_resp", "mu", "pi", "log_pi", "half_norm2"},
        {"mu", "pi"},
        {"log_pi", "half_norm2", "resp", "log_resp"},
    )
    for place, (before, after) in enumerate(pairwise(exact)):
        changed = {b.name for b in s.blocks if not torch.equal(before[..., b.slice], after[..., b.slice])}
        assert changed == written[place % 4]
        assert changed <= set(WRITTEN)
    assert float(exact[2][..., s.mu.slice].abs().max()) == 0
    assert float(exact[-1][..., s.resp.slice].abs().max()) == 0


def test_scales_make_a_block_that_is_known_by_its_mean_alone_weigh_one(path: EMPath):
    s = PROBLEM.construction.stream
    exact = states(s, path, PROBLEM.floor)
    found = scales(s, exact)
    for name in ("resp", "log_resp"):
        block = getattr(s, name)
        filled = torch.cat(
            [state[..., block.slice] for state in exact if bool(state[..., block.slice].any())]
        )
        guessed = filled - filled.mean((0, 1))
        error = float((guessed.square() * found[block.slice]).sum(-1).mean())
        assert error == pytest.approx(1, abs=gamma(filled.numel(), U) * 100)  # sums of so many numbers
    assert found[s.one.slice].tolist() == [1.0]
