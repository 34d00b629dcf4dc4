"""Exact matching of the components of an estimate with those of the truth.

A mixture has no order of its components, so an error is taken after the relabelling that makes it smallest.
`permutation` always reads: component `permutation[k]` of the estimate belongs to component k of the truth, so
`estimate.permute(permutation)` is in the order of the truth. (Its inverse would be the wrong answer.)
"""

from itertools import permutations

import torch
from torch import Tensor

from baselines.checks import check_finite
from baselines.mixture import Mixture

MOST_EXHAUSTIVE = 5


def best_permutation(cost: Tensor) -> Tensor:
    """argmin over permutations p of sum_k cost[..., p(k), k]: cost (..., K, K) -> (..., K) integers.

    Rows are components of the estimate, columns of the truth. Exact: all K! permutations at once for K <= 5,
    scipy's assignment task by task above. Raises ValueError for a cost that is not square or not finite.
    """
    if cost.dim() < 2 or cost.shape[-1] != cost.shape[-2] or cost.shape[-1] == 0:
        raise ValueError(f"cost has shape {tuple(cost.shape)}, needs (..., K, K) with K >= 1")
    check_finite("cost", cost)
    K = cost.shape[-1]
    if K <= MOST_EXHAUSTIVE:
        candidates = torch.tensor(list(permutations(range(K))), device=cost.device)
        totals = cost[..., candidates, torch.arange(K, device=cost.device)].sum(-1)
        return candidates[totals.argmin(-1)]
    flat = cost.reshape(-1, K, K).mT.cpu().numpy()
    from scipy.optimize import linear_sum_assignment  # half a second to load

    columns = [torch.from_numpy(linear_sum_assignment(task)[1]) for task in flat]
    return torch.stack(columns).reshape(cost.shape[:-1]).to(cost.device)


def pair_costs(estimate: Mixture, truth: Mixture) -> Tensor:
    """|mu_hat_j - mu_k|^2 / d + (pi_hat_j - pi_k)^2, (..., K, K), rows of the estimate."""
    check_comparable(estimate, truth)
    differences = estimate.means.unsqueeze(-2) - truth.means.unsqueeze(-3)
    weight_gaps = estimate.weights.unsqueeze(-1) - truth.weights.unsqueeze(-2)
    return differences.square().mean(-1) + weight_gaps.square()


def align(estimate: Mixture, truth: Mixture) -> tuple[Mixture, Tensor]:
    """The estimate in the order of the truth that gives the smallest error, and the permutation (..., K).

    The cost of a pair is `pair_costs`, K times its share in metrics.Errors.total, so this is the alignment
    that the error of arXiv 2505.11918 asks for. ValueError when the two mixtures differ in shape or dtype.
    """
    permutation = best_permutation(pair_costs(estimate, truth))
    return estimate.permute(permutation), permutation


def check_comparable(estimate: Mixture, truth: Mixture) -> None:
    """ValueError unless both have the same batch shape, K, d, dtype and device."""
    for name, mine, theirs in (
        ("means of shape", tuple(estimate.means.shape), tuple(truth.means.shape)),
        ("dtype", estimate.means.dtype, truth.means.dtype),
        ("device", estimate.means.device, truth.means.device),
    ):
        if mine != theirs:
            raise ValueError(f"the estimate has {name} {mine}, needs {theirs} like the truth")
