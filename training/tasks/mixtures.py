"""Mixtures drawn from a law: weights, means, covariances."""

import torch
from torch import Tensor

from baselines import task_families as families
from baselines.mixture import Mixture
from training.tasks.distribution import TaskDistribution

REJECTION_BLOCK = (
    256  # sets of means drawn at a time: one round for a micro-batch at d >= 4, two at d = 2, K = 5
)


def mixtures(
    distribution: TaskDistribution,
    n_tasks: int,
    n_components: int,
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device,
) -> Mixture:
    """Of batch shape (T,); the mean first, so that a law is the same whatever its weights."""
    size = n_tasks, n_components
    if distribution.covariance == "inverse-wishart":
        means, covariances = _normal_inverse_wishart(distribution, size, generator, dtype, device)
        return Mixture(_weights(distribution, size, generator, dtype, device), means, covariances, "full")
    means = _means(distribution, *size, generator, dtype, device)
    weights = _weights(distribution, size, generator, dtype, device)
    if distribution.covariance == "unit":
        return Mixture(weights, means)
    if distribution.covariance == "correlated":
        signs = families.random_signs(means.shape, generator, dtype, device)
        return Mixture(
            weights, means, families.correlated_covariances(signs, distribution.correlation), "full"
        )
    shape = size if distribution.covariance == "spherical" else means.shape
    deviations = _deviations(distribution, shape, generator, dtype, device)
    if distribution.covariance == "spherical":
        return Mixture(weights, means, deviations.square(), "spherical")
    if distribution.covariance == "diagonal":
        return Mixture(weights, means, deviations.square(), "diagonal")
    return Mixture(weights, means, families.rotated_covariances(deviations, generator), "full")


def rescaled(mixture: Mixture, shift: Tensor, scale: Tensor) -> Mixture:
    """That of shift + scale * x, coordinate by coordinate: (T, d) each; for spherical, diagonal and full."""
    means = shift[:, None] + scale[:, None] * mixture.means
    S, kind = mixture.covariances, mixture.covariance_type
    if S is None:
        raise ValueError("a mixture of unit covariances is none after another scale")
    if kind == "full":
        return Mixture(mixture.weights, means, S * (scale[:, :, None] * scale[:, None])[:, None], kind)
    variances = S if kind == "diagonal" else S[..., None]
    return Mixture(mixture.weights, means, variances * scale.square()[:, None], "diagonal")


def _weights(
    distribution: TaskDistribution,
    size: tuple[int, int],
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    if distribution.weights == "paper":
        weights = families.paper_weights(*size, generator, dtype, device)
    else:
        weights = families.flat_weights(*size, generator, dtype, device)
    return weights.sort(-1).values if distribution.sort_weights else weights


def _deviations(
    distribution: TaskDistribution,
    shape: tuple[int, ...],
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    low, high = distribution.deviation_range
    if distribution.deviation_law == "uniform":
        return families.deviations_within(shape, (low, high), generator, dtype, device)
    if distribution.deviation_law == "spaced":
        d = distribution.n_features
        places = torch.arange(d, dtype=dtype, device=device) / (d - 1)
        return (low * (high / low) ** places).expand(shape)
    return low * (high / low) ** families.uniform(shape, generator, dtype, device)


def _normal_inverse_wishart(
    distribution: TaskDistribution,
    size: tuple[int, int],
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Means (T, K, d) and covariances (T, K, d, d)."""
    d = distribution.n_features
    degrees = distribution.degrees or d
    roots = families.inverse_wishart_roots(
        size, d, degrees, generator, device, largest_condition=1e-2 / torch.finfo(dtype).eps
    )
    noise = torch.randn(*size, d, 1, dtype=roots.dtype, device=device, generator=generator)
    means = (roots @ noise).squeeze(-1) / distribution.kappa**0.5
    covariances = roots @ roots.mT
    return means.to(dtype), ((covariances + covariances.mT) / 2).to(dtype)


def _means(
    distribution: TaskDistribution,
    n_tasks: int,
    n_components: int,
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    if distribution.separation is not None:
        return families.simplex_means(
            n_tasks,
            n_components,
            distribution.n_features,
            generator,
            separation=distribution.separation,
            dtype=dtype,
            device=device,
        )
    means = families.means_in_box(
        n_tasks,
        n_components,
        distribution.n_features,
        generator,
        box=distribution.box,
        max_cosine=distribution.max_cosine,
        dtype=dtype,
        device=device,
        block=REJECTION_BLOCK,
    )
    if distribution.perturbation:
        noise = torch.randn(means.shape, dtype=dtype, device=device, generator=generator)
        means = means + distribution.perturbation * noise
    return means
