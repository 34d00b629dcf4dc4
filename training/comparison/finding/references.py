"""Interchanges in networks of which the answer is known: the hand-built EM and what has nothing of it."""

from __future__ import annotations

import torch

from console.phrases import number
from constructions.language.tables import text_table
from constructions.language.transformer import Transformer
from training.comparison.finding.interchange import VariableUse, measure_interchange
from training.comparison.origins.em_problem import EMProblem
from training.comparison.origins.training_runs import RunPlan, starting_network
from training.interpretability.recording import attention_of
from training.model.balance import layers_of

HEADER = (
    "network",
    "variable",
    "loop",
    "bases",
    "decodable R^2",
    "shuffled",
    "accuracy",
    "control",
    "R^2",
    "source R^2",
)


@torch.no_grad()
def without_means(problem: EMProblem) -> Transformer:
    """The hand-built EM with the score of the M layer's first head 0: its means are plain averages."""
    network = problem.constructed()
    attention_of(layers_of(network)[1]).query[0] = 0
    return network


def untrained(problem: EMProblem, seed: int) -> Transformer:
    """Random weights, as trainings start from them."""
    return starting_network(problem, RunPlan("random", "em", learning_rate=0.0, steps=0, seed=seed))


def reference_uses(problem: EMProblem, n_untrained: int, quick: bool) -> dict[str, tuple[VariableUse, ...]]:
    """By network: hand-built, without its first M head, and n untrained ones, each with a seed of its own."""
    found = {
        "hand-built": measure_interchange(problem, problem.constructed(), 0, quick),
        "hand-built, M head's score 0": measure_interchange(problem, without_means(problem), 0, quick),
    }
    for seed in range(n_untrained):
        network = untrained(problem, seed)
        found[f"untrained {seed}"] = measure_interchange(problem, network, seed, quick)
    return found


def reference_table(uses: dict[str, tuple[VariableUse, ...]]) -> str:
    """As plain text, a line a variable."""
    rows = [
        (name, use.variable, str(use.loop), str(use.bases), *map(number, _figures(use)))
        for name, found in uses.items()
        for use in found
    ]
    return text_table(HEADER, rows)


def _figures(use: VariableUse) -> tuple[float, ...]:
    return (
        use.decodable_r2,
        use.shuffled_r2,
        use.accuracy,
        use.shuffled_accuracy,
        use.r2,
        use.source_r2,
    )
