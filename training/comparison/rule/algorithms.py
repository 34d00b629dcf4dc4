"""Rules, EM, EM for the posterior mode and networks after equal numbers of steps from the same starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from baselines.em import em
from baselines.map_em import map_em
from baselines.metrics import errors
from baselines.mixture import Mixture
from constructions.language.transformer import Transformer
from training.comparison.origins.em_problem import EMProblem, Examples
from training.comparison.rule.fitting import Cases
from training.comparison.rule.update_rule import UpdateRule


def cases_of(problem: EMProblem, examples: Examples) -> Cases:
    """Points and starts, read back from tokens in float64."""
    s, K = problem.construction.stream, problem.n_components
    means = examples.tokens[:, :K, s.mu.slice]
    weights = torch.full(means.shape[:2], 1 / K, dtype=torch.float64)
    return Cases(examples.tokens[..., s.x.slice], Mixture(weights, means), problem.steps)


def rule_errors(rule: UpdateRule, cases: Cases, truth: Mixture, steps: Sequence[int]) -> Tensor:
    """(steps, T) total errors after each number of steps."""
    path = rule.path(cases.X, cases.start, max(steps))
    return torch.stack([errors(path[step - 1], truth).total for step in steps])


def em_errors(cases: Cases, truth: Mixture, steps: Sequence[int]) -> Tensor:
    """The same of exact EM."""

    def after(step: int) -> Mixture:
        return em(cases.X, init=cases.start, max_iter=step, tol=0.0).mixture

    return _errors_of(after, truth, steps)


def mode_errors(cases: Cases, truth: Mixture, steps: Sequence[int], box: float) -> Tensor:
    """The same of MAP-EM, which knows the box of the means and the law of the weights."""

    def after(step: int) -> Mixture:
        return map_em(cases.X, box=box, init=cases.start, max_iter=step, tol=0.0).mixture

    return _errors_of(after, truth, steps)


@torch.no_grad()
def network_errors(
    problem: EMProblem, network: Transformer, examples: Examples, steps: Sequence[int]
) -> Tensor:
    """The same of a network, read out after that many passes of its block, whatever it was trained for."""
    h, found = examples.tokens, []
    for _ in range(max(steps)):
        h = network.block(h)[-1]
        found.append(errors(Mixture(*problem.readout(h, examples.present)), examples.truth).total)
    return torch.stack([found[step - 1] for step in steps])


def _errors_of(after: Callable[[int], Mixture], truth: Mixture, steps: Sequence[int]) -> Tensor:
    return torch.stack([errors(after(step), truth).total for step in steps])
