"""Log-densities and posteriors of points so far from the means that squares overflow or cancel.

With S_k = L_k L_k^T, A_k = L_k^-1 and r_k = A_k (x - mu_k), the log joint of point and component is
c_k - |r_k|^2 / 2, c_k = log pi_k - (d/2) log 2 pi - log det L_k. Its terms are about |x|^2, and what decides
between components can be as small as |x|: at |x| = 1e37 rounding hides it, beyond 1e154 the squares overflow.
Their difference needs no squares:

    |r_k|^2 - |r_b|^2 = (r_k - r_b) . (r_k + r_b),    r_k - r_b = (A_k - A_b) x - (A_k mu_k - A_b mu_b)

The first part is exactly 0 where two components share their covariance, so nothing cancels there. b is the
component nearest to the point, found by the same formula from component 0. Coordinates are about the average
of the means, divided by a power of two that makes them at most 2, and A by one likewise; the factors come
back last. So only a difference beyond the range of the dtype overflows, to the -inf whose posterior is 0.
"""

import math

import torch
from torch import Tensor

from baselines import gaussian
from baselines.scaling import power_of_two

POINTS_AT_ONCE = 2**14


def is_far(joint: Tensor, n_features: int) -> Tensor:
    """(..., N) booleans: rounding may take half the digits from a difference, from log joints (..., K, N).

    A log joint rounds by about (d + 4) u |x - mu|^2 / s, and the largest is at least |x - m|^2 / (2 s), m the
    average of the means; a point is near if 2 (d + 4) u times that is at most sqrt(u).
    """
    eps = torch.finfo(joint.dtype).eps
    return ~(joint.amin(-2) * (n_features + 4) * eps > -(eps**0.5))


def mend(
    joint: Tensor,
    far: Tensor,
    X: Tensor,
    weights: Tensor,
    means: Tensor,
    covariances: Tensor | None,
    kind: str,
) -> tuple[Tensor, Tensor]:
    """(log joints, the same up to a term common to the components), (..., K, N) each, where `far` (..., N).

    `joint` is what the usual formulas give and is kept for the points that are near. X (..., N, d), the
    parameters as in Mixture; their batch dimensions broadcast to those of joint.
    """
    batch, d = joint.shape[:-2], means.shape[-1]
    A, half_log_det = _inverse_roots(weights, d, covariances, kind)
    constants = weights.log() - 0.5 * d * math.log(2 * math.pi) - half_log_det
    tasks = torch.arange(batch.numel(), device=joint.device).reshape(*batch, 1).expand(far.shape)[far]
    points = X.expand(*batch, *X.shape[-2:])[far]
    flat = [
        values.expand(*batch, *values.shape[-own:]).reshape(-1, *values.shape[-own:])
        for values, own in ((means, 2), (A, A.dim() - weights.dim() + 1), (constants, 1))
    ]
    joints, logits = [], []
    for part, task in zip(points.split(POINTS_AT_ONCE), tasks.split(POINTS_AT_ONCE), strict=True):
        of_part = _far_logits(part, *(values[task] for values in flat))
        joints.append(of_part[0])
        logits.append(of_part[1])
    mended, posterior = joint.clone(), joint.clone()
    mended.mT[far], posterior.mT[far] = torch.cat(joints), torch.cat(logits)
    return mended, posterior


def _far_logits(x: Tensor, means: Tensor, A: Tensor, constants: Tensor) -> tuple[Tensor, Tensor]:
    """`mend` for points x (M, d), each with its own means (M, K, d), A and constants (M, K)."""
    unit = power_of_two(torch.maximum(x.abs().amax(-1), means.abs().amax((-2, -1))))[:, None]
    x, means = x / unit, means / unit[..., None]
    centre = means.mean(1)
    x, means = x - centre, means - centre[:, None]
    root = power_of_two(A.abs().flatten(1).amax(-1))[:, None]
    A = A / root.reshape(-1, *[1] * (A.dim() - 1))
    factor = unit * root
    moved = _apply(A, means)
    r = _apply(A, x[:, None] - means)

    def differences(b: Tensor) -> Tensor:
        """(|r_b|^2 - |r_k|^2) / 2 of every component, from b (M,)."""
        row = torch.arange(len(b), device=b.device)
        difference = _apply(A - A[row, b][:, None], x[:, None]) - (moved - moved[row, b][:, None])
        return -0.5 * (difference * (r + r[row, b][:, None])).sum(-1)

    nearest = differences(torch.zeros_like(x[:, 0], dtype=torch.long)).argmax(-1)
    gaps = _scaled(differences(nearest), factor) + constants - constants.gather(-1, nearest[:, None])
    peak = gaps.amax(-1, keepdim=True)
    logits = torch.where(gaps == peak, 0.0, gaps - peak)
    return constants - _scaled(0.5 * r.square().sum(-1), factor), logits


def _scaled(values: Tensor, factor: Tensor) -> Tensor:
    """values * factor^2, 0 where values are 0 whatever the factor."""
    return torch.where(values == 0, 0.0, values * factor * factor)


def _apply(A: Tensor, v: Tensor) -> Tensor:
    """A_k v_k: A (M, K, d, d) as a matrix, (M, K, d) or (M, K, 1) as a diagonal; v (M, K or 1, d)."""
    return (A @ v.unsqueeze(-1)).squeeze(-1) if A.dim() == 4 else A * v


def _inverse_roots(weights: Tensor, d: int, covariances: Tensor | None, kind: str) -> tuple[Tensor, Tensor]:
    """A_k (..., K, 1), (..., K, d) or (..., K, d, d), and log det L_k (..., K)."""
    K = weights.shape[-1]
    if covariances is None or kind in gaussian.ISOTROPIC:
        variances = gaussian.isotropic_variances(covariances, weights, kind)
        return variances.rsqrt().unsqueeze(-1), 0.5 * d * variances.log()
    if kind == "diagonal":
        return covariances.rsqrt(), 0.5 * covariances.log().sum(-1)
    A, half_log_det = gaussian.inverse_cholesky(covariances)
    if kind == "tied":
        A = A.unsqueeze(-3).expand(*A.shape[:-2], K, d, d)
        half_log_det = half_log_det.unsqueeze(-1).expand(weights.shape)
    return A, half_log_det
