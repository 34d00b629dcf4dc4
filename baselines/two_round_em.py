"""Two-round EM: many random starts, one EM round, pruning, thinning to K far-apart means, EM again.

    1  m points of the data at random as means, weights 1/m; one EM step.
    2  drop the components of weight below 1/(4 m).
    3  of those left keep K by farthest-first traversal: the heaviest, then again and again the one whose
       least distance to those kept is largest. Weights 1/K.
    4  EM from there; a single step in the source.

With K separated clusters of least weight w, m = O(log(K)/w) points meet every cluster, so every cluster has
a mean after step 1, and no two of the K means kept after step 3 lie in one. S = I throughout: the source also
estimates one variance for each mean, and measures distances in its units.
Source: Dasgupta and Schulman 2007, "A probabilistic analysis of EM for mixtures of separated, spherical
Gaussians", figure 1.
"""

import math

import torch
from torch import Tensor

from baselines.checks import check_count, check_points
from baselines.em import EMResult, em
from baselines.em_steps import em_step
from baselines.mixture import Mixture
from baselines.points import prepare
from baselines.starts import random_points

NUMBERS_AT_ONCE = 2**20  # a block of tasks is this large (8 MiB in float64), to stay in cache


def default_starts(n_components: int) -> int:
    """m = ceil(4 K ln(4 K)), a choice: K equally likely clusters are then all met but for K (4 K)^-4.

    P(cluster k is missed by m independent points) = (1 - 1/K)^m <= exp(-m/K) <= (4 K)^-4, K times at most.
    """
    check_count("n_components", n_components)
    return math.ceil(4 * n_components * math.log(4 * n_components))


def two_round_em(
    X: Tensor,
    n_components: int,
    *,
    n_starts: int | None = None,
    max_iter: int = 1,
    tol: float = 0.0,
    generator: torch.Generator | None = None,
) -> EMResult:
    """Fit a unit-covariance mixture to every task of X (..., N, d) by the steps at the head of this file.

    n_starts       m, at least K; None takes min(default_starts(K), N).
    max_iter, tol  of the EM of step 4, as baselines.em.em: one step is the source's algorithm, many steps
                   with a tolerance run it to convergence.

    Where fewer than K components pass step 2 the K heaviest pass. The result is that of step 4.
    Raises ValueError for bad input.
    """
    start = far_apart_start(X, n_components, n_starts=n_starts, generator=generator)
    check_count("max_iter", max_iter)
    return em(X, init=start, max_iter=max_iter, tol=tol)


def far_apart_start(
    X: Tensor, n_components: int, *, n_starts: int | None = None, generator: torch.Generator | None = None
) -> Mixture:
    """Steps 1 to 3: the mixture that the second round starts from, weights 1/K, for X (..., N, d)."""
    check_points(X)
    check_count("n_components", n_components)
    batch, (N, d), K = X.shape[:-2], X.shape[-2:], n_components
    m = min(default_starts(K), N) if n_starts is None else n_starts
    check_count("n_starts", m)
    if not K <= m <= N:
        raise ValueError(f"n_starts is {m}, needs n_components = {K} <= n_starts <= N = {N}")
    if generator is None:
        raise ValueError("generator is None, needs a torch.Generator")
    flat = X.reshape(-1, N, d)
    n_tasks = max(1, NUMBERS_AT_ONCE // (N * (d + 2 + 2 * m)))
    kept = []
    for first in range(0, len(flat), n_tasks):
        points = prepare(flat[first : first + n_tasks], None, None)
        means = random_points(points, m, generator) + points.centre
        weights = torch.full_like(means[..., 0], 1 / m)
        # no component is empty: the point that a mean lies on gives it a share of at least 1/m
        after, _, _ = em_step(points.X, Mixture(weights, means))
        kept.append(farthest_first(after.means, heavy_enough(after.weights, K), after.weights, K))
    means = torch.cat(kept).reshape(*batch, K, d)
    return Mixture(torch.full_like(means[..., 0], 1 / K), means)


def heavy_enough(weights: Tensor, n_components: int) -> Tensor:
    """Step 2: weights (..., m) -> booleans (..., m), pi_j >= 1/(4 m), or among the K heaviest."""
    m = weights.shape[-1]
    heaviest = torch.zeros_like(weights, dtype=torch.bool)
    heaviest.scatter_(-1, weights.topk(n_components, dim=-1).indices, True)
    return (weights >= 1 / (4 * m)) | heaviest


def farthest_first(means: Tensor, allowed: Tensor, weights: Tensor, n_components: int) -> Tensor:
    """Step 3: means (..., m, d) -> K of them (..., K, d), from those allowed (..., m), the heaviest first."""
    first = torch.where(allowed, weights, -torch.inf).argmax(-1, keepdim=True)
    chosen, taken = [], ~allowed
    nearest = torch.full_like(weights, torch.inf)
    for k in range(n_components):
        index = first if k == 0 else torch.where(taken, -torch.inf, nearest).argmax(-1, keepdim=True)
        taken = taken.scatter(-1, index, True)
        mean = means.take_along_dim(index.unsqueeze(-1), -2)
        chosen.append(mean)
        nearest = torch.minimum(nearest, (means - mean).square().sum(-1))
    return torch.cat(chosen, dim=-2)
