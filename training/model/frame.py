"""The data's own units: the network sees points of mean 0 and covariance I, whatever the person's units.

    z = A^{-1} (x - m)          m the average of a task's points, A A^T their covariance, A lower triangular
    mu = m + A mu_z,    S = A S_z A^T

so that an estimate of shifted and scaled points is the shifted and scaled estimate, up to rounding. For
diagonal estimates A is diagonal: a full one would turn them into others. A is diagonal too where the
covariance has no Cholesky factor (fewer points than coordinates, points on a line); a coordinate that is
constant keeps its unit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.language.shown import short_repr


@dataclass(frozen=True, eq=False)
class Frame:
    """centre m (B, d) and root A (B, d, d), lower triangular."""

    centre: Tensor
    root: Tensor

    __repr__ = short_repr

    @classmethod
    def of(cls, X: Tensor, mask: Tensor | None, diagonal: bool) -> Frame:
        """That of the points X (B, N, d), zeros where ``mask`` (B, N) is False."""
        counts = X.new_full((len(X), 1), X.shape[1]) if mask is None else mask.sum(-1, keepdim=True).to(X)
        centre = X.sum(1) / counts
        apart = X - centre[:, None]
        if mask is not None:
            apart = apart * mask[:, :, None]
        deviations = (apart.square().sum(1) / counts).sqrt()
        deviations = torch.where(deviations > 0, deviations, torch.ones_like(deviations))
        if diagonal:
            return cls(centre, torch.diag_embed(deviations))
        scaled = apart / deviations[:, None]  # correlations have a factor whatever the units
        factor, failed = torch.linalg.cholesky_ex(scaled.mT @ scaled / counts[:, None])
        eye = torch.eye(X.shape[-1], dtype=X.dtype, device=X.device)
        usable = (failed == 0) & (factor.diagonal(dim1=-2, dim2=-1) > 0).all(-1)
        factor = torch.where(usable[:, None, None], factor, eye)
        return cls(centre, deviations[:, :, None] * factor)

    def inside(self, X: Tensor) -> Tensor:
        """z of points X (B, N, d)."""
        return torch.linalg.solve_triangular(self.root, (X - self.centre[:, None]).mT, upper=False).mT

    def means(self, z: Tensor) -> Tensor:
        """mu of z (B, K, d)."""
        return self.centre[:, None] + z @ self.root.mT

    def factors(self, z: Tensor) -> Tensor:
        """A L, lower triangular like L (B, K, d, d), where S_z = L L^T."""
        return self.root[:, None] @ z

    def log_variances(self, z: Tensor) -> Tensor:
        """log S of log S_z (B, K, d), for a diagonal root."""
        return z + 2 * self.root.diagonal(dim1=-2, dim2=-1).log()[:, None]
