"""k-means by Lloyd's algorithm for a batch of tasks, and the mixture that its clusters stand for.

    assign   c(n) = argmin_k |x_n - m_k|^2                      (the first k of several)
    update   m_k = average of the x_n with c(n) = k

until no assignment changes. Neither step raises the inertia sum_n |x_n - m_c(n)|^2.

An empty cluster has no average. Rule, that of scikit-learn: the points farthest from their own centres move
to the empty clusters, one to each, the farthest to the first; a point that lies on its centre does not move.
A task that has fewer different points than clusters keeps an empty cluster and is marked.
Source: Lloyd 1982; Arthur and Vassilvitskii 2007 for the starts.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from baselines.checks import check_count, check_finite, check_points, check_same_kind
from baselines.mixture import Mixture
from baselines.points import Points, prepare
from baselines.starts import STARTS, squared_distances, start_covariances, start_means

NUMBERS_AT_ONCE = 2**20  # a block of tasks is this large (8 MiB in float64), to stay in cache


@dataclass(frozen=True, eq=False)
class KMeansResult:
    """The best restart of every task of a batch (...).

    centres    (..., K, d).
    labels     (..., N): the cluster nearest to each point.
    sizes      (..., K): points in each cluster.
    inertia    (...): sum_n |x_n - m_c(n)|^2, squared units of the data.
    n_iter     (...): updates of the centres.
    converged  (...): no assignment changed in the last of them.
    restart    (...): which of the n_init starts was kept, from 0.
    """

    centres: Tensor
    labels: Tensor
    sizes: Tensor
    inertia: Tensor
    n_iter: Tensor
    converged: Tensor
    restart: Tensor

    @property
    def empty(self) -> Tensor:
        """(...) booleans: a cluster has no points, so the task has no mixture."""
        return (self.sizes == 0).any(-1)

    @property
    def mixture(self) -> Mixture:
        """pi_k = share of the points in cluster k, mu_k = m_k, S_k = I, batch shape (...).

        ValueError where a cluster is empty: see `select`.
        """
        n_empty = int(self.empty.sum())
        if n_empty:
            raise ValueError(
                f"{n_empty} of {self.empty.numel()} tasks have an empty cluster, needs 0, "
                "or select(~result.empty)"
            )
        return self._mixture(self.sizes, self.centres)

    def select(self, tasks: Tensor) -> Mixture:
        """The mixtures of the tasks where the booleans `tasks` (...) are True, batch shape (n,)."""
        return self._mixture(self.sizes[tasks], self.centres[tasks])

    def _mixture(self, sizes: Tensor, centres: Tensor) -> Mixture:
        return Mixture(sizes.to(centres.dtype) / self.labels.shape[-1], centres)


def with_pooled_covariances(mixture: Mixture, X: Tensor, covariance_type: str) -> Mixture:
    """The weights and means given, and S = (1/N) sum_n (x_n - m(n)) (x_n - m(n))^T for all components.

    m(n) is the mean nearest to x_n; S is restricted to the type as baselines.starts does, which says what
    happens where it is singular. X (..., N, d), of the batch shape of the mixture; "unit" keeps S = I.
    """
    if covariance_type == "unit":
        return Mixture(mixture.weights, mixture.means)
    points = prepare(X.reshape(-1, *X.shape[-2:]), None, None)
    means = mixture.means.reshape(-1, *mixture.means.shape[-2:]) - points.centre
    covariances = start_covariances(points, means, covariance_type)
    if covariances is not None:
        covariances = covariances.reshape((*X.shape[:-2], *covariances.shape[1:]))
    return Mixture(mixture.weights, mixture.means, covariances, covariance_type)


def kmeans(
    X: Tensor,
    n_components: int,
    *,
    init: str | Tensor = "k-means++",
    n_init: int = 1,
    max_iter: int = 300,
    generator: torch.Generator | None = None,
) -> KMeansResult:
    """argmin over K centres of sum_n min_k |x_n - m_k|^2, locally, for every task of X (..., N, d).

    init      a name of baselines.starts.STARTS, drawn from `generator`; or centres (..., K, d), whose batch
              shape broadcasts to that of X.
    n_init    restarts; the one of least inertia is kept, one with an empty cluster only if all have one.
    max_iter  most updates of the centres.

    Distances are expanded squares about the centre of each task: off by about (d + 4) u R^2, R the radius of
    the data, so a point that is nearer to one of two centres by less than that may go to the other.
    Raises ValueError for bad input.
    """
    check_points(X)
    check_count("n_components", n_components)
    check_count("n_init", n_init)
    check_count("max_iter", max_iter)
    batch, (N, d) = X.shape[:-2], X.shape[-2:]
    if n_components > N:
        raise ValueError(f"X has {N} points, needs at least n_components = {n_components}")
    given = None
    if isinstance(init, Tensor):
        _check_centres(init, X, n_components, n_init)
        given = init.expand(*batch, n_components, d).reshape(-1, n_components, d)
    elif init not in STARTS:
        raise ValueError(f"init is {init!r}, needs centres (..., K, d) or one of {', '.join(STARTS)}")
    flat = X.reshape(-1, N, d)
    n_tasks = max(1, NUMBERS_AT_ONCE // (N * (d + 2 + 2 * n_components)))
    fits = []
    for first in range(0, len(flat), n_tasks):
        block = slice(first, first + n_tasks)
        points = prepare(flat[block], None, None)
        best = None
        for restart in range(n_init):
            if given is not None:
                start = given[block] - points.centre
            elif generator is None:
                raise ValueError(f"generator is None, needs a torch.Generator for init {init!r}")
            else:
                start = start_means(points, n_components, str(init), generator)
            fit = _lloyd(points, start, max_iter, restart)
            best = fit if best is None else _better(best, fit)
        fits.append(best)
    fields = [torch.cat(parts) for parts in zip(*fits, strict=True)]
    return KMeansResult(*(values.reshape((*batch, *values.shape[1:])) for values in fields))


class _Fit(NamedTuple):
    """The fields of KMeansResult in their order, with one batch dimension."""

    centres: Tensor
    labels: Tensor
    sizes: Tensor
    inertia: Tensor
    n_iter: Tensor
    converged: Tensor
    restart: Tensor


def _lloyd(points: Points, start: Tensor, max_iter: int, restart: int) -> _Fit:
    """From centres (B, K, d) about the centre; settled tasks are taken out when they make up half."""
    B, K, _ = start.shape
    N = points.X.shape[1]
    device = start.device
    centres, labels = start.clone(), torch.zeros(B, N, dtype=torch.long, device=device)
    n_iter = torch.zeros(B, dtype=torch.long, device=device)
    converged = torch.zeros(B, dtype=torch.bool, device=device)
    rows, active, current = torch.arange(B, device=device), points, start
    assigned, nearest = _assign(active, current)
    moving = torch.ones(B, dtype=torch.bool, device=device)
    for _ in range(max_iter):
        assigned = _fill_empty_clusters(assigned, nearest, K)
        current = torch.where(moving[:, None, None], _averages(active, assigned, current), current)
        n_iter[rows[moving]] += 1
        new, nearest = _assign(active, current)
        moving = moving & (new != assigned).any(-1)
        assigned = new
        centres[rows], labels[rows], converged[rows] = current, assigned, ~moving
        n_moving = int(moving.sum())
        if n_moving == 0:
            break
        if n_moving <= 0.5 * len(rows):
            kept = moving.nonzero().squeeze(-1)
            rows, active, current = rows[kept], active.rows(kept), current[kept]
            assigned, nearest, moving = assigned[kept], nearest[kept], moving[kept]
    sizes = torch.zeros(B, K, dtype=torch.long, device=device)
    sizes.scatter_add_(1, labels, torch.ones_like(labels))
    centres = centres + points.centre
    owners = centres.gather(1, labels.unsqueeze(-1).expand(B, N, centres.shape[-1]))
    inertia = (points.X - owners).square().sum((-2, -1))
    return _Fit(centres, labels, sizes, inertia, n_iter, converged, torch.full_like(n_iter, restart))


def _assign(points: Points, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest centre (B, N) of every point and the squared distance to it (B, N)."""
    [(features, _)] = points.chunks()
    nearest = squared_distances(features, centres).min(1)
    return nearest.indices, nearest.values


def _fill_empty_clusters(labels: Tensor, nearest: Tensor, K: int) -> Tensor:
    """Labels after the points farthest from their centres have moved to the empty clusters."""
    sizes = torch.zeros(len(labels), K, dtype=torch.long, device=labels.device)
    sizes.scatter_add_(1, labels, torch.ones_like(labels))
    empty = sizes == 0
    if not empty.any():
        return labels
    farthest = nearest.topk(K, dim=-1)
    place = (empty.long().cumsum(-1) - 1).clamp(min=0)  # how many empty clusters come before this one
    labels = labels.clone()
    for k in range(K):
        away = farthest.values.gather(1, place[:, k : k + 1]).squeeze(1) > 0
        tasks = (empty[:, k] & away).nonzero().squeeze(-1)
        labels[tasks, farthest.indices[tasks, place[tasks, k]]] = k
    return labels


def _averages(points: Points, labels: Tensor, old: Tensor) -> Tensor:
    """Average of every cluster's points, (B, K, d); a cluster without points keeps its old centre."""
    [(features, _)] = points.chunks()
    members = torch.zeros(len(old), old.shape[1], labels.shape[1], dtype=old.dtype, device=old.device)
    members.scatter_(1, labels.unsqueeze(1), 1.0)
    sizes = members.sum(-1, keepdim=True)
    sums = members @ features[:, :-2].mT
    return torch.where(sizes > 0, sums / sizes.clamp(min=1), old)


def _better(best: _Fit, fit: _Fit) -> _Fit:
    """Task by task: the fit without an empty cluster, and of two alike the one of smaller inertia."""
    best_full, fit_full = (best.sizes > 0).all(-1), (fit.sizes > 0).all(-1)
    wins = (fit_full & ~best_full) | ((fit_full == best_full) & (fit.inertia < best.inertia))
    return _Fit(
        *(
            torch.where(wins.reshape(-1, *[1] * (mine.dim() - 1)), theirs, mine)
            for mine, theirs in zip(best, fit, strict=True)
        )
    )


def _check_centres(centres: Tensor, X: Tensor, K: int, n_init: int) -> None:
    check_same_kind("init", centres, "X", X)
    batch, d = X.shape[:-2], X.shape[-1]
    if centres.dim() < 2 or centres.shape[-2:] != (K, d):
        raise ValueError(f"init has shape {tuple(centres.shape)}, needs (..., {K}, {d})")
    try:
        fits = torch.broadcast_shapes(batch, centres.shape[:-2]) == batch
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(
            f"init has batch shape {tuple(centres.shape[:-2])}, "
            f"needs one that broadcasts to {tuple(batch)} of X"
        )
    check_finite("init", centres)
    if n_init != 1:
        raise ValueError(f"n_init is {n_init}, needs 1 when init is centres: every restart would be the same")
