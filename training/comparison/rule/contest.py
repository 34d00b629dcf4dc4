"""All methods on the same fresh tasks: by steps, on tasks of other sizes, and beside the posterior mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from baselines.metrics import errors
from baselines.posterior_mean import posterior_mean
from baselines.posterior_sampling import TaskPrior
from console.phrases import Interval
from constructions.language.shown import short_repr
from training.comparison.common.random_paths import OriginPurpose, generator_of
from training.comparison.common.task_statistics import mean_interval
from training.comparison.origins.em_problem import EMProblem
from training.comparison.rule.algorithms import (
    cases_of,
    em_errors,
    mode_errors,
    network_errors,
    rule_errors,
)
from training.comparison.rule.networks import TrainedNetworks
from training.comparison.rule.settings import (
    EM_NAME,
    FITTED_NAME,
    MODE_NAME,
    NETWORK_NAME,
    POSTERIOR_NAME,
    READ_NAME,
    TRUTH_NAME,
)
from training.comparison.rule.update_rule import UpdateRule

OUTSIDE = ("n_samples", 16), ("n_samples", 128), ("n_components", 2), ("n_components", 5), ("box", 5.0)
"""What differs from the tasks of training, one at a time."""
SHORT = {"n_samples": "N", "n_components": "K", "box": "box"}


@dataclass(frozen=True)
class StepsRow:
    """Mean errors of a method after each number of steps, and the mean of its errors less EM's."""

    method: str
    errors: list[Interval]
    less_em: list[Interval]

    __repr__ = short_repr


@dataclass(frozen=True)
class OutsideRow:
    """Mean errors after as many steps as in training; a method that cannot be run there is missing."""

    tasks: str
    errors: dict[str, Interval]

    __repr__ = short_repr


@dataclass(frozen=True)
class PosteriorRows:
    """Mean errors on few tasks, by method and steps; converged: of how many tasks the sampler is sure."""

    tasks: int
    converged: int
    errors: dict[str, Interval]

    __repr__ = short_repr


@dataclass(frozen=True, eq=False)
class Contest:
    """Rules of one name are averaged: one a network, their errors averaged task by task."""

    trained: TrainedNetworks
    read: list[UpdateRule]
    fitted: list[UpdateRule]
    to_truth: UpdateRule

    __repr__ = short_repr

    @property
    def rules(self) -> dict[str, list[UpdateRule]]:
        """By their names."""
        return {READ_NAME: self.read, FITTED_NAME: self.fitted, TRUTH_NAME: [self.to_truth]}

    def errors_at(self, problem: EMProblem, tasks: int, steps: Sequence[int]) -> dict[str, Tensor]:
        """(steps, T) of every method on fresh tasks of a problem, which may differ from that of training."""
        seed = self.trained.settings.seed
        examples = problem.examples(tasks, OriginPurpose.RULE_FRESH, seed)
        cases, truth = cases_of(problem, examples), examples.truth
        found = {
            EM_NAME: em_errors(cases, truth, steps),
            MODE_NAME: mode_errors(cases, truth, steps, problem.box),
        }
        if problem.n_components == self.trained.problem.n_components:
            networks = self.trained.networks
            each = [network_errors(problem, network, examples, steps) for network in networks]
            found[NETWORK_NAME] = torch.stack(each).mean(0)
        for name, rules in self.rules.items():
            found[name] = torch.stack([rule_errors(rule, cases, truth, steps) for rule in rules]).mean(0)
        return found

    def by_steps(self) -> list[StepsRow]:
        """On tasks like those of training."""
        settings = self.trained.settings
        found = self.errors_at(self.trained.problem, settings.tasks, settings.at_steps)
        rows = []
        for name, values in found.items():
            less = values - found[EM_NAME]
            rows.append(StepsRow(name, *([self._interval(one) for one in part] for part in (values, less))))
        return rows

    def outside(self) -> list[OutsideRow]:
        """On tasks of another size, as many of each."""
        problem, tasks = self.trained.problem, self.trained.settings.tasks
        rows = []
        for name, value in OUTSIDE:
            other = replace(problem, **{name: value})
            found = self.errors_at(other, tasks, [problem.steps])
            means = {method: self._interval(values[0]) for method, values in found.items()}
            rows.append(OutsideRow(f"{SHORT[name]} = {value:g}", means))
        return rows

    def beside_posterior(self) -> PosteriorRows:
        """The first tasks of `by_steps`, where the Bayes estimate under the prior is affordable."""
        settings, problem = self.trained.settings, self.trained.problem
        few, steps = settings.posterior_tasks, problem.steps
        examples, long = self.trained.fresh[:few], [settings.long_steps]
        cases, truth = cases_of(problem, examples), examples.truth
        found = posterior_mean(
            cases.X,
            problem.n_components,
            prior=TaskPrior(box=problem.box),
            generator=generator_of(OriginPurpose.RULE_POSTERIOR, settings.seed),
        )
        each = {POSTERIOR_NAME: errors(found.mixture, truth).total}
        for name, values in self.errors_at(problem, settings.tasks, [steps]).items():
            each[f"{name}, {steps} steps"] = values[0, :few]
        each[f"{EM_NAME}, {long[0]} steps"] = em_errors(cases, truth, long)[0]
        each[f"{MODE_NAME}, {long[0]} steps"] = mode_errors(cases, truth, long, problem.box)[0]
        rows = {name: self._interval(values) for name, values in each.items()}
        return PosteriorRows(few, int(found.converged.sum()), rows)

    def _interval(self, values: Tensor) -> Interval:
        return mean_interval(values, generator_of(OriginPurpose.RULE_RESAMPLED, self.trained.settings.seed))
