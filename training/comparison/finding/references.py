"""Networks of which the answer is known: hand-built EM without its M head, and what has nothing of EM."""

from __future__ import annotations

import torch

from constructions.language.transformer import Transformer
from training.comparison.origins.em_problem import EMProblem
from training.comparison.origins.training_runs import RunPlan, starting_network
from training.interpretability.recording import attention_of
from training.model.balance import layers_of


@torch.no_grad()
def without_means(problem: EMProblem) -> Transformer:
    """The hand-built EM with the score of the M layer's first head 0: its means are plain averages."""
    network = problem.constructed()
    attention_of(layers_of(network)[1]).query[0] = 0
    return network


def untrained(problem: EMProblem, seed: int) -> Transformer:
    """Random weights, as trainings start from them."""
    return starting_network(problem, RunPlan("random", "em", learning_rate=0.0, steps=0, seed=seed))
