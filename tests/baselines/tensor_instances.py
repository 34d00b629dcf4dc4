"""Tensors with known orthonormal components, and how closely rounding lets them be found."""

import torch

__all__ = ["eigen_tolerance", "normal", "orthogonal", "seeded"]


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def normal(generator, *shape):
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def orthogonal(seed, d, K, batch=(), least=0.5, most=4.0):
    """lambda (..., K) in [least, most], orthonormal rows v (..., K, d), T their tensor."""
    generator = seeded(seed)
    V = torch.linalg.qr(normal(generator, *batch, d, d)).Q[..., :K, :]
    values = least + (most - least) * torch.rand(*batch, K, dtype=torch.float64, generator=generator)
    return values, V, torch.einsum("...k,...ki,...kj,...km->...ijm", values, V, V, V)


def eigen_tolerance(T, values):
    """Errors allowed of an eigenvalue, 5 e, and of an eigenvector, 8 e / lambda.

    Anandkumar et al. 2014, Theorem 5.1, for a tensor off by e in norm. Here e bounds what rounding does: T as
    formed, (K + 4) u sum_k lambda_k; each contraction (2 d + 1) u |T|_F, unit vector (d + 2) u, and deflation
    as baselines.spectral derives them, d (12 d + 14) u |T|_F in all.
    """
    d, u = T.shape[-1], torch.finfo(T.dtype).eps / 2
    size = T.flatten(-3).norm(dim=-1).max().item()
    error = u * (d * (12 * d + 14) * size + (values.shape[-1] + 4) * values.sum(-1).max().item())
    return 5 * error, 8 * error / values.min().item()
