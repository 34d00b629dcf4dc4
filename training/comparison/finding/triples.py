"""Tasks for interchanges, in threes that share their start: base, source, and another source.

Every three tasks have different mixtures; K of their points are the same in all three, stand at the same
tokens, and are the start of all three. So what the tokens say of the start is the same in base and source,
and a network that only carries its start along carries nothing from one to the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import torch
from torch import Tensor

from constructions.em.tasks import TaskBatch
from constructions.language.shown import short_repr
from training.comparison.finding.counterfactuals import Place, State, exact_answer, first_state, run
from training.comparison.origins.em_problem import EMProblem
from training.tasks import sample_tasks


@dataclass(frozen=True, eq=False)
class Triples:
    """3 G tasks, task number t G + g the t-th of group g; 6 G ordered pairs of base and source.

    X        (3 G, N, d) points, float64.
    start    of every task, the same within a group.
    tokens   (3 G, N, D) in the dtype of the problem.
    states   exact, with the floor of the problem.
    """

    X: Tensor
    start: State
    tokens: Tensor
    states: tuple[State, ...]
    floor: float

    __repr__ = short_repr

    @property
    def groups(self) -> int:
        """G."""
        return len(self.X) // 3

    @property
    def base(self) -> Tensor:
        """(6 G,) the base of each pair."""
        return self._members(0)

    @property
    def source(self) -> Tensor:
        """(6 G,) the source of each pair."""
        return self._members(1)

    def _members(self, which: int) -> Tensor:
        first = torch.tensor([order[which] for order in permutations(range(3))])
        return (first[:, None] * self.groups + torch.arange(self.groups)).flatten()

    def with_other(self, values: Tensor) -> Tensor:
        """(6 G, ...) of each pair the value of that pair which has the same base and the other source."""
        return values.unflatten(0, (3, 2, self.groups)).flip(1).flatten(0, 2)

    def by_group(self, values: Tensor) -> Tensor:
        """(3 G, N, ...) of tasks -> (G, 3 N, ...)."""
        return values.unflatten(0, (3, self.groups)).transpose(0, 1).flatten(1, 2)

    def answers(self) -> Tensor:
        """(6 G, K + K d) what the algorithm says of each base."""
        return exact_answer(self.states)[self.base]

    def counterfactuals(self, place: Place) -> Tensor:
        """(6 G, K + K d) what it says with that variable of the source."""
        source = [_of(state, self.source) for state in self.states]
        start = _of(self.start, self.base)
        steps = len(self.states) // 2
        return exact_answer(run(self.X[self.base], start, steps, self.floor, place, source))


def _of(state: State, tasks: Tensor) -> State:
    return State(*(part[tasks] for part in state))


def triples(problem: EMProblem, groups: int, generator: torch.Generator) -> Triples:
    """G groups of tasks from the generator."""
    n_features, K, N = problem.n_features, problem.n_components, problem.n_samples
    drawn = sample_tasks(problem.distribution, 3 * groups, K, N, generator, dtype=torch.float64).X
    order = torch.rand(groups, N, generator=generator).argsort(1)[:, :K]
    index = order[:, :, None].expand(-1, -1, n_features)
    shared = drawn[:groups].gather(1, index)
    X = drawn.scatter(1, index.repeat(3, 1, 1), shared.repeat(3, 1, 1))
    means = shared.repeat(3, 1, 1)
    weights = torch.full(means.shape[:2], 1 / K, dtype=torch.float64)
    sizes = [torch.full((3 * groups,), size) for size in (N, K, n_features)]
    parts = (part.to(problem.dtype) for part in (X, weights, means))
    tokens = problem.construction.embed(TaskBatch(*parts, *sizes, single=False))
    start = first_state(X, weights, means)
    return Triples(X, start, tokens, run(X, start, problem.steps, problem.floor), problem.floor)
