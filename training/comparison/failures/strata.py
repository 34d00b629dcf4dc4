"""The tasks of one K: who fails which, what may make them hard, and what EM makes of the failures."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.em import em
from baselines.methods import MAX_ITER, TOL
from baselines.metrics import errors
from baselines.mixture import Mixture
from baselines.spectral import second_moment
from constructions.language.shown import short_repr
from training.comparison.common.random_paths import RegimePurpose
from training.comparison.common.regimes import (
    BAD,
    RANDOM_STARTS,
    RegimeTasks,
    complete,
    estimate_of,
    named_start,
)
from training.comparison.failures.kinds import kinds_of

CONTROL_TASKS = 128
"""Tasks of a stratum that the untrained network is given: it needs no more to fail them."""
RESTARTS = 4
"""EM starts from random points a task; the share of them that fail says how hard the task is for EM."""


@dataclass(frozen=True, eq=False)
class Stratum:
    """T tasks of one K; keys are methods, and scores that may make a task hard.

    fails      (T,) whether a method fails. untrained: the same of the control, on the first tasks alone.
    scores     (T,) larger for harder, see :func:`scores`.
    kinds      (T,) of what kind a failure is, see kinds.kinds_of.
    repaired   of the failed tasks, how many EM solves from the answer; and how many they are.
    """

    tasks: RegimeTasks
    fails: dict[str, Tensor]
    untrained: Tensor
    scores: dict[str, Tensor]
    kinds: dict[str, Tensor]
    repaired: dict[str, tuple[int, int]]

    __repr__ = short_repr


def stratum(tasks: RegimeTasks) -> Stratum:
    """Of one K: who fails where, what may explain it, and of what kind the failures are."""
    X, truth = tasks.batch.X, tasks.truth
    some = slice(0, CONTROL_TASKS)
    answers = {"network": complete(tasks.network("learned"))}
    answers |= {f"em {name}": tasks.converged(name) for name in RANDOM_STARTS}
    answers["k-means"] = tasks.method("k-means")
    if not tasks.regime.spectral_refusal:
        answers["spectral"] = tasks.method("spectral")
    fails = {name: tasks.failed(found.mixture) | found.missing for name, found in answers.items()}
    kinds = {
        name: kinds_of(X, found.mixture, truth, tasks.floor, fails[name] & ~found.missing)
        for name, found in answers.items()
    }
    untrained = estimate_of(tasks.subject.untrained, X[some], tasks.regime)
    untrained_fails = errors(untrained, truth[some]).total > BAD * tasks.floor[some]
    kinds["untrained"] = kinds_of(X[some], untrained, truth[some], tasks.floor[some], untrained_fails)
    repaired = {
        name: _repaired(tasks, answers[name].mixture, fails[name]) for name in ("network", "em normal")
    }
    repaired["untrained"] = _repaired(tasks, untrained, untrained_fails)
    return Stratum(tasks, fails, untrained_fails, scores(tasks), kinds, repaired)


def _repaired(tasks: RegimeTasks, answer: Mixture, failed: Tensor) -> tuple[int, int]:
    """Of the failed tasks, how many are no longer failed after EM has run from the answer; and how many."""
    if not bool(failed.any()):
        return 0, 0
    chosen = failed.nonzero().squeeze(-1)  # of the first tasks, where the answers are fewer
    after = em(tasks.batch.X[chosen], init=answer[chosen], max_iter=MAX_ITER, tol=TOL).mixture
    still = errors(after, tasks.truth[chosen]).total > BAD * tasks.floor[chosen]
    return int((~still).sum()), len(chosen)


def scores(tasks: RegimeTasks) -> dict[str, Tensor]:
    """What may make a task hard, each (T,), larger for harder.

    closest    - the smallest distance of two true means.
    least      - N times the smallest weight.
    moment     - the K-th eigenvalue of sum_k pi_k mu_k mu_k^T, K <= d only (for K > d it is 0).
    sample     - the same of the points, (1/N) sum x x^T - I.
    floor      the total error of EM from the truth: how far the points are from telling the truth.
    em         share of RESTARTS starts of EM from random points that fail.
    """
    truth, X = tasks.truth, tasks.batch.X
    K, N = tasks.regime.n_components, tasks.regime.n_samples
    gaps = torch.cdist(truth.means, truth.means)
    apart = gaps.masked_fill(torch.eye(K, dtype=torch.bool), math.inf).flatten(1).amin(1)
    found = {"closest": -apart, "least": -N * truth.weights.amin(-1), "floor": tasks.floor}
    if not tasks.regime.spectral_refusal:
        scaled = truth.weights.sqrt().unsqueeze(-1) * truth.means
        found["moment"] = -torch.linalg.svdvals(scaled)[:, K - 1].square()
        sample, _ = second_moment(X, X.new_ones(len(X)))
        found["sample"] = -torch.linalg.eigvalsh(sample)[:, -K]
    generator = tasks.generator(RegimePurpose.FAILURES_HARDNESS)
    total = torch.zeros(len(X), dtype=torch.float64)
    for _ in range(RESTARTS):
        start = named_start(X, K, "random-points", generator)
        total += tasks.failed(em(X, init=start, max_iter=MAX_ITER, tol=TOL).mixture).double()
    found["em"] = total / RESTARTS
    return found
