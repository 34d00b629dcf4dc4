"""What the trained networks are measured against, on the same held-out tasks; nothing here is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from baselines.em import em
from baselines.methods import MAX_ITER, METHODS, RESTARTS, TOL
from baselines.mixture import Mixture
from constructions.language.shown import short_repr
from training.comparison.common.random_paths import StartsPurpose, generator_of
from training.comparison.common.regimes import em_iterates
from training.comparison.starts.learning.arms import RunPlan, WideSizes, starting_network
from training.comparison.starts.learning.levels import HeldOut, Level, level, level_of, more_em
from training.comparison.starts.learning.slotted_tasks import StartProblem
from training.model.tgmm import TGMM
from training.serving.loading import load_released
from training.serving.views import likeliest, signed_permutations

SHIPPED = {2: ("d2",), 8: ("d8", "d8-long")}
"""The networks that ship for the paper's tasks, by d."""
VIEWS = 4
UNTRAINED, CONVERGED, ORACLE = "the construction, untrained", "EM from the start", "EM from the truth"
FITTED = {"em-restarts": f"EM, likeliest of {RESTARTS} starts", "map-em": "MAP-EM, which knows the prior"}
"""Of baselines.methods, with the names that tables give them."""


@dataclass(frozen=True)
class Reference:
    """Levels of something that this study did not train.

    watched  on the tasks that training was watched on, the first of each K: what curves are drawn beside.
    """

    n_features: int
    name: str
    levels: list[Level]
    watched: list[Level]

    __repr__ = short_repr


def shipped_name(network: str, views: int = 1) -> str:
    """As tables call a network that ships."""
    return f"{network} as shipped" + (f", {views} views" if views > 1 else "")


def references(
    problem: StartProblem, sizes: WideSizes, asked: Sequence[HeldOut], watched: Sequence[HeldOut]
) -> list[Reference]:
    """The start, EM from it and from the truth, the construction, and the shipped networks of this d."""
    d, steps = problem.n_features, problem.steps
    constructed = starting_network(problem, RunPlan(d, "constructed", "none", 0.0, 0, 0), sizes)
    rules: dict[str, Callable[[HeldOut], Level]] = {
        "the start": lambda one: level(one.tasks.start, one),
        UNTRAINED: lambda one: level(problem.estimate(constructed, one.tasks), one),
        f"{steps} exact EM steps": lambda one: level(
            em_iterates(one.tasks.X, one.tasks.start, steps)[-1], one
        ),
        CONVERGED: lambda one: level(_converged(one), one),
        ORACLE: lambda one: level(one.oracle, one),
    }
    for method, name in FITTED.items():
        rules[name] = lambda one, method=method: level(_fitted(method, one), one)
    for network in SHIPPED.get(d, ()):
        model = load_released(network).model
        rules[shipped_name(network)] = lambda one, model=model: level(
            _estimate(model, one.tasks.X, one.tasks.truth.n_components), one
        )
        rules[shipped_name(network, VIEWS)] = lambda one, model=model: _of_views(model, one)
    return [
        Reference(d, name, [rule(one) for one in asked], [rule(one) for one in watched])
        for name, rule in rules.items()
    ]


def _converged(asked: HeldOut) -> Mixture:
    return em(asked.tasks.X, init=asked.tasks.start, max_iter=MAX_ITER, tol=TOL).mixture


def _fitted(method: str, asked: HeldOut) -> Mixture:
    """Of baselines.methods.

    Raises:
        ArithmeticError: it has no estimate of a task.
    """
    K = asked.tasks.truth.n_components
    generator = generator_of(StartsPurpose.METHODS, list(FITTED).index(method), K)
    found = METHODS[method].fit(asked.tasks.X, K, generator)
    if found.mixture is None or bool(found.failed.any()):
        raise ArithmeticError(f"{method} has no estimate of {int(found.failed.sum())} tasks")
    return Mixture(found.mixture.weights, found.mixture.means)


def _estimate(model: TGMM, X: Tensor, n_components: int) -> Mixture:
    found = model.estimate(X, n_components)
    return Mixture(found.weights, found.means)


def _of_views(model: TGMM, asked: HeldOut) -> Level:
    """The likeliest of VIEWS signed permutations: before EM, and after EM of each."""
    X, K = asked.tasks.X, asked.tasks.truth.n_components
    seen = []
    for image in signed_permutations(X.shape[-1], VIEWS):
        found = _estimate(model, X @ image.mT, K)
        seen.append(Mixture(found.weights, found.means @ image))
    after = [more_em(one, asked.tasks) for one in seen]
    return level_of(likeliest(seen, X, None)[0], likeliest(after, X, None)[0], asked)
