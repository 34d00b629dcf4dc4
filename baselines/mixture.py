"""The Gaussian mixture itself: parameters, densities, posterior, sampling."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from baselines import far_points, gaussian
from baselines.checks import (
    check_count,
    check_finite,
    check_points,
    check_same_kind,
    check_sample_weight,
    first_index,
)
from baselines.scaling import scaled_weights
from baselines.shown import short_repr


@dataclass(frozen=True, eq=False)
class Mixture:
    """p(x) = sum_k pi_k N(x; mu_k, S_k), one mixture or a batch of them; checked when it is built.

    weights      (..., K): pi_k > 0, summing to 1 within sqrt(eps) of the dtype.
    means        (..., K, d).
    covariances  None for covariance_type "unit" (S_k = I); otherwise variances, never standard deviations:
                 tied_spherical (...), spherical (..., K), diagonal (..., K, d), tied (..., d, d),
                 full (..., K, d, d).
    The batch dimensions `...` are the same for all three. Anything else is a ValueError.
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor | None = None
    covariance_type: str = "unit"

    __repr__ = short_repr

    def __post_init__(self) -> None:
        gaussian.check_covariance_type(self.covariance_type)
        _check_means_and_weights(self.means, self.weights)
        _check_covariances(self)

    @property
    def n_components(self) -> int:
        return self.means.shape[-2]

    @property
    def n_features(self) -> int:
        return self.means.shape[-1]

    @property
    def batch_shape(self) -> torch.Size:
        return self.means.shape[:-2]

    def to(self, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> "Mixture":
        """The same mixture in another dtype or on another device."""
        covariances = self.covariances
        return replace(
            self,
            weights=self.weights.to(dtype=dtype, device=device),
            means=self.means.to(dtype=dtype, device=device),
            covariances=None if covariances is None else covariances.to(dtype=dtype, device=device),
        )

    def __getitem__(self, index: Any) -> "Mixture":
        """Select from the batch dimensions: `mixture[3]` is the fourth mixture of the batch.

        `index` applies to the batch dimensions only; one that reaches into K or d is an IndexError.
        """
        if not self.batch_shape:
            raise IndexError("this mixture has no batch dimension to index")
        places = torch.arange(self.batch_shape.numel(), device=self.means.device).reshape(self.batch_shape)[
            index
        ]
        flat = [
            None if t is None else t.flatten(0, len(self.batch_shape) - 1)[places]
            for t in (self.weights, self.means, self.covariances)
        ]
        return replace(self, weights=flat[0], means=flat[1], covariances=flat[2])

    def permute(self, permutation: Tensor) -> "Mixture":
        """Relabelled mixture: its component k is this one's `permutation[..., k]`; (..., K) integers."""
        if (
            permutation.shape != self.weights.shape
            or not (
                permutation.sort(-1).values == torch.arange(self.n_components, device=permutation.device)
            ).all()
        ):
            raise ValueError(
                f"permutation of shape {tuple(permutation.shape)} needs shape {tuple(self.weights.shape)}, "
                f"each row holding 0..{self.n_components - 1} once"
            )
        covariances = self.covariances
        if covariances is not None and self.covariance_type in ("spherical", "diagonal", "full"):
            extra = covariances.dim() - permutation.dim()
            index = permutation.reshape(*permutation.shape, *[1] * extra).expand_as(covariances)
            covariances = covariances.gather(permutation.dim() - 1, index)
        return replace(
            self,
            weights=self.weights.gather(-1, permutation),
            means=self.means.gather(-2, permutation.unsqueeze(-1).expand_as(self.means)),
            covariances=covariances,
        )

    def log_joint(self, X: Tensor) -> Tensor:
        """log pi_k + log N(x_n; mu_k, S_k): X (..., N, d) -> (..., K, N), natural log, constants included.

        Batch dimensions of X and of the mixture broadcast. Isotropic types expand the square about the
        average of the means, with a rounding error of about (d + 4) u R^2 / s (baselines.gaussian says
        of what); the others subtract first, and so do all for a point where R^2 / s is too large for that
        (baselines.far_points). -inf where the value is below the range of the dtype. Raises ValueError when
        X does not fit, is not finite, or is of another dtype.
        """
        return self.joint_and_logits(X)[0]

    def joint_and_logits(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """The log joint, and the same up to a term common to the components of a point: finite for one."""
        self.check_points(X)
        parameters = (self.weights, self.means, self.covariances, self.covariance_type)
        if self.covariances is None or self.covariance_type in gaussian.ISOTROPIC:
            centre = self.means.mean(-2, keepdim=True)
            variances = gaussian.isotropic_variances(self.covariances, self.weights, self.covariance_type)
            coefficients = gaussian.isotropic_coefficients(self.weights, self.means - centre, variances)
            joint = coefficients @ gaussian.isotropic_features(X - centre)
        else:
            joint = gaussian.anisotropic_log_joint(
                X, self.weights, self.means, self.covariances, self.covariance_type
            )
        far = far_points.is_far(joint, self.n_features)
        return far_points.mend(joint, far, X, *parameters) if far.any() else (joint, joint)

    def score_samples(self, X: Tensor) -> Tensor:
        """log p(x_n) of every point: X (..., N, d) -> (..., N), natural log."""
        return torch.logsumexp(self.log_joint(X), dim=-2)

    def log_likelihood(self, X: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """Total sum_n a_n log p(x_n), a = sample_weight (..., N) or 1: X (..., N, d) -> (...)."""
        scores = self.score_samples(X)
        if sample_weight is None:
            return scores.sum(-1)
        check_sample_weight(sample_weight, X)
        return (sample_weight * scores).sum(-1)

    def log_likelihood_per_point(self, X: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """Average sum_n a_n log p(x_n) / sum_n a_n: X (..., N, d) -> (...). scikit-learn's `score`."""
        if sample_weight is None:
            return self.log_likelihood(X) / X.shape[-2]
        check_sample_weight(sample_weight, X)
        weights = scaled_weights(sample_weight)
        return self.log_likelihood(X, weights) / weights.sum(-1)

    def responsibilities(self, X: Tensor) -> Tensor:
        """P(component k | x_n): X (..., N, d) -> (..., K, N), summing to 1 over K."""
        return torch.softmax(self.joint_and_logits(X)[1], dim=-2)

    def predict(self, X: Tensor) -> Tensor:
        """The most probable component of every point: X (..., N, d) -> (..., N) integers."""
        return self.joint_and_logits(X)[1].argmax(-2)

    def sample(self, n_samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw `n_samples` points from every mixture of the batch: X (..., n, d) and labels (..., n).

        labels ~ weights independently; x = mu_label + L_label z, z ~ N(0, I), S = L L^T.
        """
        check_count("n_samples", n_samples)
        dtype, device = self.means.dtype, self.means.device
        edges = self.weights.cumsum(-1)
        edges = edges / edges[..., -1:]
        draws = torch.rand(*self.batch_shape, n_samples, dtype=dtype, device=device, generator=generator)
        labels = torch.searchsorted(edges, draws, right=True)
        z = torch.randn(
            *self.batch_shape, n_samples, self.n_features, dtype=dtype, device=device, generator=generator
        )
        rows = labels.unsqueeze(-1).expand(*labels.shape, self.n_features)
        return self.means.gather(-2, rows) + self._scaled_noise(z, labels), labels

    def _scaled_noise(self, z: Tensor, labels: Tensor) -> Tensor:
        """L_label z for every point."""
        covariances = self.covariances
        if covariances is None:
            return z
        if self.covariance_type == "tied_spherical":
            return z * covariances.sqrt()[..., None, None]
        if self.covariance_type == "spherical":
            return z * covariances.sqrt().gather(-1, labels).unsqueeze(-1)
        if self.covariance_type == "diagonal":
            return z * covariances.sqrt().gather(-2, labels.unsqueeze(-1).expand_as(z))
        factor = torch.linalg.cholesky(covariances)
        if self.covariance_type == "tied":
            return z @ factor.transpose(-1, -2)
        noise = torch.zeros_like(z)
        for k in range(self.n_components):
            mine = (labels == k).unsqueeze(-1)
            noise = torch.where(mine, z @ factor[..., k, :, :].transpose(-1, -2), noise)
        return noise

    def check_points(self, X: Tensor) -> None:
        """ValueError unless X (..., N, d) is finite and its dtype, device, d and batch shape fit."""
        check_points(X)
        check_same_kind("X", X, "the mixture", self.means)
        if X.shape[-1] != self.n_features:
            raise ValueError(f"X has {X.shape[-1]} features, needs {self.n_features} like the mixture")
        try:
            torch.broadcast_shapes(X.shape[:-2], self.batch_shape)
        except RuntimeError:
            raise ValueError(
                f"X has batch shape {tuple(X.shape[:-2])}, needs one that broadcasts with "
                f"{tuple(self.batch_shape)} of the mixture"
            ) from None


def _check_means_and_weights(means: Tensor, weights: Tensor) -> None:
    if not means.is_floating_point():
        raise ValueError(f"means are {means.dtype}, needs a floating-point tensor")
    if means.dim() < 2 or 0 in means.shape[-2:]:
        raise ValueError(f"means have shape {tuple(means.shape)}, needs (..., K, d) with K >= 1 and d >= 1")
    check_same_kind("weights", weights, "means", means)
    if weights.shape != means.shape[:-1]:
        raise ValueError(
            f"weights have shape {tuple(weights.shape)}, needs {tuple(means.shape[:-1])} like means"
        )
    check_finite("means", means)
    check_finite("weights", weights)
    if (weights <= 0).any():
        index = first_index(weights <= 0)
        raise ValueError(f"weights{list(index)} is {weights[index].item()}, needs > 0")
    tolerance = torch.finfo(weights.dtype).eps ** 0.5
    off = (weights.sum(-1) - 1).abs() > tolerance
    if off.any():
        total = weights.sum(-1)[off][0].item()
        raise ValueError(f"weights sum to {total}, needs 1 within {tolerance:.1e}")


def _check_covariances(mixture: Mixture) -> None:
    covariances, kind = mixture.covariances, mixture.covariance_type
    if kind == "unit":
        if covariances is not None:
            raise ValueError('covariances were given, needs None for covariance_type "unit"')
        return
    expected = tuple(mixture.batch_shape) + gaussian.covariance_shape(
        kind, mixture.n_components, mixture.n_features
    )
    if covariances is None or tuple(covariances.shape) != expected:
        given = None if covariances is None else tuple(covariances.shape)
        raise ValueError(f"covariances have shape {given}, needs {expected} for covariance_type {kind!r}")
    check_same_kind("covariances", covariances, "means", mixture.means)
    check_finite("covariances", covariances)
    if kind in ("tied", "full"):
        _check_positive_definite(covariances)
        return
    tiny = torch.finfo(covariances.dtype).tiny
    if (covariances < tiny).any():
        index = first_index(covariances < tiny)
        raise ValueError(f"covariances{list(index)} is {covariances[index].item()}, needs >= {tiny:.1e}")


def _check_positive_definite(covariances: Tensor) -> None:
    gap = (covariances - covariances.transpose(-1, -2)).abs().amax((-2, -1))
    scale = covariances.abs().amax((-2, -1))
    lopsided = gap > torch.finfo(covariances.dtype).eps ** 0.5 * scale
    if lopsided.any():
        index = first_index(lopsided)
        raise ValueError(
            f"covariances{list(index)} differs from its transpose by {gap[index].item()}, needs symmetry"
        )
    singular = ~(gaussian.covariance_roots(covariances)[1] > 0)
    if singular.any():
        index = first_index(singular)
        raise ValueError(
            f"covariances{list(index)} is not positive definite, needs a positive definite matrix"
        )
