"""Do heads attend by responsibility? Every head against what the theorem's heads would attend to.

The patterns are those of training.comparison.attention.patterns, the statistic and its permutation test
those of training.comparison.attention.row_correlation. Uniform attention of the tokens over the points, the M
layer's second head, is measured by entropy / log N. The hand-built EM goes through the same statistic.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from console.typed_json import Absent
from constructions.language.shown import short_repr
from training.comparison.attention.patterns import (
    Pattern,
    all_scores,
    constructed_patterns,
    patterns_of,
    point_patterns,
    token_patterns,
    uniformity,
)
from training.comparison.attention.row_correlation import permutation_test
from training.comparison.common.component_counts import refusal_of_components
from training.comparison.common.em_answers import (
    AnsweredTasks,
    HeadGrid,
    components_of,
    draw_tasks,
    head_grid,
    points_of,
    responsibilities,
)
from training.comparison.common.parts import Start, Subject
from training.comparison.common.random_paths import Purpose
from training.interpretability.recording import Recording, attention_maps, record
from training.model.tgmm import TGMM

LEVEL = 0.05
SHOWN = 48
"""Points of the example map."""


@dataclass(frozen=True)
class Size:
    """How much is computed: tasks, points a task, permutations."""

    tasks: int
    points: int
    permutations: int


@dataclass(frozen=True)
class HeadStatistic(HeadGrid):
    """A statistic of every head; with a permutation test of patterns that permutations change.

    p          corrected for the number of heads. threshold: the 95 % quantile of the largest by chance.
    """

    p: Annotated[list[list[float]] | None, Absent()] = None
    threshold: Annotated[float | None, Absent()] = None

    @property
    def told(self) -> np.ndarray:
        """(L, H) told from chance: p < LEVEL, and 0 outside the interval over tasks; False without a test."""
        p = np.ones_like(self.mean) if self.p is None else np.array(self.p)
        return (p < LEVEL) & ((np.array(self.low) > 0) | (np.array(self.high) < 0))

    def p_text(self, place: tuple[int, int]) -> str:
        """p of one head; a dash without a test."""
        return "-" if self.p is None else f"{self.p[place[0]][place[1]]:.3f}"


@dataclass(frozen=True)
class Example:
    """The attention of one head, counted from 1, in the first task.

    rho    its mean correlation. sizes: points of each component in a row.
    maps   the two networks' attention times N, and "c", co-responsibility; points by component.
    """

    layer: int
    head: int
    rho: float
    sizes: list[int]
    maps: dict[str, list[list[float]]]


@dataclass(frozen=True)
class RegimeResult:
    """One K. Keys are networks, and patterns (or "uniform", "share": of the tokens' attention).

    drawn        tasks, of which EM has an answer in `tasks`.
    constructed  the three heads of a constructed EM step. distance: two heads of distance alone.
    """

    K: int
    N: int
    tasks: int
    drawn: int
    permutations: int
    networks: dict[str, dict[str, HeadStatistic]]
    constructed: dict[str, HeadStatistic]
    example: Example
    distance: dict[str, HeadStatistic]

    __repr__ = short_repr


@dataclass(frozen=True)
class AttentionResult:
    """Of every K."""

    d: int
    seed: int
    regimes: list[RegimeResult]

    __repr__ = short_repr


def size_of(subject: Subject) -> Size:
    """Small with little effort."""
    return Size(min(32, subject.effort.tasks), points_of(subject, 64 if subject.effort.quick else 128), 299)


def against_chance(
    patterns: dict[str, Pattern], permutations: int, generator: torch.Generator, shape: tuple[int, int]
) -> dict[str, HeadStatistic]:
    """rho with interval, p corrected for the number of heads, threshold; `shape` is (L, H)."""
    found = {}
    for name, pattern in patterns.items():
        test = permutation_test(
            pattern.heads, pattern.target, pattern.mask, pattern.moves, permutations, generator
        )
        p = test.p_largest.reshape(shape).tolist()
        found[name] = replace(_grid(test.observed, shape), p=p, threshold=test.threshold)
    return found


def _grid(values: Tensor, shape: tuple[int, int]) -> HeadStatistic:
    return HeadStatistic(**vars(head_grid(values.double(), shape)))


def _token_rows(model: TGMM, recording: Recording) -> dict[str, HeadStatistic]:
    """Of the attention of component tokens: how even over points, and its share on them."""
    scores = all_scores(model, recording)[:, :, recording.token_places].double()
    own = scores[..., recording.point_places]
    outside = scores.logsumexp(-1)
    if model.config.causal:  # the tokens stand last: they see every point, and the tokens before them
        T = recording.states.shape[2]
        later = torch.ones(T, T, dtype=torch.bool).triu(1)[recording.token_places]
        outside = scores.masked_fill(later, -torch.inf).logsumexp(-1)
    share = (own.logsumexp(-1) - outside).exp().mean(-1)
    shape = (model.config.layers, model.config.heads)
    return {"uniform": _grid(uniformity(own), shape), "share": _grid(share, shape)}


def _example(model: TGMM, control: TGMM, tasks: AnsweredTasks, found: dict[str, HeadStatistic]) -> Example:
    """Attention of the head with the largest `points` rho in the first task, its points by component."""
    mean = torch.tensor(found["points"].mean)
    layer, head = divmod(int(mean.argmax()), mean.shape[1])
    task = tasks[:1]
    maps: dict[str, list[list[float]]] = {}
    w = responsibilities(task.X, task.reference)[0]
    labels = w.argmax(1)
    shown = torch.arange(min(SHOWN, len(w)))
    order = shown[labels[shown].argsort(stable=True)]
    for name, network in (("learned", model), ("untrained", control)):
        recording = record(network, task.X, tasks.reference.n_components)
        weights = attention_maps(network, recording, layer)[0, head]
        points = weights[recording.point_places, recording.point_places]
        maps[name] = _rounded(points[order][:, order] * len(w))
    maps["c"] = _rounded((w @ w.mT)[order][:, order])
    sizes = labels[order].unique_consecutive(return_counts=True)[1].tolist()
    return Example(layer + 1, head + 1, float(mean[layer, head]), sizes, maps)


def _rounded(values: Tensor) -> list[list[float]]:
    return [[float(f"{value:.3g}") for value in row] for row in values.tolist()]


@torch.no_grad()
def compute(subject: Subject, start: Start) -> AttentionResult:
    """Every pattern of every head, learned and untrained, and of the construction, for each K."""
    size, regimes = size_of(subject), []
    shape = (subject.model.config.layers, subject.model.config.heads)
    for K in components_of(subject):
        start(f"attention, K = {K}: tasks and constructed heads")
        tasks = draw_tasks(subject, size.tasks, K, size.points, subject.generator(Purpose.ATTENTION_TASKS, K))
        chance = subject.generator(Purpose.ATTENTION_CHANCE, K)
        patterns, even = constructed_patterns(tasks)
        constructed = against_chance(patterns, size.permutations, chance, (1, 3))
        constructed["uniform"] = _grid(even, (1, 3))
        networks: dict[str, dict[str, HeadStatistic]] = {}
        for name, model in subject.networks().items():
            start(f"attention, K = {K}: heads of the {name} network")
            recording = record(model, tasks.X, K)
            patterns = patterns_of(model, recording, tasks)
            found = against_chance(patterns, size.permutations, chance, shape)
            networks[name] = found | (_token_rows(model, recording) if recording.n_tokens else {})
        regimes.append(
            RegimeResult(
                K=K,
                N=size.points,
                tasks=len(tasks),
                drawn=size.tasks,
                permutations=size.permutations,
                networks=networks,
                constructed=constructed,
                example=_example(subject.model, subject.untrained, tasks, networks["learned"]),
                distance=distance_alone(tasks),
            )
        )
    return AttentionResult(subject.model.config.n_features, subject.effort.seed, regimes)


def distance_alone(tasks: AnsweredTasks) -> dict[str, HeadStatistic]:
    """The statistics of two heads that attend by distance r alone, exp(-r^2 / 2) and exp(-r).

    r is |x_i - x_j| among points, and |x_i - mu_k| from tokens, mu the reference's means.
    """
    X, means = tasks.X, tasks.reference.means
    w = responsibilities(X, tasks.reference)
    among, to_means = (
        torch.stack([-r.square() / 2, -r], 1) for r in (torch.cdist(X, X), torch.cdist(means, X))
    )
    patterns = point_patterns(among, X, w) | token_patterns(to_means.mT, to_means, X, w, means)
    return {
        name: _grid(pattern.correlation, (1, 2))
        for name, pattern in patterns.items()
        if name != "E"  # there distance to a mean is the responsibility itself
    }


def refusal(subject: Subject) -> str:
    """Why there is no attention to look at."""
    if subject.model.config.backbone != "transformer":
        return f"the backbone is {subject.model.config.backbone!r}: it has no attention"
    return refusal_of_components(subject.model.config)
