"""k-means by Lloyd's algorithm for a batch of tasks, and the mixture that its clusters stand for.

    assign   c(n) = argmin_k |x_n - m_k|^2                      (the first k of several)
    update   m_k = average of the x_n with c(n) = k

until no assignment changes. Neither step raises the inertia sum_n |x_n - m_c(n)|^2.

An empty cluster has no average. Rule, that of scikit-learn: before every update the points farthest from
their own centres move to the empty clusters, one to each, the farthest to the first. Here a point stays where
it lies on its centre, and where it is alone in its cluster, which would only empty another one (scikit-learn
then puts that centre on the one of the largest cluster).

**No cluster is empty after the rule, unless there are fewer different points than clusters.** While one of K
is empty, the other K - 1 or fewer hold all points. If K are different, some cluster holds two different ones;
at most one place is its centre, so a point of it may move. Each move fills a cluster and empties none.
**It lowers the inertia** of the update that follows: the point farthest from any centre is an extreme point
of its cluster, so not the average, and leaving lowers the sum about the average strictly. So the inertia
falls on, and no assignment comes twice.

In numbers, an average of n equal points x is off by up to (n + 2) u |x|, coordinates measured from the centre
of the data; a point that near to its centre counts as on it. Points differ if by more than twice that.

A task of more than MANY_POINTS points on a CPU is given to scikit-learn, compiled, from the same start and
with tol = 0: the same steps and end, the first of several nearest centres too, but its rule for clusters
that are empty on the way. If one is empty at the end, the task is done again by the rule here. What settles
in one of the last two steps that max_iter allows counts as not converged there: it does not say so.

The last assignment comes after the last update. Where `max_iter` stops a task with a cluster that it emptied,
the labels returned are those that the centres are the averages of. A converged task has none: its labels are
these too.
Source: Lloyd 1982; Arthur and Vassilvitskii 2007 for the starts.
"""

import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from baselines.checks import check_count, check_finite, check_points, check_same_kind
from baselines.mixture import Mixture
from baselines.points import POINTS_AT_ONCE, Points, prepare, squares_fit
from baselines.shown import short_repr
from baselines.starts import STARTS, start_covariances, start_means

NUMBERS_AT_ONCE = 2**20  # a block of tasks is this large (8 MiB in float64), to stay in cache
MANY_POINTS = 2**15  # a task of more is given to scikit-learn


@dataclass(frozen=True, eq=False)
class KMeansResult:
    """The best restart of every task of a batch (...).

    centres    (..., K, d).
    labels     (..., N): the cluster nearest to each point; see the head of this file for `max_iter`.
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

    __repr__ = short_repr

    @property
    def empty(self) -> Tensor:
        """(...) booleans: there are fewer different points than K, so a cluster is empty: no mixture."""
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


class _Fit(NamedTuple):
    """The fields of KMeansResult in their order, with one batch dimension."""

    centres: Tensor
    labels: Tensor
    sizes: Tensor
    inertia: Tensor
    n_iter: Tensor
    converged: Tensor
    restart: Tensor


def with_pooled_covariances(mixture: Mixture, X: Tensor, covariance_type: str) -> Mixture:
    """The weights and means given, and S = (1/N) sum_n (x_n - m(n)) (x_n - m(n))^T for all components.

    m(n) is the mean nearest to x_n; S is restricted to the type as baselines.starts does, which says what
    happens where it is singular. X (..., N, d), of the batch shape of the mixture; "unit" keeps S = I.
    """
    if covariance_type == "unit":
        return Mixture(mixture.weights, mixture.means)
    points = prepare(X.reshape(-1, *X.shape[-2:]), None, POINTS_AT_ONCE)
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
    large = N > MANY_POINTS and X.device.type == "cpu" and X.dtype in (torch.float32, torch.float64)
    if given is not None and large and squares_fit(flat).all():
        fits = [_lloyd_of_sklearn(flat[i : i + 1], given[i : i + 1], max_iter, 0) for i in range(len(flat))]
        return _result(fits, batch)
    n_tasks = 1 if large else max(1, NUMBERS_AT_ONCE // (N * (d + 2 + 2 * n_components)))
    fits = []
    for first in range(0, len(flat), n_tasks):
        block = slice(first, first + n_tasks)
        points = prepare(flat[block], None, POINTS_AT_ONCE if large else None)
        best = None
        for restart in range(n_init):
            if given is not None:
                start = given[block] - points.centre
            elif generator is None:
                raise ValueError(f"generator is None, needs a torch.Generator for init {init!r}")
            else:
                start = start_means(points, n_components, str(init), generator)
            if large:
                fit = _lloyd_of_sklearn(points.X, start + points.centre, max_iter, restart)
            else:
                fit = _lloyd(points, start, max_iter, restart)
            best = fit if best is None else _better(best, fit)
        fits.append(best)
    return _result(fits, batch)


def _result(fits: list[_Fit], batch: torch.Size) -> KMeansResult:
    fields = [torch.cat(parts) for parts in zip(*fits, strict=True)]
    return KMeansResult(*(values.reshape((*batch, *values.shape[1:])) for values in fields))


def _lloyd(points: Points, start: Tensor, max_iter: int, restart: int) -> _Fit:
    """From centres (B, K, d) about the centre; settled tasks are taken out when they make up half."""
    B, K, _ = start.shape
    N = points.X.shape[1]
    device = start.device
    centres, labels = start.clone(), torch.zeros(B, N, dtype=torch.long, device=device)
    n_iter = torch.zeros(B, dtype=torch.long, device=device)
    converged = torch.zeros(B, dtype=torch.bool, device=device)
    rows, active, current = torch.arange(B, device=device), points, start
    assigned = _assign(active, current)
    moving = torch.ones(B, dtype=torch.bool, device=device)
    for step in range(1, max_iter + 1):
        filled = _fill_empty_clusters(active, current, assigned)
        current = torch.where(moving[:, None, None], _averages(active, filled, current), current)
        n_iter[rows[moving]] += 1
        assigned = _assign(active, current)
        moving = moving & (assigned != filled).any(-1)
        n_moving = int(moving.sum())
        if n_moving and step == max_iter:
            emptied = (_sizes(assigned, K) == 0).any(-1, keepdim=True)
            assigned = torch.where(emptied, filled, assigned)
        if step == max_iter or n_moving <= 0.5 * len(rows):
            centres[rows], labels[rows], converged[rows] = current, assigned, ~moving
        if n_moving == 0:
            break
        if n_moving <= 0.5 * len(rows):
            kept = moving.nonzero().squeeze(-1)
            rows, active, current = rows[kept], active.rows(kept), current[kept]
            assigned, moving = assigned[kept], moving[kept]
    centres = centres + points.centre
    inertia = _own_distances(points.X, centres, labels).sum(-1)
    restarts = torch.full_like(n_iter, restart)
    return _Fit(centres, labels, _sizes(labels, K), inertia, n_iter, converged, restarts)


def _lloyd_of_sklearn(X: Tensor, start: Tensor, max_iter: int, restart: int) -> _Fit:
    """`_lloyd` of one task X (1, N, d) from centres (1, K, d) by scikit-learn, whose loop is compiled."""
    from sklearn import config_context  # costs as much to load as torch does
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    K = start.shape[1]
    settings: Any = {"init": start[0].numpy(), "n_init": 1, "max_iter": max_iter, "tol": 0.0}
    peer: Any = KMeans(K, algorithm="lloyd", **settings)
    with (
        warnings.catch_warnings(),
        config_context(assume_finite=True),
        threadpool_limits(torch.get_num_threads()),
    ):
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different points than K: seen below
        peer.fit(X[0].numpy())
    labels = torch.from_numpy(peer.labels_).long().unsqueeze(0)
    centres = torch.from_numpy(peer.cluster_centers_).to(X.dtype).unsqueeze(0)
    sizes, n_iter = _sizes(labels, K), int(peer.n_iter_)
    if (sizes == 0).any():
        points = prepare(X, None, None)
        return _lloyd(points, start - points.centre, max_iter, restart)
    converged = n_iter < max_iter
    steps = torch.tensor([max(1, n_iter - converged)])  # it counts the step that changes nothing
    if X.dtype == torch.float64:
        inertia = X.new_tensor([peer.inertia_])
    else:  # it adds up in the dtype of X, point after point: float32 loses what a million points add
        inertia = _inertia_of_one(X[0], centres[0], labels[0]).unsqueeze(0)
    restarts = torch.full_like(steps, restart)
    return _Fit(centres, labels, sizes, inertia, steps, torch.tensor([converged]), restarts)


def _assign(points: Points, centres: Tensor) -> Tensor:
    """Nearest centre (B, N) of every point, by |m_k|^2 - 2 m_k . x.

    The label is the position of the one least value, read off by a product: several times as fast as argmin,
    which is asked only where two values are equal.
    """
    B, K, _ = centres.shape
    [X] = points.coordinates()
    shape, scratch = (B, K, X.shape[1]), points.scratch
    norms = centres.square().sum(-1, keepdim=True)
    values = torch.bmm(-2 * centres, X.mT, out=scratch.take("distances", shape)).add_(norms)
    members = torch.eq(values, values.amin(1, keepdim=True), out=scratch.take("members", shape))
    places = torch.arange(K, dtype=centres.dtype, device=centres.device)
    position_and_count = torch.stack([places, torch.ones_like(places)]).expand(B, 2, K)
    found = torch.bmm(position_and_count, members)
    if (found[:, 1] == 1).all():
        return found[:, 0].long()
    return values.min(1).indices


def _sizes(labels: Tensor, K: int) -> Tensor:
    """Points in every cluster, (B, K)."""
    B = len(labels)
    if B > 1:
        labels = labels + K * torch.arange(B, device=labels.device).unsqueeze(-1)
    return torch.bincount(labels.reshape(-1), minlength=B * K).view(B, K)


def _own_distances(X: Tensor, centres: Tensor, labels: Tensor) -> Tensor:
    """|x_n - m_c(n)|^2 (B, N), subtracted before it is squared: 0 only on the centre."""
    own = centres.gather(1, labels.unsqueeze(-1).expand(-1, -1, centres.shape[-1]))
    return (X - own).square_().sum(-1)


def _inertia_of_one(X: Tensor, centres: Tensor, labels: Tensor) -> Tensor:
    """sum_n |x_n - m_c(n)|^2 of many points (N, d), centres (K, d), labels (N,)."""
    total = X.new_zeros((), dtype=torch.float64)
    for part, own in zip(X.split(POINTS_AT_ONCE), labels.split(POINTS_AT_ONCE), strict=True):
        total += (part - centres.index_select(0, own)).square_().sum()
    return total.to(X.dtype)


def _fill_empty_clusters(points: Points, centres: Tensor, labels: Tensor) -> Tensor:
    """Labels (B, N) after the rule of this file's head, one cluster after another."""
    K = centres.shape[1]
    sizes = _sizes(labels, K)
    tasks = (sizes == 0).any(-1).nonzero().squeeze(-1)
    if len(tasks) == 0:
        return labels
    chosen = points.rows(tasks)
    [X] = chosen.coordinates()
    moved, sizes = labels[tasks], sizes[tasks]
    distances = _own_distances(X, centres[tasks], moved)
    rounding = (labels.shape[1] + 2) * torch.finfo(centres.dtype).eps / 2
    distances = torch.where(distances > rounding**2 * points.squares[chosen.tasks], distances, 0.0)
    for k in range(K):
        free = torch.where(sizes.gather(1, moved) > 1, distances, 0.0)
        farthest = free.max(-1)
        fills = ((sizes[:, k] == 0) & (farthest.values > 0)).nonzero().squeeze(-1)
        point = farthest.indices[fills]
        sizes[fills, moved[fills, point]] -= 1
        sizes[fills, k] = 1
        moved[fills, point] = k
        distances[fills, point] = 0.0
    return labels.index_copy(0, tasks, moved)


def _averages(points: Points, labels: Tensor, old: Tensor) -> Tensor:
    """Average of every cluster's points, (B, K, d); a cluster without points keeps its old centre."""
    [X] = points.coordinates()
    members = torch.zeros(len(old), old.shape[1], labels.shape[1], dtype=old.dtype, device=old.device)
    members.scatter_(1, labels.unsqueeze(1), 1.0)
    sizes = members.sum(-1, keepdim=True)
    return torch.where(sizes > 0, torch.bmm(members, X) / sizes.clamp(min=1), old)


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
