"""What the ordered loss cannot get below: the order of the weights, which the data tell only roughly.

    Q_ki = P(component i has the k-th smallest weight | counts c)
    risk = (1 / (K d)) sum_ki Q_ki |m_i - mu_hat_k|^2,    mu_hat_k = sum_i Q_ki m_i

the Bayes risk of the ordered loss (its part of the means) for an estimator that is told the means, in no
order, and which of them every point came from. One that sees only the points has at least this risk: see
paper_notes/learned_model.md, section 3.

Q under the prior, raw weights r_i uniform on [0.2, 0.8] and pi = r / sum r, by quadrature in two dimensions
for every K. For prod_i r_i^c_i / (sum r)^N is the integral over t of t^(N-1) / Gamma(N) prod_i r_i^c_i
e^(-t r_i): given t the r_i are independent, and the probability of a rank is a polynomial in their
distribution functions.

Accuracy. In log t, the trapezoid rule: the posterior of log t is a mixture of those of Gamma(N, sum r), so
what it misses is at most twice the sum over m of |Gamma(N + i m w)| / Gamma(N), where w = 2 pi / step, and
TAIL at either end. In r, Gauss-Legendre, 32 + 3 sqrt(N) nodes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import gammainccinv, gammaincinv
from torch import Tensor

from baselines.align import best_permutation
from baselines.checks import check_count
from constructions.language.shown import short_repr
from training.model.estimate import Estimate
from training.tasks import TaskBatch, TaskDistribution, sample_tasks

LEAST_RAW, MOST_RAW = 0.2, 0.8  # of the raw weights: baselines.task_families.paper_weights
TAIL = 1e-14  # probability that t lies beyond one end of its grid, at most
NUMBERS_AT_ONCE = 2**21  # tasks are worked through so many numbers at a time


class RankPosterior(NamedTuple):
    """Given the counts of T tasks: Q (T, K, K), rank by component, and E[k-th smallest pi] (T, K)."""

    ranks: Tensor
    weights: Tensor

    __repr__ = short_repr


@dataclass(frozen=True)
class OrderedFloor:
    """Averages over tasks, each with its standard error (`_se`).

    risk           Bayes risk of the ordered loss without its cross-entropy, means and labels known.
    aligned        (1/K) sum_k |mu_hat_k - mu_p(k)|^2 / d of that estimator under the best permutation p.
    cross_entropy  -sum_k pi_k log E[pi_k | counts], pi ascending: the other part of that Bayes risk.
    entropy        -sum_k pi_k log pi_k: what the cross-entropy of any estimate and any loss is at least.
    """

    risk: float
    risk_se: float
    aligned: float
    aligned_se: float
    cross_entropy: float
    cross_entropy_se: float
    entropy: float
    entropy_se: float


def ordered_floor(
    n_features: int,
    n_components: int,
    n_samples: int | tuple[int, int],
    n_tasks: int,
    generator: torch.Generator,
) -> OrderedFloor:
    """The floor on n_tasks tasks of the paper's distribution with ascending weights, in float64 on the CPU.

    n_samples is one N for all, or (low, high): N uniform on the integers low..high, as in training. Memory:
    the points of all tasks, n_tasks N d numbers, and some tens of MB.

    Raises ValueError for n_tasks < 2 and as `sample_tasks` does.
    """
    check_count("n_tasks", n_tasks, least=2)
    low, high = n_samples if isinstance(n_samples, tuple) else (n_samples, n_samples)
    tasks = TaskDistribution(n_features, (n_components,), (low, high), sort_weights=True)
    lengths = torch.randint(low, high + 1, (n_tasks,), generator=generator)
    batch = sample_tasks(tasks, n_tasks, n_components, lengths, generator, dtype=torch.float64)
    figures = task_figures(batch)
    means, errors = figures.mean(-1), figures.std(-1) / math.sqrt(n_tasks)
    return OrderedFloor(*torch.stack((means, errors), dim=1).flatten().tolist())


def task_figures(batch: TaskBatch) -> Tensor:
    """risk, aligned, cross_entropy and entropy of each task, (4, T), as in `OrderedFloor`.

    For unit covariances, raw weights uniform on [0.2, 0.8], and components whose weights ascend.
    """
    posterior, truth = rank_posterior(label_counts(batch)), batch.truth
    means = posterior.ranks @ truth.means
    squares = (means[:, :, None] - truth.means[:, None]).square().mean(-1)  # (T, rank, component)
    return torch.stack(
        (
            (posterior.ranks * squares).sum(-1).mean(-1),
            squares.gather(1, best_permutation(squares)[:, None]).mean((1, 2)),
            -(truth.weights * posterior.weights.log()).sum(-1),
            -(truth.weights * truth.weights.log()).sum(-1),
        )
    )


def informed_estimate(batch: TaskBatch) -> Estimate:
    """The minimiser of the ordered loss for who knows labels and unordered means: log weights, means."""
    posterior = rank_posterior(label_counts(batch))
    return Estimate(posterior.weights.log(), posterior.ranks @ batch.truth.means)


def label_counts(batch: TaskBatch) -> Tensor:
    """Points of each component, (T, K)."""
    components = torch.arange(batch.truth.n_components, device=batch.labels.device)
    return (batch.labels[:, :, None] == components).sum(1)


def rank_posterior(counts: Tensor, refine: int = 1) -> RankPosterior:
    """Of the ranks of the weights given counts (T, K) of points, in float64 on the CPU.

    `refine` multiplies the numbers of nodes, to see what they leave. Raises ValueError for counts that are
    not integers >= 0 with a sum of at least 1 in every task.
    """
    if counts.dim() != 2 or 0 in counts.shape or counts.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"counts is {counts.dtype} of shape {tuple(counts.shape)}, needs integers (T, K)")
    totals = counts.sum(-1)
    if int(counts.min()) < 0 or int(totals.min()) < 1:
        raise ValueError("a task has a negative count or no points, needs counts >= 0 with a sum >= 1")
    K = counts.shape[1]
    grid = _Grid.of(int(totals.min()), int(totals.max()), K, refine)
    at_once = max(1, NUMBERS_AT_ONCE // (len(grid.t) * len(grid.raw) * K))
    different, place = counts.unique(dim=0, return_inverse=True)
    parts = [_rank_posterior(part, grid) for part in different.double().split(at_once)]
    ranks, weights = (torch.cat([part[i] for part in parts]) for i in (0, 1))
    return RankPosterior(ranks[place], weights[place])


class _Grid(NamedTuple):
    """t (m,), equally spaced in log t; raw weights (n,), their quadrature weights (n,), and `below` (n, n),
    which takes values of a density at the nodes to its distribution function there.
    """

    t: Tensor
    raw: Tensor
    nodes: Tensor
    below: Tensor

    @classmethod
    def of(cls, least: int, most: int, K: int, refine: int) -> _Grid:
        first = math.log(gammaincinv(least, TAIL) / (MOST_RAW * K))
        last = math.log(gammainccinv(most, TAIL) / (LEAST_RAW * K))
        step = 2 * math.pi / angular_frequency(most)
        t = np.exp(np.linspace(first, last, refine * (2 + int((last - first) / step))))
        n = refine * (32 + math.ceil(3 * math.sqrt(most)))
        x, w = np.polynomial.legendre.leggauss(n)
        # The Lagrange polynomial of node l is w_l sum_p (p + 1/2) P_p(x_l) P_p, and (2p + 1) times the
        # integral of P_p from -1 is P_(p+1) - P_(p-1), where P_(-1) = -1.
        P = np.polynomial.legendre.legvander(x, n)
        before = np.concatenate([-np.ones((n, 1)), P[:, : n - 1]], axis=1)
        below = (P[:, 1:] - before) @ (P[:, :n] * w[:, None]).T / 2
        half = (MOST_RAW - LEAST_RAW) / 2
        raw = LEAST_RAW + half * (1 + x)
        return cls(*(torch.from_numpy(part) for part in (t, raw, half * w, half * below)))


def angular_frequency(n_samples: int) -> float:
    """2 pi / step in log t; |Gamma(N + i w)| / Gamma(N), about exp(-w^2 / (2N)), is then below 1e-9."""
    return 10 + math.sqrt(50 * n_samples)


def _rank_posterior(counts: Tensor, grid: _Grid) -> RankPosterior:
    K = counts.shape[1]
    N = counts.sum(-1, keepdim=True)
    t, raw = grid.t, grid.raw
    log_density = counts[:, None, :, None] * raw.log() - t[:, None, None] * raw  # (T, m, K, n)
    peak = log_density.amax(-1, keepdim=True)
    density = (log_density - peak).exp()
    total = density @ grid.nodes
    density = density / total[..., None]
    below = density @ grid.below.mT
    share = (N * t.log() + (peak[..., 0] + total.log()).sum(-1)).softmax(-1)  # of t, (T, m)
    ranks, weights = torch.zeros(len(counts), K, K, dtype=N.dtype), torch.zeros_like(counts)
    for i in range(K):
        mass = share[..., None] * density[:, :, i] * grid.nodes  # (T, m, n)
        # pi_i = r_i / sum r, and given the r_i the mean of t is N / sum r.
        weighted = mass * (raw * t[:, None]) / N[..., None]
        others = [below[:, :, j] for j in range(K) if j != i]
        for k, probability in enumerate(_numbers_below(others, mass)):
            ranks[:, k, i] = (mass * probability).sum((1, 2))
            weights[:, k] += (weighted * probability).sum((1, 2))
    return RankPosterior(ranks, weights)


def _numbers_below(probabilities: list[Tensor], like: Tensor) -> list[Tensor]:
    """P(exactly k of independent events happen), k = 0, 1, ..: multiplied out event by event."""
    found = [torch.ones_like(like)]
    for p in probabilities:
        missed = [(1 - p) * q for q in found]
        happened = [p * q for q in found]
        found = [missed[0], *(a + b for a, b in zip(missed[1:], happened, strict=False)), happened[-1]]
    return found
