"""Of the numbers of components that a network serves, those that the paper has tasks of."""

from __future__ import annotations

from functools import cache

import torch

from training.comparison.common.random_paths import Purpose, seed_of
from training.model.settings import ModelConfig
from training.tasks import TaskDistribution, sample_tasks

TRIED = 64
"""So many tasks must be found by rejection."""


@cache
def has_tasks(n_features: int, n_components: int) -> bool:
    """Whether K means in R^d of pairwise cosines below the paper's bound are found by its rejection step.

    TRIED sets are looked for with a fixed seed; more than 200,000 refusals in a row count as none.
    """
    generator = torch.Generator().manual_seed(seed_of(0, *Purpose.TASKS_EXIST.value.integers(())))
    try:
        distribution = TaskDistribution(n_features, components=(n_components,))
        sample_tasks(distribution, TRIED, n_components, 1, generator)
    except ValueError:
        return False
    return True


def components_served(config: ModelConfig) -> list[int]:
    """Every K >= 2 that the network serves and the paper has tasks of, ascending."""
    return [K for K in config.components if K >= 2 and has_tasks(config.n_features, K)]


def small_and_largest(config: ModelConfig) -> list[int]:
    """Of those K = 3, or the smallest where 3 is missing, and the largest, if it is another; [] for none."""
    served = components_served(config)
    return sorted({3 if 3 in served else served[0], served[-1]}) if served else []


def refusal_of_components(config: ModelConfig) -> str:
    """Why a network cannot be asked about mixtures of several components, or ""."""
    several = components_served(config)
    if several:
        wanted = 2 * several[-1]
        if config.max_positions and config.max_positions < wanted:
            return f"it has positions for {config.max_positions} points, needs at least 2 K = {wanted}"
        return ""
    if max(config.components) < 2:
        return "it serves K = 1 alone, a single normal distribution: every method here has the same answer"
    if config.n_features == 1:
        return (
            f"components are {config.components}: in one dimension the paper has tasks of K = 2 alone, for "
            "of three means two have cosine 1"
        )
    return (
        f"components are {config.components}: in {config.n_features} dimensions the paper's rejection finds "
        "no such means with every pairwise cosine below its bound"
    )
