"""Data whose sample moments are exactly those of a spherical mixture, and how closely it is then found."""

import torch

__all__ = ["exact_data", "exact_tolerance", "separated_means"]


def separated_means(seed, d, K, batch=()):
    """K means (..., K, d), lengths 2 to 4, directions orthonormal but for 0.2 of noise: well conditioned."""
    generator = torch.Generator().manual_seed(seed)
    frame = torch.linalg.qr(torch.randn(*batch, d, d, dtype=torch.float64, generator=generator)).Q[..., :K, :]
    noise = torch.randn(*batch, K, d, dtype=torch.float64, generator=generator) / d**0.5
    lengths = 2 + 2 * torch.rand(*batch, K, 1, dtype=torch.float64, generator=generator)
    return lengths * (frame + 0.2 * noise)


def exact_data(means, counts, variance):
    """mu_k +- sqrt(d s) e_j for every j and sign, counts[k] times: (..., 2 d sum(counts), d).

    The noise averages to 0, its outer product to s I, and its third moment to 0, so the mean, M2 and M3 of
    the points are those of the mixture with weights counts / sum(counts), without sampling error.
    """
    d = means.shape[-1]
    steps = (d * variance) ** 0.5 * torch.cat([torch.eye(d), -torch.eye(d)]).double()
    rows = means.repeat_interleave(torch.tensor(counts), dim=-2)
    return (rows.unsqueeze(-2) + steps).flatten(-3, -2)


def exact_tolerance(means, weights, resolution, third_error):
    """How far rounding moves the means (length) and the raw weights (relative) of one task, to first order.

    `resolution` r bounds the error of M2, of eigenvalues e_K to e_1. W then whitens the true M2 but for
    h = r / e_K in norm, so the sqrt(pi_k) W^T mu_k are h from orthonormal and T is 3 h sqrt(K) l from an
    orthogonal tensor, l = max lambda; with `third_error`, e = 3 h sqrt(K) l + third_error. Anandkumar et al.
    2014, Theorem 5.1: lambda is off by 5 e and v by 8 e / lambda, so mu = lambda B v by 13 e sqrt(e_1), by
    h |mu| from the span of U (Davis and Kahan), and by h sqrt(e_1 / e_K) |mu| from the scale of B.
    """
    moment = torch.einsum("k,ki,kj->ij", weights, means, means)
    eigenvalues = torch.linalg.eigvalsh(moment)[-len(weights) :]
    least, most = eigenvalues[0].item(), eigenvalues[-1].item()
    h = resolution / least
    longest = means.norm(dim=-1).max().item()
    top = weights.min().item() ** -0.5
    e = 3 * h * len(weights) ** 0.5 * top + third_error
    return 13 * e * most**0.5 + h * longest * (1 + (most / least) ** 0.5), 2 * 5 * e
