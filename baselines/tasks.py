"""Random mixtures and data drawn from them: the paper's task distribution and others.

Every sampler returns exactly the number of tasks asked for, draws only from the generator it is given, and
lays the tasks out as one batch: X (T, N, d), labels (T, N), truth a Mixture of batch shape (T,).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.checks import check_count
from baselines.mixture import Mixture

DRAWS_WITHOUT_SUCCESS = 200_000


@dataclass(frozen=True, eq=False)
class Tasks:
    """Data X (T, N, d), the component each point came from (T, N), and the mixtures they came from."""

    X: Tensor
    labels: Tensor
    truth: Mixture


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
    means = _means_in_box(n_tasks, n_components, n_features, box, max_cosine, generator, dtype, device)
    weights = _paper_weights(n_tasks, n_components, generator, dtype, device)
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
    low, high = deviation_range
    if not 0 < low <= high:
        raise ValueError(f"deviation_range is {deviation_range}, needs 0 < low <= high")
    means = _means_in_box(n_tasks, n_components, n_features, box, max_cosine, generator, dtype, device)
    weights = _paper_weights(n_tasks, n_components, generator, dtype, device)
    deviations = low + (high - low) * _uniform(means.shape, generator, dtype, device)
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
    if n_components > n_features + 1:
        raise ValueError(
            f"n_components is {n_components}, needs <= n_features + 1 = {n_features + 1}: "
            "no more points can be equally far apart"
        )
    if not separation > 0:
        raise ValueError(f"separation is {separation}, needs > 0")
    corners = _simplex(n_components, n_features, dtype, device) * separation
    gaussians = torch.randn(n_tasks, n_features, n_features, dtype=dtype, device=device, generator=generator)
    means = corners @ torch.linalg.qr(gaussians).Q
    return _draw(Mixture(_equal_weights(means), means), n_samples, generator)


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
    common = box * (2 * _uniform((n_tasks, 1, n_features), generator, dtype, device) - 1)
    means = common + spread * torch.randn(shape, dtype=dtype, device=device, generator=generator)
    return _draw(Mixture(_equal_weights(means), means), n_samples, generator)


def _draw(truth: Mixture, n_samples: int, generator: torch.Generator) -> Tasks:
    X, labels = truth.sample(n_samples, generator)
    return Tasks(X, labels, truth)


def _means_in_box(
    n_tasks: int,
    n_components: int,
    n_features: int,
    box: float,
    max_cosine: float,
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device | str,
) -> Tensor:
    """(T, K, d), uniform in the box given that every pairwise cosine is below max_cosine, by rejection."""
    if not box > 0:
        raise ValueError(f"box is {box}, needs > 0")
    accepted: list[Tensor] = []
    missing, failures = n_tasks, 0
    while missing > 0:
        shape = (max(missing, 1024), n_components, n_features)
        drawn = box * (2 * _uniform(shape, generator, dtype, device) - 1)
        good = drawn[_largest_cosine(drawn) < max_cosine][:missing]
        accepted.append(good)
        missing -= len(good)
        failures = 0 if len(good) else failures + len(drawn)
        if failures >= DRAWS_WITHOUT_SUCCESS:
            raise ValueError(
                f"max_cosine is {max_cosine}, kept by 0 of {failures} draws of n_components = {n_components}"
                f" means in n_features = {n_features}, needs a larger one or fewer components"
            )
    return torch.cat(accepted)


def _largest_cosine(means: Tensor) -> Tensor:
    """Largest cosine between two different means of each set, (T,); -1 for a single mean."""
    directions = means / means.norm(dim=-1, keepdim=True)
    cosines = directions @ directions.mT
    same = torch.eye(means.shape[-2], dtype=torch.bool, device=means.device)
    return cosines.masked_fill(same, -1.0).amax((-2, -1))


def _paper_weights(
    n_tasks: int,
    n_components: int,
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device | str,
) -> Tensor:
    raw = 0.2 + 0.6 * _uniform((n_tasks, n_components), generator, dtype, device)
    return raw / raw.sum(-1, keepdim=True)


def _equal_weights(means: Tensor) -> Tensor:
    return torch.full_like(means[..., 0], 1 / means.shape[-2])


def _simplex(n_components: int, n_features: int, dtype: torch.dtype, device: torch.device | str) -> Tensor:
    """K corners in R^d, K <= d + 1, every two at distance 1, averaging to 0: (K, d)."""
    corners = torch.eye(n_components, dtype=dtype, device=device) / 2**0.5
    corners = corners - corners.mean(0)
    basis = torch.linalg.svd(corners).Vh[: n_components - 1]
    flat = corners @ basis.mT
    return torch.nn.functional.pad(flat, (0, n_features - flat.shape[1]))


def _uniform(
    shape: tuple[int, ...] | torch.Size,
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device | str,
) -> Tensor:
    return torch.rand(shape, dtype=dtype, device=device, generator=generator)


def _check_sizes(n_tasks: int, n_features: int, n_components: int, n_samples: int) -> None:
    check_count("n_tasks", n_tasks)
    check_count("n_features", n_features)
    check_count("n_components", n_components)
    check_count("n_samples", n_samples)
