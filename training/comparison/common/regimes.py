"""The tasks that a network is compared with the algorithms on, and what is computed once for all parts.

A regime is one K, one N and one law of the means. Its tasks and the estimates on them are functions of the
seed and of the regime alone: which part asks first makes no difference, and a second part finds them made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

from baselines.em import em
from baselines.map_em import map_em
from baselines.methods import MAX_ITER, METHODS, RESTARTS, TOL
from baselines.metrics import errors
from baselines.mixture import Mixture
from baselines.points import prepare
from baselines.starts import start_means
from console import marks
from constructions.language.shown import short_repr
from training.comparison.common.component_counts import components_served, refusal_of_components
from training.comparison.common.parts import Subject
from training.comparison.common.random_paths import REGIME, RegimePurpose, TaskSet
from training.model.tgmm import TGMM
from training.tasks import TaskBatch, TaskDistribution, sample_tasks

N_SAMPLES = 128
SAMPLES = (32, 512)
SEPARATIONS = (2.0, 4.0, 8.0)
"""In standard deviations of a component: overlapping, touching, apart."""
SIMPLEX_K = 3
"""Components at one distance are so many, or the nearest number of them that is served and possible."""
RANDOM_STARTS = ("random-points", "k-means++", "normal")
STARTS = (*RANDOM_STARTS, "spectral", "truth")
"""Where EM is started; "normal" is the paper's N(0, I)."""
START_NAMES = {
    "random-points": "random points",
    "k-means++": "k-means++",
    "normal": "N(0, I)",
    "spectral": "the spectral estimate",
    "truth": "the truth",
}
NETWORKS = ("learned", "untrained")
SHUFFLED = "another task's"
RESTART_NAME = f"converged EM, likeliest of {RESTARTS} k-means++ starts"
BAD = 10.0
"""A task is failed when its total error is above so many times that of EM from the truth."""
MARKS = {
    "learned": marks.NETWORK,
    "truth": marks.TRUTH,
    "random-points": marks.RANDOM_POINTS,
    "k-means++": marks.KMEANS_PLUS_PLUS,
    "normal": marks.NORMAL,
    "spectral": marks.SPECTRAL,
    "k-means": marks.KMEANS,
    "untrained": marks.UNTRAINED,
    SHUFFLED: marks.SHUFFLED,
}
STYLES = {name: (mark.colour, mark.line, mark.marker) for name, mark in MARKS.items()}
"""Colour, line and marker of networks, of methods, and of the starts of EM."""

_PLACE = "_regimes"  # where a subject keeps them

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Regime:
    """Tasks of one kind. separation None: the paper's means; a number: corners of a simplex so far apart."""

    n_features: int
    n_components: int
    n_samples: int = N_SAMPLES
    separation: float | None = None

    @property
    def title(self) -> str:
        """As in "K = 5, N = 128, separation 2"."""
        apart = "" if self.separation is None else f", separation {self.separation:g}"
        return f"K = {self.n_components}, N = {self.n_samples}{apart}"

    @property
    def distribution(self) -> TaskDistribution:
        """Of the tasks."""
        return TaskDistribution(self.n_features, (self.n_components,), separation=self.separation)

    @property
    def spectral_refusal(self) -> str:
        """Why moments say nothing here, or ""."""
        if self.n_components > self.n_features:
            return f"K = {self.n_components} > d = {self.n_features}: the means are linearly dependent"
        if self.separation is not None:
            return "the corners of a simplex about 0 are linearly dependent"
        return ""

    @property
    def starts(self) -> tuple[str, ...]:
        """Those of STARTS that are possible here."""
        return tuple(name for name in STARTS if name != "spectral" or not self.spectral_refusal)

    @property
    def path(self) -> tuple[int, ...]:
        """Begins the paths of its random numbers."""
        apart = 0 if self.separation is None else round(1000 * self.separation)
        return (REGIME, self.n_components, self.n_samples, apart)


@dataclass(frozen=True, eq=False)
class Found:
    """Estimates of the first n tasks of a regime; a task that is `missing` (n,) has the truth there."""

    mixture: Mixture
    missing: Tensor

    __repr__ = short_repr


def complete(mixture: Mixture) -> Found:
    """Estimates of tasks of which none is missing."""
    return Found(mixture, torch.zeros(len(mixture.weights), dtype=torch.bool))


def once(make: Callable[Concatenate[RegimeTasks, P], R]) -> Callable[Concatenate[RegimeTasks, P], R]:
    """A method of RegimeTasks whose value is made when it is first asked for, and kept."""

    @wraps(make)
    def made(tasks: RegimeTasks, *args: P.args, **kwargs: P.kwargs) -> R:
        key = (make.__name__, *args, *kwargs.values())
        if key not in tasks._made:
            tasks._made[key] = make(tasks, *args, **kwargs)
        return tasks._made[key]

    return made


@dataclass(eq=False)
class RegimeTasks:
    """T tasks of a regime and the estimates on them, each made when it is first asked for."""

    subject: Subject
    regime: Regime
    n_tasks: int
    task_set: TaskSet
    _made: dict[tuple[Any, ...], Any] = field(default_factory=dict)

    __repr__ = short_repr

    def generator(self, purpose: RegimePurpose, *numbers: int) -> torch.Generator:
        """Random numbers of these tasks for one purpose and the numbers that follow it."""
        own = (*self.regime.path, self.n_tasks, self.task_set.value)
        return self.subject.generator_at(*own, *purpose.value.integers(numbers))

    @property
    @once
    def batch(self) -> TaskBatch:
        """The tasks, float64."""
        r, generator = self.regime, self.generator(RegimePurpose.TASKS)
        sizes = (self.n_tasks, r.n_components, r.n_samples)
        return sample_tasks(r.distribution, *sizes, generator, dtype=torch.float64)

    @property
    def truth(self) -> Mixture:
        """The mixtures that the points came from."""
        return self.batch.truth

    @once
    def network(self, name: str) -> Mixture:
        """Weights and means that a network of Subject.networks() puts out; a shuffled copy is of task t + 1.

        Variances, where a network estimates them, are left out: the tasks have unit covariances.
        """
        if name == SHUFFLED:
            return self.network("learned")[torch.arange(self.n_tasks).roll(-1)]
        return estimate_of(self.subject.networks()[name], self.batch.X, self.regime)

    @once
    def start(self, name: str) -> Found:
        """Where EM starts, one of STARTS: equal weights for the random ones. ValueError if impossible."""
        if name == "spectral":
            return self.method("spectral")
        if name == "truth":
            return complete(self.truth)
        generator = self.generator(RegimePurpose.START, STARTS.index(name))
        return complete(named_start(self.batch.X, self.regime.n_components, name, generator))

    @once
    def iterates(self, name: str, steps: int) -> list[Mixture]:
        """The start `name`, then EM after 1, ..., `steps` steps of it."""
        return em_iterates(self.batch.X, self.start(name).mixture, steps)

    @once
    def converged(self, name: str) -> Found:
        """EM from the start `name` until its own stopping rule."""
        start = self.start(name)
        return Found(em(self.batch.X, init=start.mixture, max_iter=MAX_ITER, tol=TOL).mixture, start.missing)

    @property
    def best_em(self) -> Mixture:
        """Converged EM: the likeliest of RESTARTS greedy k-means++ starts."""
        return self.method("em-restarts").mixture

    @property
    @once
    def mode(self) -> Mixture:
        """The posterior mode under the prior of the paper's tasks: MAP-EM from two starts, the more probable.

        They have the means of `best_em` and those of k-means, and equal weights (those of EM may be
        impossible under the prior). The truth is no start: EM has no such help either.
        """
        equal = torch.full_like(self.truth.weights, 1 / self.regime.n_components)
        one, other = (
            map_em(self.batch.X, init=Mixture(equal, start.means), max_iter=MAX_ITER, tol=TOL)
            for start in (self.best_em, self.method("k-means").mixture)
        )
        better = other.objective_per_point > one.objective_per_point
        return Mixture(
            torch.where(better[:, None], other.mixture.weights, one.mixture.weights),
            torch.where(better[:, None, None], other.mixture.means, one.mixture.means),
        )

    @property
    @once
    def floor(self) -> Tensor:
        """(T,) total error of EM from the truth."""
        return errors(self.converged("truth").mixture, self.truth).total

    def failed(self, mixture: Mixture) -> Tensor:
        """(T,) booleans: the total error is above BAD times the floor."""
        return errors(mixture, self.truth).total > BAD * self.floor

    @once
    def method(self, name: str, n_tasks: int | None = None) -> Found:
        """A method of baselines.methods, by its name, on the first n_tasks tasks; None for all."""
        X, truth = self.batch.X[:n_tasks], self.truth[:n_tasks]
        generator = self.generator(RegimePurpose.METHOD, list(METHODS).index(name))
        result = METHODS[name].fit(X, self.regime.n_components, generator, truth=truth)
        if not bool(result.failed.any()):
            if result.mixture is None:
                raise ValueError(f"{name} gave no estimates, needs one for each of {len(X)} tasks")
            return Found(Mixture(result.mixture.weights, result.mixture.means), result.failed)
        weights, means = truth.weights.clone(), truth.means.clone()
        if result.mixture is not None:
            weights[~result.failed], means[~result.failed] = result.mixture.weights, result.mixture.means
        return Found(Mixture(weights, means), result.failed)


def regime_tasks(
    subject: Subject, regime: Regime, n_tasks: int, task_set: TaskSet = TaskSet.SHARED
) -> RegimeTasks:
    """T tasks of the regime for this subject, made once; another `task_set` gives other tasks."""
    if n_tasks < 4:
        raise ValueError(f"the number of tasks is {n_tasks}, needs at least 4 to compare anything")
    kept: dict[tuple[Any, ...], RegimeTasks] = vars(subject).setdefault(_PLACE, {})
    key = (regime, n_tasks, task_set)
    if key not in kept:
        kept[key] = RegimeTasks(subject, regime, n_tasks, task_set)
    return kept[key]


def component_regimes(subject: Subject) -> list[Regime]:
    """The paper's tasks, N = 128 (fewer where the network has fewer positions), each K that it serves."""
    config = subject.model.config
    N = min(N_SAMPLES, config.max_positions or N_SAMPLES)
    chosen = components_served(config)
    if subject.effort.quick and len(chosen) > 2:
        chosen = [chosen[0], chosen[-1]]
    return [Regime(config.n_features, K, N) for K in chosen]


def refusal(subject: Subject) -> str:
    """Why there are no regimes for a network, or ""."""
    return refusal_of_components(subject.model.config)


def all_regimes(subject: Subject) -> list[Regime]:
    """`component_regimes`, other N at the largest K, then fixed separations."""
    config = subject.model.config
    regimes = component_regimes(subject)
    K, N = regimes[-1].n_components, regimes[-1].n_samples
    quick = subject.effort.quick
    for n in SAMPLES[:1] if quick else SAMPLES:
        if n >= K and n != N and (not config.max_positions or n <= config.max_positions):
            regimes.append(Regime(config.n_features, K, n))
    simplex = [k for k in components_served(config) if k <= config.n_features + 1]
    if simplex:
        k = min(simplex, key=lambda k: abs(k - SIMPLEX_K))
        for apart in SEPARATIONS[1:2] if quick else SEPARATIONS:
            regimes.append(Regime(config.n_features, k, N, apart))
    return regimes


def tasks_of(regime: Regime, tasks: int) -> int:
    """Tasks of this regime where the paper's with N_SAMPLES points have `tasks`: half as many of the others
    (EM is slow where components overlap), fewer of longer ones."""
    if regime.separation is not None or regime.n_samples != N_SAMPLES:
        tasks //= 2
    return max(4, min(tasks, tasks * N_SAMPLES // regime.n_samples))


def estimate_of(model: TGMM, X: Tensor, regime: Regime) -> Mixture:
    """The network's weights and means, unit covariances, float64; ValueError where it has none."""
    try:
        found = model.estimate(X, regime.n_components)
    except ValueError as error:
        raise ValueError(f"the network has no estimate of a task of {regime.title}: {error}") from error
    return Mixture(found.weights, found.means)


def named_start(X: Tensor, n_components: int, init: str, generator: torch.Generator) -> Mixture:
    """Equal weights and the means of a rule of baselines.starts for X (T, N, d)."""
    points = prepare(X, None, None)
    means = start_means(points, n_components, init, generator) + points.centre
    return Mixture(torch.full_like(means[..., 0], 1 / n_components), means)


def em_iterates(X: Tensor, start: Mixture, steps: int) -> list[Mixture]:
    """[start, EM(start), EM(EM(start)), ...], steps + 1 mixtures; exact steps of baselines.em.

    A task stays where a component has lost all its points: the step is not defined there.
    """
    found = [start]
    for _ in range(steps):
        found.append(em(X, init=found[-1], max_iter=1, tol=0.0).mixture)
    return found


def distance(estimate: Mixture, reference: Found | Mixture) -> Tensor:
    """(n,) the paper's metric e(estimate, reference), exact alignment; NaN where a reference is missing."""
    if isinstance(reference, Mixture):
        return errors(estimate, reference).total
    n = len(reference.missing)
    return errors(estimate[:n], reference.mixture).total.masked_fill(reference.missing, torch.nan)


def about_tasks(d: int, K: int, N: int, tasks: int, seed: int) -> str:
    """Begins captions of pictures of one K."""
    return f"d = {d}, K = {K}, N = {N}, {tasks} tasks, seed {seed}"
