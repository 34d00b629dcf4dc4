"""Published laws of tasks by their names, and held-out sets of each, fixed by a seed.

A set's numbers are those of a CPU in float64. Where a paper and its code differ, the paper's text is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from baselines.checks import check_count
from baselines.mixture import Mixture
from constructions.language.shown import short_repr
from training.tasks.batch import sample_tasks
from training.tasks.distribution import TaskDistribution

SIZES, SETS = 0, 1  # which random numbers of a benchmark


@dataclass(frozen=True)
class Prior:
    """A law with its source.

    covariance_type  of the mixtures as one fits them: that of Mixture which holds all of the law's.
    """

    name: str
    source: str
    law: TaskDistribution
    covariance_type: str


@dataclass(frozen=True, eq=False)
class HeldOut:
    """One data set: X (N, d), the component each point came from (N,), the mixture; float64."""

    X: Tensor
    labels: Tensor
    truth: Mixture

    __repr__ = short_repr


_flat = partial(TaskDistribution, 2, max_cosine=2.0, weights="dirichlet")
"""d = 2, flat Dirichlet weights, no mean drawn again."""

_PRIORS = (
    Prior(
        "paper-d2",
        "arXiv 2505.11918, section 4: d = 2, K 2 to 5, unit covariances, N = 64 to 128",
        TaskDistribution(2),
        "unit",
    ),
    Prior(
        "paper-d8",
        "arXiv 2505.11918, section 4: d = 8, K 2 to 5, unit covariances, N = 64 to 128",
        TaskDistribution(8),
        "unit",
    ),
    Prior(
        "set-transformer",
        "arXiv 1810.00825, section 5.3: d = 2, K = 4, means uniform in [-4, 4]^2, deviation 0.3, weights of "
        "a flat Dirichlet, N uniform on 100 to 499; networks there estimate diagonal covariances",
        _flat((4,), (100, 499), covariance="spherical", deviation_range=(0.3, 0.3), box=4.0),
        "diagonal",
    ),
    Prior(
        "dac-like",
        "after arXiv 1909.13433 (d = 2, more components than set-transformer), with numbers of our own: K 1 "
        "to 12, means uniform in [-6, 6]^2, deviations 0.2 to 0.6, flat Dirichlet weights, N 100 to 1,000",
        _flat(tuple(range(1, 13)), (100, 1000), covariance="diagonal", deviation_range=(0.2, 0.6), box=6.0),
        "diagonal",
    ),
    Prior(
        "cluster-pfn",
        "arXiv 2510.24318: d = 2, K 1 to 10, normal-inverse-Wishart of kappa 0.01, 2 degrees of freedom and "
        "scale I, weights of a flat Dirichlet, N 100 to 500, every coordinate scaled to [0, 1]",
        _flat(tuple(range(1, 11)), (100, 500), covariance="inverse-wishart", min_max=True),
        "full",
    ),
)

PRIORS: dict[str, Prior] = {prior.name: prior for prior in _PRIORS}


def named_prior(name: str) -> Prior:
    """ValueError for an unknown name, which lists the known ones."""
    if name not in PRIORS:
        raise ValueError(f"no prior {name!r}; there are {', '.join(PRIORS)}")
    return PRIORS[name]


def held_out(prior: Prior, n_sets: int, seed: int = 0) -> Iterator[HeldOut]:
    """So many data sets, K uniform on the law's components and N on its samples, each drawn alone.

    The first sets of a seed are the same however many are asked for.
    """
    check_count("n_sets", n_sets)
    check_count("seed", seed, 0)
    law = prior.law
    low, high = law.samples
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(SIZES,))))
    for place in range(n_sets):
        K = int(rng.choice(law.components))
        N = int(rng.integers(low, high, endpoint=True))
        state = np.random.SeedSequence(seed, spawn_key=(SETS, place)).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(state[0]) >> 1)
        batch = sample_tasks(law, 1, K, N, generator, dtype=torch.float64)
        yield HeldOut(batch.X[0], batch.labels[0], batch.truth[0])
