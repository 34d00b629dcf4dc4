"""How far an estimate is from the truth, how well points are grouped, and summaries over tasks."""

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.align import align, check_comparable
from baselines.mixture import Mixture
from baselines.shown import short_repr


@dataclass(frozen=True, eq=False)
class Errors:
    """Errors of every task (...), each per component: means in squared units of the data per feature."""

    means: Tensor
    weights: Tensor

    __repr__ = short_repr

    @property
    def total(self) -> Tensor:
        """The error of arXiv 2505.11918: (1/K) sum_k (|mu_hat_k - mu_k|^2 / d + (pi_hat_k - pi_k)^2)."""
        return self.means + self.weights


def mean_error(estimate: Mixture, truth: Mixture) -> Tensor:
    """(1/K) sum_k |mu_hat_k - mu_k|^2 / d of mixtures in the same order: (...)."""
    check_comparable(estimate, truth)
    return (estimate.means - truth.means).square().mean((-2, -1))


def weight_error(estimate: Mixture, truth: Mixture) -> Tensor:
    """(1/K) sum_k (pi_hat_k - pi_k)^2 of mixtures in the same order: (...)."""
    check_comparable(estimate, truth)
    return (estimate.weights - truth.weights).square().mean(-1)


def errors(estimate: Mixture, truth: Mixture) -> Errors:
    """Errors after the exact alignment of baselines.align, which makes their total smallest."""
    aligned, _ = align(estimate, truth)
    return Errors(mean_error(aligned, truth), weight_error(aligned, truth))


def adjusted_rand_index(labels: Tensor, other: Tensor) -> Tensor:
    """Agreement of two groupings of N points, corrected for chance: (..., N) twice -> (...), float64.

    (S - E) / (M - E): with n_ij points in group i of one and j of the other, S = sum C(n_ij, 2), A and B the
    same over row and column sums, E = A B / C(N, 2), M = (A + B) / 2. 1 for equal groupings under any names,
    0 on average for random ones; 1 where M = E (both put all points together, or all apart).
    Source: Hubert and Arabie 1985.
    Raises ValueError for labels that are not non-negative integers of one shape.
    """
    for name, values in (("labels", labels), ("other", other)):
        if values.is_floating_point() or values.numel() == 0 or values.min() < 0:
            raise ValueError(f"{name} are {values.dtype} of shape {tuple(values.shape)}, needs integers >= 0")
    if labels.shape != other.shape or labels.dim() < 1:
        raise ValueError(f"labels have shape {tuple(labels.shape)}, needs {tuple(other.shape)}")
    groups = torch.nn.functional.one_hot(labels.long()).double()
    others = torch.nn.functional.one_hot(other.long()).double()
    table = groups.mT @ others
    together = _pairs(table).sum((-2, -1))
    first, second = _pairs(table.sum(-1)).sum(-1), _pairs(table.sum(-2)).sum(-1)
    n_pairs = _pairs(torch.tensor(float(labels.shape[-1]), dtype=torch.float64, device=labels.device))
    trivial = (first == second) & ((first == 0) | (first == n_pairs))
    expected = first * second / n_pairs.clamp(min=1)
    index = (together - expected) / (0.5 * (first + second) - expected)
    return torch.where(trivial, 1.0, index)


def _pairs(counts: Tensor) -> Tensor:
    return counts * (counts - 1) / 2


@dataclass(frozen=True)
class Summary:
    """Errors over tasks in five numbers; percent_bad is the share above ten times the oracle's."""

    mean: float
    median: float
    p90: float
    standard_error: float
    percent_bad: float
    n_tasks: int


def summarise(error: Tensor, oracle_error: Tensor) -> Summary:
    """Mean, median, 90th percentile, standard error of the mean, % of tasks above ten times the oracle.

    error (T,) of a method, oracle_error (T,) of EM started from the truth; a task is bad when its error is
    above ten times the oracle's error on that same task. standard_error = s / sqrt(T), s with divisor T - 1.
    Raises ValueError unless both have one shape (T,) with T >= 2.
    """
    if error.dim() != 1 or error.shape != oracle_error.shape or len(error) < 2:
        shapes = f"{tuple(error.shape)} and {tuple(oracle_error.shape)}"
        raise ValueError(f"the errors have shapes {shapes}, needs one shape (T,) with T >= 2")
    error = error.double()
    bad = error > 10 * oracle_error.double()
    return Summary(
        mean=error.mean().item(),
        median=error.quantile(0.5).item(),
        p90=error.quantile(0.9).item(),
        standard_error=(error.std() / len(error) ** 0.5).item(),
        percent_bad=100 * bad.double().mean().item(),
        n_tasks=len(error),
    )
