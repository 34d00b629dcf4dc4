"""Random instances of EM, and how far rounding alone can move one step of it."""

import torch

from baselines.gaussian import COVARIANCE_TYPES, covariance_shape
from baselines.mixture import Mixture

__all__ = ["COVARIANCE_TYPES", "instance", "radius_and_variance", "step_rounding"]


def instance(seed, d, K, N, covariance_type="unit", batch=(), spacing=2.0**-20):
    """Points around K places and a start near them.

    Coordinates are multiples of `spacing`, so that adding whole numbers to them is exact.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*batch, *shape, dtype=torch.float64, generator=generator)

    places = 2 * normal(K, d)
    X = places[..., torch.arange(N) % K, :] + normal(N, d)
    X = (X / spacing).round() * spacing
    raw = torch.rand(*batch, K, dtype=torch.float64, generator=generator) + 0.5
    means = ((places + 0.3 * normal(K, d)) / spacing).round() * spacing
    weights = raw / raw.sum(-1, keepdim=True)
    if covariance_type == "unit":
        return X, Mixture(weights, means)
    shape = covariance_shape(covariance_type, K, d)
    if covariance_type in ("tied", "full"):
        root = 0.3 * normal(*shape) + torch.eye(d, dtype=torch.float64)
        covariances = root @ root.mT + 0.2 * torch.eye(d, dtype=torch.float64)
    else:
        covariances = 0.7 + torch.rand((*batch, *shape), dtype=torch.float64, generator=generator)
    return X, Mixture(weights, means, covariances, covariance_type)


def radius_and_variance(X, *mixtures):
    """R: the largest distance between two of the points and means. s: the least variance in any direction."""
    places = torch.cat([X.reshape(-1, X.shape[-1]), *(m.means.reshape(-1, X.shape[-1]) for m in mixtures)])
    radius = (places.amax(0) - places.amin(0)).norm().item()
    least = 1.0
    for mixture in mixtures:
        if mixture.covariance_type in ("tied", "full"):
            least = min(least, torch.linalg.eigvalsh(mixture.covariances).min().item())
        elif mixture.covariances is not None:
            least = min(least, mixture.covariances.min().item())
    return radius, least


def step_rounding(X, *mixtures):
    """What rounding can do to one EM step, relative to max(1, R^2): (2 N + 16 (d + 8)) u (1 + R^2/s)^2.

    A log joint is off by at most (d + 8) u R^2/s: d products, the constants and the differences; whitening by
    a Cholesky factor multiplies that by the condition number, below 1 + R^2/s here. A responsibility is then
    off by twice that, relative to itself, and a sum of N of them by N u more. A mean is a weighted average of
    points no farther than R apart: off by R times the relative error of its weights. A variance is an average
    of squares no larger than R^2, so off by R^2 times it, and, divided by s, it shifts the next log joint by
    the second factor.
    """
    radius, least = radius_and_variance(X, *mixtures)
    N, d = X.shape[-2:]
    return (
        (2 * N + 16 * (d + 8)) * torch.finfo(X.dtype).eps * (1 + radius**2 / least) ** 2 * max(1, radius**2)
    )
