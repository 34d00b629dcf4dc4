"""What networks of the EM construction's exact shape are trained on: L steps of EM, or the truth.

    em     (1/K) sum_k (|mu_hat_k - mu_k|^2 / d + (pi_hat_k - pi_k)^2),  mu, pi: exactly L EM steps from the
           start that stands in the tokens
    truth  the same against the mixture that the points came from, after the best permutation

Tokens hold points and start as Theorem 1 lays them out; the read-out is the construction's and is not
trained. Starts are K different points of the data with equal weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from baselines.align import best_permutation
from baselines.em import em
from baselines.metrics import errors
from baselines.mixture import Mixture
from constructions import em_construction
from constructions.em.tasks import TaskBatch
from constructions.em.unit import EMConstruction
from constructions.language.readout import AttentivePooling
from constructions.language.shown import short_repr
from constructions.language.transformer import Transformer
from training.comparison.common.random_paths import OriginPurpose, generator_of
from training.tasks import TaskDistribution, sample_tasks

Target = Literal["em", "truth"]
TARGETS: tuple[Target, ...] = ("em", "truth")
STEPS_AT_ONCE = 64
"""Training batches that are made together."""


@dataclass(frozen=True, eq=False)
class Examples:
    """T tasks as tokens, and what the network should say.

    tokens   (T, N, D) what the first layer sees.
    present  (T, K) bool, all True.
    em       the mixtures after L exact EM steps; truth: those the points came from. In one dtype.
    """

    tokens: Tensor
    present: Tensor
    em: Mixture
    truth: Mixture

    __repr__ = short_repr

    def __getitem__(self, part: slice) -> Examples:
        return Examples(self.tokens[part], self.present[part], self.em[part], self.truth[part])


@dataclass(frozen=True)
class ProblemSizes:
    """Sizes of tasks and of the construction.

    n_features, n_components, n_samples   d, K, N of every task, and d0, K0 of the construction.
    steps       L: the looped block is applied so often.
    pieces, floor, radius   of the piecewise-linear functions (constructions.em_construction).
    box         means are uniform in [-box, box]^d.
    """

    n_features: int = 2
    n_components: int = 3
    n_samples: int = 32
    steps: int = 2
    pieces: int = 16
    floor: float = 1e-3
    radius: float = 8.0
    box: float = 3.0


@dataclass(frozen=True)
class EMProblem(ProblemSizes):
    """A problem of these sizes; everything random is a function of the seeds given.

    dtype       of networks, tokens and losses; tasks and exact EM are float64 before they are rounded to it.
    """

    dtype: torch.dtype = torch.float32

    __repr__ = short_repr

    @cached_property
    def construction(self) -> EMConstruction:
        """The hand-built weights."""
        return em_construction(
            self.n_features, self.n_components, self.steps, self.pieces, self.floor, self.radius
        )

    @property
    def distribution(self) -> TaskDistribution:
        """Of the tasks. On a line two of three means have cosine 1: there it has no limit."""
        on_a_line = self.n_features == 1 and self.n_components > 2
        limit = 2.0 if on_a_line else TaskDistribution.max_cosine
        return TaskDistribution(self.n_features, (self.n_components,), box=self.box, max_cosine=limit)

    @cached_property
    def readout(self) -> AttentivePooling:
        """Of the construction, fixed."""
        return self.construction.to_readout(self.dtype).requires_grad_(False)

    def constructed(self) -> Transformer:
        """A fresh copy of the hand-built transformer."""
        return self.construction.to_transformer(self.dtype)

    def examples(self, n_tasks: int, purpose: OriginPurpose, *path: int) -> Examples:
        """n_tasks tasks with their starts, a function of the path; other paths give independent ones."""
        generator = generator_of(purpose, *path)
        batch = sample_tasks(
            self.distribution, n_tasks, self.n_components, self.n_samples, generator, dtype=torch.float64
        )
        order = torch.rand(batch.X.shape[:2], generator=generator).argsort(1)[:, : self.n_components]
        means = batch.X.gather(1, order[:, :, None].expand(-1, -1, self.n_features))
        weights = torch.full(means.shape[:2], 1 / self.n_components, dtype=torch.float64)
        after = em(batch.X, init=Mixture(weights, means), max_iter=self.steps, tol=0.0).mixture
        sizes = [
            torch.full((n_tasks,), size) for size in (self.n_samples, self.n_components, self.n_features)
        ]
        parts = (part.to(self.dtype) for part in (batch.X, weights, means))
        tasks = TaskBatch(*parts, *sizes, single=False)
        exact = (mixture.to(dtype=self.dtype) for mixture in (after, batch.truth))
        return Examples(self.construction.embed(tasks), tasks.component_mask, *exact)

    def batches(self, size: int, seed: int) -> Iterator[Examples]:
        """Fresh tasks without end, `size` at a time."""
        chunk = 0
        while True:
            together = self.examples(size * STEPS_AT_ONCE, OriginPurpose.TRAINING, seed, chunk)
            for first in range(0, size * STEPS_AT_ONCE, size):
                yield together[first : first + size]
            chunk += 1

    def outputs(self, network: Transformer, examples: Examples) -> tuple[Tensor, Tensor]:
        """Weights (T, K) and means (T, K, d) that the network's last state is read out as."""
        return self.readout(network(examples.tokens), examples.present)

    def losses(self, network: Transformer, examples: Examples, target: Target) -> Tensor:
        """(T,) the loss of every task; NaN where an output is not finite."""
        weights, means = self.outputs(network, examples)
        wanted = examples.em if target == "em" else examples.truth
        cost = (means[:, :, None] - wanted.means[:, None]).square().mean(-1)
        cost = cost + (weights[:, :, None] - wanted.weights[:, None]).square()
        if target == "em":
            return cost.diagonal(dim1=1, dim2=2).mean(-1)
        finite = cost.detach().isfinite().flatten(1).all(1)[:, None, None]
        permutation = best_permutation(cost.detach().where(finite, torch.zeros_like(cost)))
        cost = cost.where(finite, torch.full_like(cost, torch.nan))
        return cost.gather(1, permutation[:, None, :]).mean((1, 2))

    def exact_truth_loss(self, examples: Examples) -> float:
        """The mean loss "truth" of exactly L EM steps."""
        return float(errors(examples.em, examples.truth).total.mean())

    def function_distance(self, network: Transformer, other: Transformer, examples: Examples) -> float:
        """Root mean square distance of two networks' outputs, in the metric of the loss."""
        with torch.no_grad():
            (pi, mu), (pi_other, mu_other) = (self.outputs(one, examples) for one in (network, other))
            squared = (mu - mu_other).square().mean((1, 2)) + (pi - pi_other).square().mean(1)
            return float(squared.mean().sqrt())
