"""EM layers of kinds other than unit: the covariances they start from, the eigenvalues they are built for.

    start   S = sum_n (x_n - mu(n)) (x_n - mu(n))^T / N,   mu(n) the mean nearest to x_n,   as the kind asks
    range   [2^-SHRINK l, h],   l the least eigenvalue of S rounded down to a power of two,
            h the least power of two from max(17/16 max_n |x_n - c|^2, largest eigenvalue of S) on,
            c the middle of the box around the points

The network was trained on unit covariances and says nothing of others, so S is pooled: every component starts
with the same. It is the rule of baselines.starts, of k-means++ and of TGMMMixture.

No step of EM makes an eigenvalue above max_n |x_n - c|^2: <e, S_k e> is the variance of <e, x> under the
weights r_nk / sum_n r_nk, at most the average of <e, x - c>^2 under them; spherical and tied kinds average
such. A sixteenth is left to pieces and rounding. From below there is no such bound, since EM of a component
that shrinks to few points goes on to 0: there the layers end and say so.
"""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.gaussian import covariance_roots
from constructions.em.tasks import COVARIANCE_SHAPES, CovarianceType

SHRINK = 10
"""Eigenvalues may be down to 2^-SHRINK times those of the start: deviations a thirty-second of them."""

EXACTLY = "donot_use_mm_for_euclid_dist"

MATRICES: tuple[CovarianceType, ...] = ("tied", "full")


def start_covariances(X: Tensor, means: Tensor, mask: Tensor | None, kind: CovarianceType) -> Tensor:
    """S of the module's docstring as COVARIANCE_SHAPES lays it out; gradients reach X and the means.

    The identity where S cannot be told from a singular matrix: its least pivot, as a share of the variance,
    is at most 64 d u.

    Args:
        X: (B, N, d), zeros at padding. means: (B, K, d). mask: (B, N) bool, True at points.
        kind: not "unit".
    """
    B, N, d = X.shape
    K = means.shape[1]
    nearest = torch.cdist(X.detach(), means.detach(), compute_mode=EXACTLY).argmin(-1)
    within = X - means.gather(1, nearest[:, :, None].expand(-1, -1, d))
    counts = X.new_full((B,), N)
    if mask is not None:
        within, counts = within * mask[:, :, None], mask.sum(-1).to(X)
    S = within.mT @ within / counts[:, None, None]
    eye = torch.eye(d, dtype=X.dtype, device=X.device)
    if kind in ("tied_spherical", "spherical"):
        S = S.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None] * eye
    elif kind == "diagonal":
        S = S * eye
    limits = torch.finfo(X.dtype)
    usable = covariance_roots(S.detach())[1] > 64 * d * limits.eps
    usable = usable & (S.detach().diagonal(dim1=-2, dim2=-1) >= limits.tiny).all(-1)
    S = torch.where(usable[:, None, None], (S + S.mT) / 2, eye)
    letters = COVARIANCE_SHAPES[kind]
    if "dd" not in letters:
        S = S.diagonal(dim1=-2, dim2=-1) if letters == "Kd" else S[:, 0, 0]
    return S[:, None].expand(B, K, *S.shape[1:]) if "K" in letters else S


def eigenvalue_ranges(X: Tensor, covariances: Tensor, mask: Tensor | None, kind: CovarianceType) -> Tensor:
    """(B, 2) float64: the range of the module's docstring, where the covariances are those of the start."""
    X, S = X.detach().double(), covariances.detach().double()
    least, largest = X.masked_fill(_absent(X, mask), torch.inf), X.masked_fill(_absent(X, mask), -torch.inf)
    middle = (least.amin(1) + largest.amax(1)) / 2
    reach = (X - middle[:, None]).square().sum(-1)
    if mask is not None:
        reach = reach.masked_fill(~mask, 0.0)
    values = eigenvalues(S, kind)
    top = torch.maximum(17 / 16 * reach.amax(-1), values.amax(-1))
    low = torch.ldexp(torch.ones_like(top), torch.frexp(values.amin(-1)).exponent - 1 - SHRINK)
    return torch.stack([low, power_of_two_from(top)], -1)


def eigenvalues(covariances: Tensor, kind: str) -> Tensor:
    """(B, m): all of a task together, of covariances or of differences of such."""
    found = torch.linalg.eigvalsh(covariances) if kind in MATRICES else covariances
    return found.reshape(len(found), -1)


def power_of_two_from(sizes: Tensor) -> Tensor:
    """The least power of two that is not below each size, float64; sizes positive and finite."""
    fraction, exponent = torch.frexp(sizes.double())  # fraction in [1/2, 1)
    return torch.ldexp(torch.ones_like(fraction), exponent - (fraction == 0.5).to(exponent.dtype))


def _absent(X: Tensor, mask: Tensor | None) -> Tensor:
    return torch.zeros_like(X, dtype=torch.bool) if mask is None else ~mask[:, :, None].expand_as(X)
