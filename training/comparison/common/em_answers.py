"""Tasks with the answer that EM agrees with, in the order of a network's component tokens.

The reference of a task is EM started from the truth and run until it stops moving: the same for every
network. Its components are put in the order in which the network names its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import t as student
from torch import Tensor

from baselines.align import align
from baselines.em import Status, em
from baselines.em_steps import e_step
from baselines.mixture import Mixture
from console.phrases import Interval, bracket
from constructions.language.shown import short_repr
from training.comparison.common.component_counts import small_and_largest
from training.comparison.common.parts import Subject
from training.model.estimate import Estimate
from training.tasks import TaskDistribution, sample_tasks

TOLERANCE, MOST_STEPS = 1e-8, 500
"""EM stops when the log-likelihood per point moves by at most TOLERANCE, or after MOST_STEPS."""


@dataclass(frozen=True, eq=False)
class AnsweredTasks:
    """B tasks of one K and one N from the paper's distribution, unit covariances.

    X          (B, N, d), float64.
    truth      the mixtures that the points were drawn from.
    reference  converged EM, started from the truth.
    """

    X: Tensor
    truth: Mixture
    reference: Mixture

    __repr__ = short_repr

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, index: slice) -> AnsweredTasks:
        return AnsweredTasks(self.X[index], self.truth[index], self.reference[index])

    def in_order_of(self, estimate: Estimate) -> Mixture:
        """The reference with component k the one that the network's token k stands for."""
        return align(self.reference, _unit(estimate.to_mixture()))[0]


def _unit(mixture: Mixture) -> Mixture:
    return Mixture(mixture.weights, mixture.means)


def components_of(subject: Subject) -> list[int]:
    """K = 3 and the largest K (3 alone with little effort); the smallest from 2 on where 3 is missing.

    Empty where the network serves none that the paper has tasks of.
    """
    return small_and_largest(subject.model.config)[: 1 if subject.effort.quick else 2]


def points_of(subject: Subject, wanted: int) -> int:
    """N: `wanted`, or as many as the network has positions for."""
    most = subject.model.config.max_positions
    return min(wanted, most) if most else wanted


def draw_tasks(subject: Subject, n_tasks: int, K: int, N: int, generator: torch.Generator) -> AnsweredTasks:
    """Tasks with their references; one whose EM failed (an empty component) is left out.

    Raises ValueError when fewer than two tasks are left.
    """
    distribution = TaskDistribution(subject.model.config.n_features, components=(K,))
    batch = sample_tasks(distribution, n_tasks, K, N, generator, dtype=torch.float64)
    found = em(batch.X, init=batch.truth, max_iter=MOST_STEPS, tol=TOLERANCE)
    kept = (found.status <= Status.MAX_ITER).nonzero()[:, 0]
    if len(kept) < 2:
        raise ValueError(f"EM from the truth has an answer on {len(kept)} of {n_tasks} tasks, needs 2")
    return AnsweredTasks(batch.X[kept], batch.truth[kept], found.mixture[kept])


def responsibilities(X: Tensor, mixture: Mixture) -> Tensor:
    """w_ik (B, N, K)."""
    return e_step(X, mixture)[0].mT


def interval(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean over tasks and the ends of its 95 % interval (Student's t): (B, ...) -> three times (...).

    Raises ValueError for fewer than two tasks.
    """
    B = len(values)
    if B < 2:
        raise ValueError(f"an interval over {B} tasks, needs at least 2")
    mean = values.mean(0)
    half = float(student.ppf(0.975, B - 1)) * values.std(0) / B**0.5
    return mean, mean - half, mean + half


def task_mean(values: Tensor) -> Interval:
    """The same of numbers (B,)."""
    return Interval(*(float(value) for value in interval(values)))


@dataclass(frozen=True)
class HeadGrid:
    """A statistic of every head, a layer a row: its mean over tasks, and the ends of the 95 % interval."""

    mean: list[list[float]]
    low: list[list[float]]
    high: list[list[float]]

    @property
    def strongest(self) -> tuple[int, int]:
        """Layer and head, from 0, of the largest mean."""
        layer, head = np.unravel_index(int(np.argmax(self.mean)), np.shape(self.mean))
        return int(layer), int(head)

    def at(self, place: tuple[int, int]) -> Interval:
        """Of one head."""
        layer, head = place
        return Interval(*(part[layer][head] for part in (self.mean, self.low, self.high)))

    def text(self, place: tuple[int, int]) -> str:
        """The same as text."""
        return bracket(*self.at(place))

    def above(self, *others: HeadGrid) -> int:
        """Heads whose interval lies above that of the strongest head of each of the others."""
        most = max(other.at(other.strongest).high for other in others)
        return int((np.array(self.low) > most).sum())


def head_grid(values: Tensor, shape: tuple[int, int]) -> HeadGrid:
    """Of values (B, L H)."""
    return HeadGrid(*(part.reshape(shape).tolist() for part in interval(values)))
