"""Train from the construction on the truth, find what moved, and write it as a rule that runs by itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import torch

from constructions.language.shown import short_repr
from training.comparison.common.parts import Start
from training.comparison.origins.em_problem import EMProblem
from training.comparison.origins.measure import ProblemResult
from training.comparison.rule.agreement import Agreement
from training.comparison.rule.contest import Contest, OutsideRow, PosteriorRows, StepsRow
from training.comparison.rule.curves import Curve, curves_of
from training.comparison.rule.fitting import fit_to_truth
from training.comparison.rule.networks import NetworkRule, TrainedNetworks, train_network
from training.comparison.rule.settings import TRUTH_NAME, RuleSettings
from training.comparison.rule.update_rule import UpdateRule

CONSTRUCTED, TRAINED = "construction", "trained"


@dataclass(frozen=True)
class RuleResult:
    """All networks, their rules, and the rules as algorithms.

    truth_rule, truth_agreement   the rule of the family that is fitted to the truth, and how much of each
                                  network it explains.
    curves                        functions in place, of the construction and the first network.
    """

    problem: ProblemResult
    settings: RuleSettings
    networks: list[NetworkRule]
    truth_rule: UpdateRule
    truth_agreement: list[Agreement]
    curves: list[Curve]
    steps: list[StepsRow]
    outside: list[OutsideRow]
    posterior: PosteriorRows

    __repr__ = short_repr


def pieces(settings: RuleSettings) -> int:
    """How often :func:`measure_rule` calls `start`."""
    return 3 * settings.seeds + 3


def measure_rule(problem: EMProblem, settings: RuleSettings, start: Start) -> RuleResult:
    """Train, attribute, fit, compare: networks are trained in the problem's dtype and measured in float64.

    Raises ValueError where a training broke off.
    """
    pairs = []
    for place in range(settings.seeds):
        start(f"training network {place + 1}")
        pairs.append(train_network(problem, settings, place))
    exact = replace(problem, dtype=torch.float64)
    trained = TrainedNetworks(exact, settings, *map(list, zip(*pairs, strict=True)))
    networks = []
    for place in range(settings.seeds):
        start(f"what the blocks of network {place + 1} carry")
        shares = trained.shares(place)
        start(f"the rules of network {place + 1}")
        networks.append(trained.rules(place, shares))
    start("the rule fitted to the truth, functions in place")
    truth_rule = fit_to_truth(trained.fitting_cases, trained.fitting.truth)
    said = trained.cases.answers(truth_rule)
    curves = curves_of(exact, exact.constructed(), CONSTRUCTED, trained.fresh)
    curves += curves_of(exact, trained.networks[0], TRAINED, trained.fresh)
    contest = Contest(trained, [one.read for one in networks], [one.fitted for one in networks], truth_rule)
    start("rules as algorithms")
    steps, outside = contest.by_steps(), contest.outside()
    start("the posterior mean")
    sizes = {name: value for name, value in asdict(problem).items() if name != "dtype"}
    return RuleResult(
        problem=ProblemResult(**sizes, dtype=str(problem.dtype).removeprefix("torch.")),
        settings=settings,
        networks=networks,
        truth_rule=truth_rule,
        truth_agreement=[trained.agreement(TRUTH_NAME, said, place) for place in range(settings.seeds)],
        curves=curves,
        steps=steps,
        outside=outside,
        posterior=contest.beside_posterior(),
    )
