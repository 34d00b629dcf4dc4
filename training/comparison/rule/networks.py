"""Of each trained network: what its blocks carry, the rule read off it, the rule fitted to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from baselines.metrics import errors
from baselines.mixture import Mixture
from constructions.language.shown import short_repr
from constructions.language.transformer import Transformer
from training.comparison.common.random_paths import OriginPurpose
from training.comparison.origins.em_problem import EMProblem, Examples
from training.comparison.origins.measure import SEEDS_APART
from training.comparison.origins.training_runs import RunPlan, measure, train
from training.comparison.rule.agreement import Agreement, agreement
from training.comparison.rule.algorithms import cases_of
from training.comparison.rule.fitting import NUMBERS, Cases, fit_to_answers
from training.comparison.rule.groups import (
    Forms,
    forms_of_network,
    network_of,
    sublayer_groups,
    theorem_groups,
)
from training.comparison.rule.settings import (
    EM_NAME,
    FITTED_NAME,
    READ_NAME,
    SHUFFLED_NAME,
    RuleSettings,
)
from training.comparison.rule.shares import FairShare, GroupShare, fair_shares, group_shares
from training.comparison.rule.sites import SiteFits, read_off
from training.comparison.rule.update_rule import UpdateRule
from training.model.balance import balanced

INGREDIENTS: dict[str, tuple[str, ...]] = {
    "responsibilities: fit, norm": ("fit", "norm"),
    "weights: weight, answer": ("weight", "answer"),
    "shares: floor, sharpness": ("floor", "sharpness"),
    "over-relaxation: average, old": ("average", "old"),
    "shrinkage: average, centre": ("average", "centre"),
}
"""What a rule may do otherwise than EM, and the numbers that say how; `average` is in two."""


@dataclass(frozen=True)
class NetworkShares:
    """What the changed weights carry: sub-layers by Shapley values, parts by the theorem's use of them."""

    fair: list[FairShare]
    groups: list[GroupShare]

    __repr__ = short_repr


@dataclass(frozen=True)
class NetworkRule:
    """One trained network and its rules.

    error, construction_error   to the truth, on the fresh tasks. distance  of weights to the construction.
    read, read_fit, fitted      the rule read off and its regressions; the rule fitted to its answers.
    agreements                  of EM, both rules, the control, and the other networks, with this one.
    alone, without              fits with one ingredient free, and with all but that one.
    """

    seed: int
    error: float
    construction_error: float
    distance: float
    shares: NetworkShares
    read: UpdateRule
    read_fit: SiteFits
    fitted: UpdateRule
    agreements: list[Agreement]
    alone: list[Agreement]
    without: list[Agreement]

    __repr__ = short_repr


@dataclass(frozen=True, eq=False)
class TrainedNetworks:
    """Networks, in float64, and the tasks that they are examined on.

    problem   in float64. networks, distances   one a seed.
    """

    problem: EMProblem
    settings: RuleSettings
    networks: list[Transformer]
    distances: list[float]

    __repr__ = short_repr

    @cached_property
    def fitting(self) -> Examples:
        """Tasks that rules are fitted on."""
        return self.problem.examples(
            self.settings.fitting_tasks, OriginPurpose.RULE_FITTED, self.settings.seed
        )

    @cached_property
    def fresh(self) -> Examples:
        """Tasks that nothing was fitted on."""
        return self.problem.examples(self.settings.tasks, OriginPurpose.RULE_FRESH, self.settings.seed)

    @cached_property
    def fitting_cases(self) -> Cases:
        """Points and starts of the first."""
        return cases_of(self.problem, self.fitting)

    @cached_property
    def cases(self) -> Cases:
        """Points and starts of the second."""
        return cases_of(self.problem, self.fresh)

    @torch.no_grad()
    def answers(self, network: Transformer, examples: Examples) -> Mixture:
        """What a network says."""
        return Mixture(*self.problem.outputs(network, examples))

    def agreement(self, name: str, answers: Mixture, place: int) -> Agreement:
        """Of answers for the fresh tasks with a network's."""
        network = self.answers(self.networks[place], self.fresh)
        return agreement(name, answers, network, self.fresh.em, self.fresh.truth)

    def shares(self, place: int) -> NetworkShares:
        """What the changed weights of a network carry, on the first fresh tasks."""
        constructed = self.problem.constructed()
        few = self.fresh[: self.settings.share_tasks]

        @torch.no_grad()
        def loss(forms: Sequence[Forms]) -> float:
            return float(self.problem.losses(network_of(forms, constructed), few, "truth").mean())

        pair = forms_of_network(balanced(constructed)), forms_of_network(self.networks[place])
        parts = theorem_groups(constructed, self.problem.construction.stream)
        return NetworkShares(
            fair_shares(*pair, sublayer_groups(constructed), loss), group_shares(*pair, parts, loss)
        )

    def rules(self, place: int, shares: NetworkShares) -> NetworkRule:
        """The rules of a network and how far they explain it."""
        network = self.networks[place]
        own = self.answers(network, self.fresh)
        read, read_fit = read_off(self.problem, network, self.fitting)
        fitted = self._fitted(place, NUMBERS)
        em, said = self.fresh.em, self.cases.answers(fitted)
        others = {
            f"the network of seed {self.seed_of(other)}": self.answers(one, self.fresh)
            for other, one in enumerate(self.networks)
            if other != place
        }
        compared = {
            EM_NAME: em,
            READ_NAME: self.cases.answers(read),
            FITTED_NAME: said,
            SHUFFLED_NAME: _shuffled(said, em),
        } | others
        constructed = self.answers(self.problem.constructed(), self.fresh)
        alone, without = [], []
        for name, numbers in INGREDIENTS.items():
            rest = tuple(one for one in NUMBERS if one not in numbers or one == "average")
            for found, free in ((alone, numbers), (without, rest)):
                found.append(self.agreement(name, self.cases.answers(self._fitted(place, free)), place))
        return NetworkRule(
            seed=self.seed_of(place),
            error=_error(own, self.fresh),
            construction_error=_error(constructed, self.fresh),
            distance=self.distances[place],
            shares=shares,
            read=read,
            read_fit=read_fit,
            fitted=fitted,
            agreements=[self.agreement(name, answers, place) for name, answers in compared.items()],
            alone=alone,
            without=without,
        )

    def seed_of(self, place: int) -> int:
        """Of a network's training."""
        return training_seed(self.settings, place)

    def _fitted(self, place: int, free: Sequence[str]) -> UpdateRule:
        answers = self.answers(self.networks[place], self.fitting)
        return fit_to_answers(self.fitting_cases, answers, free)


def training_seed(settings: RuleSettings, place: int) -> int:
    """As one-architecture-two-origins has them, so that its networks are these."""
    return SEEDS_APART * settings.seed + place


def train_network(problem: EMProblem, settings: RuleSettings, place: int) -> tuple[Transformer, float]:
    """One network, in float64, trained in the dtype of the problem, and its distance to the construction.

    Raises ValueError where training broke off.
    """
    seed = training_seed(settings, place)
    plan = RunPlan("constructed", "truth", settings.rate, settings.training_steps, seed)
    few = settings.share_tasks, OriginPurpose.HELD_OUT, settings.seed
    network = train(problem, plan, problem.examples(*few)).network.double()
    exact = replace(problem, dtype=torch.float64)
    found = measure(exact, network, exact.examples(*few), "truth")
    if found.weights != found.weights:
        raise ValueError(
            f"the training of seed {seed} at rate {settings.rate:g} broke off, needs a smaller one"
        )
    return network, found.weights


def _error(answers: Mixture, examples: Examples) -> float:
    return float(errors(answers, examples.truth).total.mean())


def _shuffled(answers: Mixture, em: Mixture) -> Mixture:
    """EM plus what the answers of the task before add to EM there; the weights are EM's."""
    return Mixture(em.weights, em.means + (answers.means - em.means).roll(1, 0))
