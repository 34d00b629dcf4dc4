"""A mixture with the covariances of another type: the nearest of that type in the sense of moments.

    full            S_k                         tied            S = sum_k pi_k S_k
    diagonal        diag S_k                    tied_spherical  (tr S / d) I
    spherical       (tr S_k / d) I              unit            I

Each maximises the expected log-likelihood of points of N(mu_k, S_k), shares pi_k, over its type.
"""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.gaussian import check_covariance_type
from baselines.mixture import Mixture


def full_covariances(mixture: Mixture) -> Tensor:
    """S_k as matrices, (..., K, d, d)."""
    S, kind, means = mixture.covariances, mixture.covariance_type, mixture.means
    if S is None:
        return torch.diag_embed(torch.ones_like(means))
    if kind == "full":
        return S
    if kind == "diagonal":
        return torch.diag_embed(S)
    if kind == "tied":
        return S.unsqueeze(-3).expand(*means.shape, means.shape[-1])
    variances = S[..., None, None] if kind == "tied_spherical" else S[..., None]
    return torch.diag_embed(variances.expand_as(means))


def as_kind(mixture: Mixture, covariance_type: str) -> Mixture:
    """The mixture of the module's docstring; the same one if it is of that type.

    Raises ValueError for another name.
    """
    check_covariance_type(covariance_type)
    if mixture.covariance_type == covariance_type:
        return mixture
    weights, means = mixture.weights, mixture.means
    if covariance_type == "unit":
        return Mixture(weights, means)
    S = full_covariances(mixture)
    if covariance_type in ("tied", "tied_spherical"):
        S = (weights[..., None, None] * S).sum(-3)
        S = S / weights.sum(-1)[..., None, None]
    if covariance_type in ("full", "tied"):
        return Mixture(weights, means, S, covariance_type)
    variances = S.diagonal(dim1=-2, dim2=-1)
    if covariance_type != "diagonal":
        variances = variances.mean(-1)
    return Mixture(weights, means, variances.contiguous(), covariance_type)
