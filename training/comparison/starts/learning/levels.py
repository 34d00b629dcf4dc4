"""How good estimates are on held-out tasks: alone, and after ten more steps of EM.

Errors are the paper's, after the exact alignment; a task is bad when its error is above ten times that of EM
from the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from torch import Tensor

from baselines.em import em
from baselines.methods import MAX_ITER, TOL
from baselines.metrics import Summary, errors, summarise
from baselines.mixture import Mixture
from constructions.language.shown import short_repr
from training.comparison.common.random_paths import StartsPurpose, generator_of
from training.comparison.starts.learning.slotted_tasks import SlottedTasks, StartProblem

EM_STEPS = 10
N_SAMPLES = 128


@dataclass(frozen=True)
class Level:
    """Of one K: the estimates themselves, and EM_STEPS exact EM steps from them."""

    n_components: int
    alone: Summary
    with_em: Summary


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Tasks of one K with the mixtures of EM from the truth and its errors (T,)."""

    tasks: SlottedTasks
    oracle: Mixture
    oracle_errors: Tensor

    __repr__ = short_repr

    def __getitem__(self, part: slice) -> HeldOut:
        return HeldOut(self.tasks[part], self.oracle[part], self.oracle_errors[part])


@cache
def held_out(problem: StartProblem, tasks: int, seed: int) -> tuple[HeldOut, ...]:
    """So many tasks of every K of the paper, N = N_SAMPLES; made once a process."""
    found = []
    for K in problem.distribution.components:
        generator = generator_of(StartsPurpose.HELD_OUT, seed, K)
        drawn = problem.draw(tasks, K, N_SAMPLES, generator)
        oracle = em(drawn.X, init=drawn.truth, max_iter=MAX_ITER, tol=TOL).mixture
        found.append(HeldOut(drawn, oracle, errors(oracle, drawn.truth).total))
    return tuple(found)


def more_em(estimate: Mixture, tasks: SlottedTasks) -> Mixture:
    """EM_STEPS steps from the estimate; a task stays where a component has lost all its points."""
    return em(tasks.X, init=estimate, max_iter=EM_STEPS, tol=0.0).mixture


def level(estimate: Mixture, asked: HeldOut) -> Level:
    """Of estimates of these tasks."""
    return level_of(estimate, more_em(estimate, asked.tasks), asked)


def level_of(alone: Mixture, with_em: Mixture, asked: HeldOut) -> Level:
    """Of estimates, and of what EM makes of them."""
    truth = asked.tasks.truth
    summaries = (summarise(errors(one, truth).total, asked.oracle_errors) for one in (alone, with_em))
    return Level(truth.n_components, *summaries)


def overall(levels: Sequence[Level], with_em: bool = False) -> float:
    """The mean error over all K, equally many tasks of each."""
    parts = [(one.with_em if with_em else one.alone).mean for one in levels]
    return sum(parts) / len(parts)


def bad(levels: Sequence[Level], with_em: bool = False) -> float:
    """Per cent of bad tasks over all K."""
    parts = [(one.with_em if with_em else one.alone).percent_bad for one in levels]
    return sum(parts) / len(parts)
