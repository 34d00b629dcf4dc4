"""The point that is nearest to a law on mixtures, whose components have no order.

A mixture is a set of K points y_k = (mu_k/sqrt d, pi_k), and the paper's error is the squared distance

    e(a, y) = min over permutations p of (1/K) sum_k |a_k - y_p(k)|^2.

Of weighted samples y_s (weights w_s, sum 1), the Frechet mean minimises R(a) = sum_s w_s e(a, y_s): with
draws from a posterior, the posterior expectation of the paper's error, and so it is the Bayes estimate.

**Descent.** Align every sample to a (permutation p_s), average: a' = sum_s w_s p_s y_s. Then

    R(a') <= sum_s w_s |a' - p_s y_s|^2/K <= sum_s w_s |a - p_s y_s|^2/K = R(a),

since the p_s need not be best for a', an average minimises the sum of squares, and they are best for a. The
second sign is < unless a' = a. There are finitely many (p_s), so after finitely many steps a' = a: a fixed
point, which may be a local minimum only, so several starts are tried and the least R kept.
An average of means stays in the box and one of weights on the simplex (both convex); cosines may exceed 0.8.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from baselines.align import best_permutation

MOST_ROUNDS = 200
COSTS_AT_ONCE = 2**16


class Average(NamedTuple):
    """Of the best start: centre (T, K, D), R there (T,), and the permutations (T, S, K).

    Point permutation[s, k] of sample s belongs to point k of the centre.
    """

    centre: Tensor
    risk: Tensor
    permutation: Tensor


def aligned_average(samples: Tensor, sample_weight: Tensor, starts: Tensor) -> Average:
    """Samples y (T, S, K, D) of weights w (T, S), sum 1, and the samples to start from: (T, J) integers."""
    tasks = torch.arange(len(samples), device=samples.device)
    best = None
    for j in range(starts.shape[1]):
        found = _descend(samples, sample_weight, samples[tasks, starts[:, j]])
        best = found if best is None else _better(best, found)
    if best is None:
        raise ValueError("starts has no column, needs (T, J) with J >= 1")
    return best


def _descend(samples: Tensor, sample_weight: Tensor, centre: Tensor) -> Average:
    """Align and average until no permutation changes; MOST_ROUNDS end a tie that rounding keeps turning."""
    permutation, _ = nearest(samples, sample_weight, centre)
    for _ in range(MOST_ROUNDS):
        aligned = samples.gather(2, permutation.unsqueeze(-1).expand_as(samples))
        centre = (sample_weight[..., None, None] * aligned).sum(1)
        before = permutation
        permutation, _ = nearest(samples, sample_weight, centre)
        if torch.equal(permutation, before):
            break
    return Average(centre, nearest(samples, sample_weight, centre)[1], permutation)


def nearest(samples: Tensor, sample_weight: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Best permutations of the samples (T, S, K) for a centre (T, K, D), and R (T,)."""
    cost = (
        samples.square().sum(-1).unsqueeze(-1)
        - 2 * samples @ centre.unsqueeze(1).mT
        + centre.square().sum(-1)[:, None, None]
    )
    permutation = fast_best_permutation(cost)
    error = cost.gather(2, permutation.unsqueeze(2)).squeeze(2).mean(-1)
    return permutation, (sample_weight * error).sum(-1)


def fast_best_permutation(cost: Tensor) -> Tensor:
    """`baselines.align.best_permutation` of cost (..., K, K), searching only where it must.

    Where the least entries of the columns are in K different rows, these are the answer: no sum can be less.
    """
    K = cost.shape[-1]
    flat = cost.reshape(-1, K, K)
    rows = flat.argmin(-2)
    order = torch.arange(K, device=cost.device)
    clash = (rows.sort(-1).values != order).any(-1).nonzero().squeeze(-1)
    for part in clash.split(COSTS_AT_ONCE // K) if len(clash) else ():
        rows[part] = best_permutation(flat[part])
    return rows.reshape(cost.shape[:-1])


def _better(best: Average, found: Average) -> Average:
    wins = found.risk < best.risk
    return Average(
        torch.where(wins[:, None, None], found.centre, best.centre),
        torch.where(wins, found.risk, best.risk),
        torch.where(wins[:, None, None], found.permutation, best.permutation),
    )
