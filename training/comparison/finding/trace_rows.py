"""Rows of the E and the M head from the exact trace of EM, laid out as the construction's tokens.

    E   h = (x, log_pi, one),  g = (mu, slot, half_norm2, log_count) of a slot,  o_k = log c_k
        A* = <x, mu> + <log_pi, slot> - half_norm2 - log_count,      p_ik = responsibilities
    M   h = slot k,            g = (log_resp, x, one) of a point,    o = 0
        A* = <slot, log_resp>,                                       p_ki = r_ik / sum_j r_jk

A slot's c_k tokens have equal keys in E, so that what they get together is a softmax over slots with log c_k
added. The trace is that of exact EM, a task of its own for each of its steps.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from baselines.em_steps import em_step
from baselines.mixture import Mixture
from constructions.em.tasks import TaskBatch
from constructions.language.stream import Block
from training.comparison.common.random_paths import OriginPurpose
from training.comparison.finding.traced_head import TracedHead
from training.comparison.origins.em_problem import EMProblem


def e_head(problem: EMProblem, n_tasks: int, seed: int) -> TracedHead:
    """Of all steps of n_tasks tasks: the rows are the points, the keys the slots."""
    s, K = problem.construction.stream, problem.n_components
    tokens = torch.cat([tokens for tokens, _ in _trace(problem, n_tasks, seed)])
    queries, keys = (s.x, s.log_pi, s.one), (s.mu, s.slot, s.half_norm2, s.log_count)
    terms = {
        (s.x, s.mu): 1.0,
        (s.log_pi, s.slot): 1.0,
        (s.one, s.half_norm2): -1.0,
        (s.one, s.log_count): -1.0,
    }
    return TracedHead(
        _columns(tokens, queries),
        _columns(tokens[:, :K], keys),
        tokens[:, :K, s.log_count.slice][..., 0].numpy(),
        _form(queries, keys, terms),
    )


def m_head(problem: EMProblem, n_tasks: int, seed: int) -> TracedHead:
    """Of all steps of n_tasks tasks: the rows are the slots, the keys the points with their exact logs."""
    s, K = problem.construction.stream, problem.n_components
    parts = list(_trace(problem, n_tasks, seed))
    tokens = torch.cat([tokens for tokens, _ in parts])
    tokens[:, :, s.log_resp.slice] = torch.cat([logs for _, logs in parts])
    queries, keys = (s.slot,), (s.log_resp, s.x, s.one)
    rows = _columns(tokens[:, :K], queries)
    offset = np.zeros(tokens.shape[:2])
    return TracedHead(rows, _columns(tokens, keys), offset, _form(queries, keys, {(s.slot, s.log_resp): 1.0}))


def _trace(problem: EMProblem, n_tasks: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """For each step the tokens before it (T, N, D), and the logs of its responsibilities (T, N, K)."""
    s, K = problem.construction.stream, problem.n_components
    first = problem.examples(n_tasks, OriginPurpose.HELD_OUT, seed).tokens
    X, means, weights = first[:, :, s.x.slice], first[:, :K, s.mu.slice], first[:, 0, s.pi.slice]
    mixture, found = Mixture(weights, means), []
    sizes = [torch.full((n_tasks,), size) for size in (X.shape[1], K, X.shape[2])]
    for _ in range(problem.steps):
        tasks = TaskBatch(X, mixture.weights, mixture.means, *sizes, single=False)
        joint, _ = mixture.joint_and_logits(X)
        found.append((problem.construction.embed(tasks), joint.log_softmax(-2).mT))
        mixture, _, _ = em_step(X, mixture)
    return found


def _columns(tokens: Tensor, blocks: tuple[Block, ...]) -> np.ndarray:
    return torch.cat([tokens[..., block.slice] for block in blocks], dim=-1).numpy()


def _form(
    queries: tuple[Block, ...], keys: tuple[Block, ...], terms: dict[tuple[Block, Block], float]
) -> np.ndarray:
    """The matrix of a sum of coefficient * <query block, key block>."""
    rows = []
    for query in queries:
        width = query.width
        rows.append([terms.get((query, key), 0.0) * np.eye(width, key.width) for key in keys])
    return np.block(rows)
