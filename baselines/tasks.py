"""Random mixtures and data drawn from them: the paper's task distribution and others.

Every sampler returns exactly the number of tasks asked for, draws only from the generator it is given, and
lays the tasks out as one batch: X (T, N, d), labels (T, N), truth a Mixture of batch shape (T,).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.checks import check_count
from baselines.mixture import Mixture
from baselines.shown import short_repr
from baselines.task_families import (
    deviations_within,
    equal_weights,
    means_in_box,
    paper_weights,
    simplex_means,
    uniform,
)


@dataclass(frozen=True, eq=False)
class Tasks:
    """Data X (T, N, d), the component each point came from (T, N), and the mixtures they came from."""

    X: Tensor
    labels: Tensor
    truth: Mixture

    __repr__ = short_repr


def paper_tasks(
    n_tasks: int,
    n_features: int,
    n_components: int,
    n_samples: int,
    generator: torch.Generator,
    *,
    box: float = 5.0,
    max_cosine: float = 0.8,
    sort_weights: bool = False,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Tasks:
    """Tasks of arXiv 2505.11918: x ~ sum_k pi_k N(mu_k, I).

    mu uniform in [-box, box]^d, all K redrawn until every pairwise cosine is below max_cosine; pi uniform in
    [0.2, 0.8], then normalised to sum 1. `sort_weights` sorts them ascending, as the paper does to order the
    labels. Raises ValueError when 200,000 sets of means in a row are refused (for example d = 1 with K >= 3).
    """
    _check_sizes(n_tasks, n_features, n_components, n_samples)
    weights, means = _weights_and_means(
        n_tasks, n_features, n_components, generator, box, max_cosine, dtype, device
    )
    if sort_weights:
        weights = weights.sort(-1).values
    return _draw(Mixture(weights, means), n_samples, generator)


def diagonal_tasks(
    n_tasks: int,
    n_features: int,
    n_components: int,
    n_samples: int,
    generator: torch.Generator,
    *,
    deviation_range: tuple[float, float] = (0.5, 1.5),
    box: float = 5.0,
    max_cosine: float = 0.8,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Tasks:
    """Paper tasks with S_k = diag(s_k1^2, ..., s_kd^2), standard deviations s_kj uniform in deviation_range.

    `truth.covariances` (T, K, d) holds variances, the squares of what was drawn, as everywhere in Mixture.
    """
    _check_sizes(n_tasks, n_features, n_components, n_samples)
    weights, means = _weights_and_means(
        n_tasks, n_features, n_components, generator, box, max_cosine, dtype, device
    )
    deviations = deviations_within(means.shape, deviation_range, generator, dtype, device)
    return _draw(Mixture(weights, means, deviations.square(), "diagonal"), n_samples, generator)


def separated_tasks(
    n_tasks: int,
    n_features: int,
    n_components: int,
    n_samples: int,
    generator: torch.Generator,
    *,
    separation: float,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Tasks:
    """Unit covariances, equal weights, every two means exactly `separation` apart (standard deviations).

    The means are the corners of a regular simplex about 0, turned by a random rotation of each task's own:
    d >= K - 1, else ValueError.
    """
    _check_sizes(n_tasks, n_features, n_components, n_samples)
    means = simplex_means(
        n_tasks, n_components, n_features, generator, separation=separation, dtype=dtype, device=device
    )
    return _draw(Mixture(equal_weights(means), means), n_samples, generator)


def near_equal_tasks(
    n_tasks: int,
    n_features: int,
    n_components: int,
    n_samples: int,
    generator: torch.Generator,
    *,
    spread: float = 1e-3,
    box: float = 5.0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Tasks:
    """Unit covariances, equal weights, mu_k = c + spread z_k: c uniform in [-box, box]^d, z_k ~ N(0, I)."""
    _check_sizes(n_tasks, n_features, n_components, n_samples)
    if not spread >= 0:
        raise ValueError(f"spread is {spread}, needs >= 0")
    shape = (n_tasks, n_components, n_features)
    common = box * (2 * uniform((n_tasks, 1, n_features), generator, dtype, device) - 1)
    means = common + spread * torch.randn(shape, dtype=dtype, device=device, generator=generator)
    return _draw(Mixture(equal_weights(means), means), n_samples, generator)


def _weights_and_means(
    n_tasks: int,
    n_features: int,
    n_components: int,
    generator: torch.Generator,
    box: float,
    max_cosine: float,
    dtype: torch.dtype,
    device: torch.device | str,
) -> tuple[Tensor, Tensor]:
    """The paper's: weights (T, K), unsorted, and means (T, K, d)."""
    means = means_in_box(
        n_tasks,
        n_components,
        n_features,
        generator,
        box=box,
        max_cosine=max_cosine,
        dtype=dtype,
        device=device,
    )
    return paper_weights(n_tasks, n_components, generator, dtype, device), means


def _draw(truth: Mixture, n_samples: int, generator: torch.Generator) -> Tasks:
    X, labels = truth.sample(n_samples, generator)
    return Tasks(X, labels, truth)


def _check_sizes(n_tasks: int, n_features: int, n_components: int, n_samples: int) -> None:
    check_count("n_tasks", n_tasks)
    check_count("n_features", n_features)
    check_count("n_components", n_components)
    check_count("n_samples", n_samples)
