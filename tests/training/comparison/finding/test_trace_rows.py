"""Rows of the two heads: the target's weights are EM's responsibilities and the M step's weights."""

import numpy as np
import torch

from baselines.em_steps import e_step, em_step
from baselines.mixture import Mixture
from training.comparison.common.random_paths import OriginPurpose
from training.comparison.finding.trace_rows import e_head, m_head
from training.comparison.origins.em_problem import EMProblem

PROBLEM = EMProblem(n_samples=11, dtype=torch.float64)
TASKS = 5
EPS = np.finfo(float).eps


def trace():
    """Points, and before each step the responsibilities (T, N, K)."""
    s = PROBLEM.construction.stream
    first = PROBLEM.examples(TASKS, OriginPurpose.HELD_OUT, 0).tokens
    X, means = first[:, :, s.x.slice], first[:, :3, s.mu.slice]
    mixture = Mixture(torch.full((TASKS, 3), 1 / 3, dtype=torch.float64), means)
    found = []
    for _ in range(PROBLEM.steps):
        found.append(e_step(X, mixture)[0].mT)
        mixture = em_step(X, mixture)[0]
    return X, torch.cat(found).numpy()


def test_the_target_of_the_e_head_gives_responsibilities():
    head = e_head(PROBLEM, TASKS, 0)
    _, shares = trace()
    largest = np.abs(head.scores(head.target)).max()  # scores are sums of 8 products, rounded
    assert np.abs(head.wanted - shares).max() < 20 * EPS * (1 + largest)
    assert head.target.shape == (6, 7)
    assert np.linalg.matrix_rank(head.target) == 6


def test_the_target_of_the_m_head_gives_the_weights_of_the_means():
    head = m_head(PROBLEM, TASKS, 0)
    _, shares = trace()
    weights = (shares / shares.sum(1, keepdims=True)).swapaxes(1, 2)
    logs = np.abs(head.keys).max()
    assert np.abs(head.wanted - weights).max() < 20 * EPS * (1 + logs)
    assert head.target.shape == (3, 6)


def test_another_seed_has_other_tasks():
    assert not np.array_equal(e_head(PROBLEM, TASKS, 0).queries, e_head(PROBLEM, TASKS, 1).queries)
