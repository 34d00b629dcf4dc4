"""The paper's tasks of any K up to K0 as tokens of the EM construction, and what is asked of a network.

    loss  (1/K) sum_k (|mu_hat_k - mu_k|^2 / d + (pi_hat_k - pi_k)^2), smallest over permutations

Token i holds point i and the start of component i mod K, as in Theorem 1. A start is K points by greedy
k-means++, weights equal. The read-out is the construction's and is not trained; it finds the tokens of a
component by the slot that they came in with, so that layers which write over that block do no harm.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from baselines.mixture import Mixture
from constructions import em_construction
from constructions.em.tasks import TaskBatch, check_hypotheses
from constructions.em.unit import EMConstruction
from constructions.language.readout import AttentivePooling
from constructions.language.shown import short_repr
from constructions.language.transformer import Transformer
from training.comparison.common.random_paths import StartsPurpose, generator_of
from training.comparison.common.regimes import named_start
from training.serving.views import signed_permutations
from training.tasks import TaskDistribution, sample_tasks
from training.trainer.losses import over_permutations

START = "k-means++"
TASKS_AT_ONCE = 64
"""In a forward pass that nothing is learned from."""


@dataclass(frozen=True, eq=False)
class SlottedTasks:
    """T tasks of one K and one N.

    tokens   (T, N, D) what the construction's first layer sees. present  (T, K0) bool.
    X        (T, N, d) float64, and so are start and truth.
    """

    tokens: Tensor
    present: Tensor
    X: Tensor
    start: Mixture
    truth: Mixture

    __repr__ = short_repr

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, part: slice) -> SlottedTasks:
        tokens, present, X = (one[part] for one in (self.tokens, self.present, self.X))
        return SlottedTasks(tokens, present, X, self.start[part], self.truth[part])


@dataclass(frozen=True)
class StartSizes:
    """Of the construction: d = d0, K0, L steps, pieces a function, floor and radius (em_construction)."""

    n_features: int
    max_components: int = 5
    steps: int = 3
    pieces: int = 9
    floor: float = 1e-3
    radius: float = 12.0


@dataclass(frozen=True)
class StartProblem(StartSizes):
    """The paper's distribution of tasks beside the construction of these sizes.

    dtype  of networks and tokens; tasks are float64 before they are rounded to it.
    """

    dtype: torch.dtype = torch.float32

    __repr__ = short_repr

    @cached_property
    def construction(self) -> EMConstruction:
        """The hand-built weights."""
        return em_construction(
            self.n_features, self.max_components, self.steps, self.pieces, self.floor, self.radius
        )

    @cached_property
    def readout(self) -> AttentivePooling:
        """Of the construction, fixed."""
        return self.construction.to_readout(self.dtype).requires_grad_(False)

    @cached_property
    def distribution(self) -> TaskDistribution:
        """The paper's: K from 2 to 5, N from 64 to 128."""
        return TaskDistribution(self.n_features)

    def batch(self, size: int, seed: int, step: int, images: int = 1) -> SlottedTasks:
        """The tasks of a training step, a function of seed and step: the K's in turn, N of the paper's."""
        generator = generator_of(StartsPurpose.TRAINING, seed, step)
        K = self.distribution.components[step % len(self.distribution.components)]
        low, high = self.distribution.samples
        N = int(torch.randint(low, high + 1, (1,), generator=generator))
        return self.draw(size, K, N, generator, images)

    def draw(
        self, size: int, n_components: int, n_samples: int, generator: torch.Generator, images: int = 1
    ) -> SlottedTasks:
        """`size` tasks, or size / images ones, each in so many signed permutations of the coordinates.

        Every image has a start of its own.
        """
        drawn = sample_tasks(
            self.distribution, size // images, n_components, n_samples, generator, dtype=torch.float64
        )
        X, truth = drawn.X, drawn.truth
        if images > 1:
            Q = signed_permutations(self.n_features, images).mT
            X, means = ((one[:, None] @ Q).flatten(0, 1) for one in (X, truth.means))
            truth = Mixture(truth.weights.repeat_interleave(images, 0), means)
        return self.slotted(X, named_start(X, n_components, START, generator), truth)

    def slotted(self, X: Tensor, start: Mixture, truth: Mixture) -> SlottedTasks:
        """The tasks as tokens.

        Raises:
            HypothesisError: a coordinate beyond the radius.
        """
        (T, N, d), K = X.shape, start.n_components
        room = self.max_components - K
        weights = functional.pad(start.weights, (0, room)).to(self.dtype)
        means = functional.pad(start.means, (0, 0, 0, room)).to(self.dtype)
        sizes = (torch.full((T,), size) for size in (N, K, d))
        tasks = TaskBatch(X.to(self.dtype), weights, means, *sizes, single=False)
        tasks = check_hypotheses(tasks, self.radius, self.floor)
        return SlottedTasks(self.construction.embed(tasks), tasks.component_mask, X, start, truth)

    def states(self, network: Transformer, tasks: SlottedTasks) -> list[Tensor]:
        """The stream after each of the L pairs of layers, (T, N, width) each."""
        free = network.shape.width - tasks.tokens.shape[-1]
        h, found = functional.pad(tasks.tokens, (0, free)), []
        for _ in range(network.shape.loops):
            for number, after in enumerate(network.states(h)):
                h = after
                found += [h] * (number % 2)
        return found

    def read(self, state: Tensor, tasks: SlottedTasks) -> tuple[Tensor, Tensor]:
        """Logits of the weights (T, K) and means (T, K, d) that a state is read out as."""
        s, K = self.construction.stream, tasks.truth.n_components
        seen = state[..., : s.width].clone()
        seen[..., s.slot.slice] = tasks.tokens[..., s.slot.slice]
        logits, means = self.readout.pool(seen, tasks.present)
        return logits[:, :K], means[:, :K]

    def truth_losses(self, state: Tensor, tasks: SlottedTasks) -> Tensor:
        """(T,) the squared distance to the truth after the best permutation; NaN where not finite."""
        return over_permutations(self._costs(state, tasks, tasks.truth))

    def em_losses(self, state: Tensor, tasks: SlottedTasks, wanted: Mixture) -> Tensor:
        """(T,) the squared distance to a state of EM, component by component."""
        return self._costs(state, tasks, wanted).diagonal(dim1=1, dim2=2).mean(-1)

    def _costs(self, state: Tensor, tasks: SlottedTasks, wanted: Mixture) -> Tensor:
        """(T, K, K) of the pair (component of the estimate, component wanted)."""
        logits, means = self.read(state, tasks)
        weights, wanted = logits.softmax(-1), wanted.to(dtype=self.dtype)
        cost = (means[:, :, None] - wanted.means[:, None]).square().mean(-1)
        return cost + (weights[:, :, None] - wanted.weights[:, None]).square()

    @torch.no_grad()
    def estimate(self, network: Transformer, tasks: SlottedTasks) -> Mixture:
        """What the network says, float64.

        Raises:
            ArithmeticError: a number of it is not finite.
        """
        parts = []
        for first in range(0, len(tasks), TASKS_AT_ONCE):
            part = tasks[first : first + TASKS_AT_ONCE]
            parts.append(self.read(self.states(network, part)[-1], part))
        logits, means = (torch.cat(one).double() for one in zip(*parts, strict=True))
        if not bool(logits.isfinite().all() and means.isfinite().all()):
            raise ArithmeticError("an estimate of the network is not finite")
        return Mixture(logits.softmax(-1), means)
