"""E steps on the coordinates that were observed, and the moments of the others given them.

Point x has observed coordinates o and missing ones m. Given component k,

    log p_k(x_o) = log N(x_o; mu_o, S_oo)
    E[x_m | x_o] = mu_m + S_mo S_oo^-1 (x_o - mu_o),    Cov[x_m | x_o] = S_mm - S_mo S_oo^-1 S_om

and a coordinate that was observed is its own mean, of covariance 0. The M step takes the moments of these:

    W_k = sum_n a_n w_kn,  sum_n a_n w_kn (E x - o_k),  sum_n a_n w_kn ((E x - o_k)(E x - o_k)^T + Cov x)

which is EM for the likelihood of what was observed, exact where values are missing at random.
Everything is computed for the P patterns of missing coordinates that occur: S_oo is the matrix whose rows and
columns of missing coordinates are those of the identity, which changes neither inverse nor determinant.
Source: Ghahramani and Jordan 1994; Little and Rubin 2002, section 11.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.em_steps import Moments
from baselines.shown import short_repr

NUMBERS_AT_ONCE = 2**20


@dataclass(frozen=True, eq=False)
class Observed:
    """Points with their gaps: values (N, d), 0 where missing; patterns (P, d) booleans, True where observed;
    pattern (N,) of each point."""

    values: Tensor
    patterns: Tensor
    pattern: Tensor

    __repr__ = short_repr

    @property
    def mask(self) -> Tensor:
        """(N, d) booleans, True where observed."""
        return self.patterns[self.pattern]


@dataclass(frozen=True, eq=False)
class Conditionals:
    """For P patterns and K components: inverse roots of S_oo (P, K, d, d), log det S_oo / 2 (P, K), the map
    S_mo S_oo^-1 (P, K, d, d) and Cov x (P, K, d, d), 0 where a row or column does not belong."""

    inverse_roots: Tensor
    half_log_det: Tensor
    maps: Tensor
    covariances: Tensor

    __repr__ = short_repr


def observe(X: Tensor) -> Observed:
    """Points X (N, d) with NaN for what is missing."""
    present = ~torch.isnan(X)
    patterns, pattern = present.unique(dim=0, return_inverse=True)
    return Observed(torch.where(present, X, 0.0), patterns, pattern)


def conditionals(patterns: Tensor, covariances: Tensor) -> Conditionals:
    """From patterns (P, d) and covariances (K, d, d), positive definite."""
    seen = patterns.to(covariances.dtype)[:, None]
    both = seen.unsqueeze(-1) * seen.unsqueeze(-2)
    identity = torch.eye(seen.shape[-1], dtype=seen.dtype, device=seen.device)
    roots = torch.linalg.cholesky(both * covariances + (1 - seen).unsqueeze(-1) * identity)
    inverse_roots = torch.linalg.solve_triangular(roots, identity.expand(roots.shape), upper=False)
    cross = (1 - seen).unsqueeze(-1) * covariances * seen.unsqueeze(-2)
    maps = cross @ (inverse_roots.mT @ inverse_roots) * seen.unsqueeze(-2)
    hidden = (1 - seen).unsqueeze(-1) * covariances * (1 - seen).unsqueeze(-2)
    left = hidden - maps @ cross.mT
    half_log_det = roots.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return Conditionals(inverse_roots, half_log_det, maps, 0.5 * (left + left.mT))


def log_densities(points: Observed, means: Tensor, given: Conditionals) -> Tensor:
    """log p_k(x_o) of every component and point: means (K, d) -> (K, N); 0 for a point without any value."""
    d, found = means.shape[-1], []
    for part in _parts(points, means):
        gaps = _gaps(points, means, part)
        whitened = (given.inverse_roots[points.pattern[part]] @ gaps.unsqueeze(-1)).squeeze(-1)
        n_seen = points.patterns.sum(-1)[points.pattern[part]].unsqueeze(-1).to(means.dtype)
        constant = given.half_log_det[points.pattern[part]] + 0.5 * math.log(2 * math.pi) * n_seen
        found.append(-0.5 * whitened.square().sum(-1) - constant)
    return torch.cat(found).mT if found else means.new_empty(d, 0)


def moments(points: Observed, means: Tensor, given: Conditionals, shares: Tensor) -> Moments:
    """Sums about the means from shares a w (K, N): total (K,), first (K, d), second (K, d, d)."""
    K, d = means.shape
    first, second = means.new_zeros(K, d), means.new_zeros(K, d, d)
    for part in _parts(points, means):
        gaps = _gaps(points, means, part)
        expected = gaps + (given.maps[points.pattern[part]] @ gaps.unsqueeze(-1)).squeeze(-1)
        weighted = shares[:, part].mT.unsqueeze(-1) * expected
        first += weighted.sum(0)
        second += torch.einsum("nki,nkj->kij", weighted, expected)
    by_pattern = shares.new_zeros(K, len(points.patterns)).index_add_(1, points.pattern, shares)
    second += torch.einsum("kp,pkij->kij", by_pattern, given.covariances)
    return Moments(shares.sum(-1), first, second)


def _parts(points: Observed, means: Tensor) -> list[slice]:
    K, d = means.shape
    step = max(1, NUMBERS_AT_ONCE // (K * d * d))
    return [slice(first, first + step) for first in range(0, len(points.values), step)]


def _gaps(points: Observed, means: Tensor, part: slice) -> Tensor:
    """x - mu_k where observed, 0 elsewhere: (n, K, d)."""
    mask = points.patterns[points.pattern[part]].unsqueeze(1)
    return torch.where(mask, points.values[part].unsqueeze(1) - means, 0.0)
