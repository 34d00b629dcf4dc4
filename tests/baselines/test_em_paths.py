"""Plain EM steps of many tasks at once: they are EM steps, and what is lost is marked."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from baselines.em_paths import reference_path, reference_step
from baselines.em_steps import em_step
from baselines.mixture import Mixture
from baselines.tasks import paper_tasks

F64 = torch.float64
U = torch.finfo(F64).eps / 2


class Start(NamedTuple):
    """X (B, N, d), weights (B, K), means (B, K, d)."""

    X: Tensor
    weights: Tensor
    means: Tensor


def a_problem(dim=2, components=3, samples=20, trials=4) -> Start:
    """Starting means at the first points."""
    generator = torch.Generator().manual_seed(0)
    X = paper_tasks(trials, dim, components, samples, generator, max_cosine=2.0).X
    return Start(X, X.new_full((trials, components), 1 / components), X[:, :components].clone())


@pytest.fixture
def vanishing() -> Start:
    """Two tasks on a line; the second component of task 1 is 60 away, where exp(-60^2/2) is 0."""
    X = torch.randn(2, 15, 1, generator=torch.Generator().manual_seed(2), dtype=F64)
    means = torch.tensor([[[-1.0], [1.0]], [[0.0], [60.0]]], dtype=F64)
    return Start(X, torch.full((2, 2), 0.5, dtype=F64), means)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (1, 3, 7), (2, 2, 2), (5, 4, 33)])
def test_reference_step_is_an_em_step_of_baselines(sizes):
    """Both are float64; X is centred at its average there and here, so they may differ only by rounding.

    A mean is an average of N values of size R = max|x|: gamma(N + 10) R on each side.
    """
    problem = a_problem(*sizes)
    new = reference_step(problem.X, problem.weights, problem.means)
    expected, _, _ = em_step(problem.X, Mixture(problem.weights, problem.means))
    tolerance = 2 * (sizes[2] + 10) * U
    assert not new.empty.any()
    assert (new.means - expected.means).abs().max() <= tolerance * problem.X.abs().max()
    assert (new.weights - expected.weights).abs().max() <= tolerance


def test_reference_step_ignores_a_factor_of_the_weights():
    problem = a_problem()
    once = reference_step(problem.X, problem.weights, problem.means)
    again = reference_step(problem.X, 4 * problem.weights, problem.means)
    # 4 w / sum(4 w) is exactly w / sum(w).
    assert torch.equal(once.means, again.means)


def test_reference_step_marks_what_is_empty(vanishing):
    new = reference_step(vanishing.X, vanishing.weights, vanishing.means)
    assert new.empty.tolist() == [[False, False], [False, True]]
    assert new.means.isfinite().all()
    alone, _, _ = em_step(vanishing.X[0], Mixture(vanishing.weights[0], vanishing.means[0]))
    assert (new.means[0] - alone.means).abs().max() <= 2 * 25 * U * vanishing.X.abs().max()


def test_reference_step_of_a_zero_weight():
    problem = a_problem(trials=2)
    weights = problem.weights.clone()
    weights[1, 0] = 0
    new = reference_step(problem.X, weights, problem.means)
    assert new.empty.tolist() == [[False] * 3, [True] * 3]
    assert new.means[1].abs().max() == 0


def test_reference_path_repeats_the_step_and_keeps_a_lost_task_where_it_was(vanishing):
    weights, means, _, defined = reference_path(vanishing.X, vanishing.weights, vanishing.means, 3)
    assert defined.tolist() == [[True] * 3, [False] * 3]
    assert torch.equal(means[1], vanishing.means[1].expand(4, 2, 1))
    state = vanishing.weights[:1], vanishing.means[:1]
    for t in range(3):
        new = reference_step(vanishing.X[:1], *state)
        state = new.weights, new.means
        # The same formula on a batch of one; torch may add in another order.
        assert (means[0, t + 1] - new.means[0]).abs().max() <= 2 * 25 * U * vanishing.X.abs().max()
        assert (weights[0, t + 1] - new.weights[0]).abs().max() <= 2 * 25 * U
