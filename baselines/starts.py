"""Where EM starts: means by a named rule, equal weights, one covariance pooled over the nearest starts.

    "k-means++"        greedy: the best of 5 + floor(log K) draws for each mean (scikit-learn's KMeans tries
                       2 + floor(log K); three more raise the share of the paper's tasks solved from a single
                       start at d = 8, K = 5 from 0.87 to 0.95, and cost little beside EM)
    "k-means"          Lloyd's algorithm from there, until a step lowers the inertia by less than 1e-3 of
                       itself, at most 30 steps (GaussianMixture of scikit-learn starts alike)
    "plain-k-means++"  one draw for each mean (Arthur and Vassilvitskii 2007)
    "random-points"    K different points of positive weight, all sets equally likely
    "ward"             means of the groups of Ward's tree (baselines.ward), no draw; EM takes their weights
                       and covariances too
    "normal"           N(0, I) in the coordinates of the data, whatever their scale (arXiv 2505.11918)

All positions are measured from the centre of the data, as `Points` does. Every rule draws from the generator
it is given and from nothing else.
"""

import math

import torch
from torch import Tensor

from baselines.gaussian import ISOTROPIC, covariance_roots
from baselines.points import Points
from baselines.ward import labels_of, partition_means

STARTS = ("k-means++", "k-means", "plain-k-means++", "random-points", "ward", "normal")


MOST_LLOYD_STEPS, LEAST_FALL = 30, 1e-3  # of the start "k-means"


def start_means(points: Points, n_components: int, init: str, generator: torch.Generator) -> Tensor:
    """Starting means (B, K, d) from the centre, by the rule `init` (one of STARTS)."""
    if init == "k-means++":
        return kmeans_plus_plus(points, n_components, 5 + int(math.log(n_components)), generator)
    if init == "k-means":
        return lloyd(points, start_means(points, n_components, "k-means++", generator))
    if init == "plain-k-means++":
        return kmeans_plus_plus(points, n_components, 1, generator)
    if init == "random-points":
        return random_points(points, n_components, generator)
    if init == "ward":
        return partition_means(points, labels_of(points, n_components), n_components)[1]
    B, _, d = points.X.shape
    draws = torch.randn(B, n_components, d, dtype=points.X.dtype, device=points.X.device, generator=generator)
    return draws - points.centre


def squared_distances(features: Tensor, centres: Tensor) -> Tensor:
    """|x_n - c_m|^2, (B, m, N), from features (B, d + 2, N) and centres (B, m, d).

    The expanded square can round to just below 0 where a point lies on a centre; such values are 0.
    """
    norms = centres.square().sum(-1, keepdim=True)
    coefficients = torch.cat([-2 * centres, torch.ones_like(norms), norms], dim=-1)
    return (coefficients @ features).clamp_(min=0)


def kmeans_plus_plus(points: Points, n_components: int, n_trials: int, generator: torch.Generator) -> Tensor:
    """Each next mean is the best of n_trials points drawn with probability a_n min_k |x_n - mu_k|^2.

    Best means the smallest sum_n a_n min_k |x_n - mu_k|^2 once added. Returns (B, K, d). Where fewer than K
    different points exist the remaining means repeat points drawn by weight alone. Holds a few
    rows of N numbers.
    """
    weight = points.sample_weight
    if weight is None:
        weight = points.X.new_ones(points.X.shape[:2])
    means = [points.take(_draw(weight, 1, generator))]
    nearest = _distances_to(points, means[0])
    for _ in range(1, n_components):
        mass = weight * nearest
        used_up = mass.sum(-1, keepdim=True) == 0
        candidates = points.take(_draw(torch.where(used_up, weight, mass), n_trials, generator))
        best = _potentials(points, candidates, nearest).argmin(1)
        means.append(candidates.take_along_dim(best[:, None, None], 1))
        nearest = torch.minimum(nearest, _distances_to(points, means[-1]))
    return torch.cat(means, dim=1)


def lloyd(points: Points, means: Tensor) -> Tensor:
    """Weighted Lloyd steps from means (B, K, d): each becomes the average of the points nearest to it.

    A point as near to several counts in each by its share; a mean without points stays. A task ends where a
    step finds that sum_n a_n min_k |x_n - mu_k|^2 fell by less than LEAST_FALL of itself, whatever the others
    do. baselines.kmeans, which needs all of a task's points in memory at once, goes on until nothing changes.
    """
    means, current, active = means.clone(), means, points
    rows = torch.arange(len(means), device=means.device)
    before = means.new_full((len(means),), torch.inf)
    for _ in range(MOST_LLOYD_STEPS):
        current, inertia = _lloyd_step(active, current)
        means[rows] = current
        moving = before - inertia > LEAST_FALL * inertia
        if not moving.any():
            break
        before = inertia
        if not moving.all():
            kept = moving.nonzero().squeeze(-1)
            rows, active, current, before = rows[kept], active.rows(kept), current[kept], before[kept]
    return means


def _lloyd_step(points: Points, means: Tensor) -> tuple[Tensor, Tensor]:
    """Averages of the nearest points, (B, K, d), and the inertia (B,) at the means given."""
    total, sums = torch.zeros_like(means[..., 0]), torch.zeros_like(means)
    inertia = total.new_zeros(len(means))
    for features, weight in points.chunks():
        distances = squared_distances(features, means)
        least = distances.amin(1, keepdim=True)
        members = (distances == least).to(means.dtype)
        members /= members.sum(1, keepdim=True)
        if weight is not None:
            members *= weight.unsqueeze(1)
            least = least * weight.unsqueeze(1)
        inertia += least.sum((1, 2))
        total += members.sum(-1)
        sums += members @ features[:, :-2].mT
    return torch.where(total.unsqueeze(-1) > 0, sums / total.unsqueeze(-1), means), inertia


def random_points(points: Points, n_components: int, generator: torch.Generator) -> Tensor:
    """K different points of positive weight, uniformly: (B, K, d)."""
    X = points.X
    keys = torch.rand(X.shape[:2], dtype=torch.float64, device=X.device, generator=generator)
    if points.sample_weight is not None:
        keys = torch.where(points.sample_weight > 0, keys, -1.0)
    return points.take(keys.topk(n_components, dim=-1).indices)


def start_covariances(
    points: Points, means: Tensor, covariance_type: str, reg_covar: float = 0.0
) -> Tensor | None:
    """S = sum_n a_n (x_n - m(n)) (x_n - m(n))^T / sum_n a_n + reg_covar I, m(n) the start nearest to x_n.

    Every component starts with the same S, restricted to the type; shapes as in Mixture. Where S is singular
    (fewer distinct points than starts and dimensions need) the task starts from the identity instead.
    """
    if covariance_type == "unit":
        return None
    B, K, d = means.shape
    n_points = points.total_weight()
    if covariance_type in ISOTROPIC:
        within, around_centre = n_points.new_zeros(B), n_points.new_zeros(B)
        for features, weight in points.chunks():
            nearest = squared_distances(features, means).amin(1)
            spread = features[:, -2]
            within += (nearest if weight is None else weight * nearest).sum(-1)
            around_centre += (spread if weight is None else weight * spread).sum(-1)
        limits = torch.finfo(within.dtype)
        within = within + reg_covar * d * n_points
        variances = within / (n_points * d)
        usable = (within > 64 * limits.eps * around_centre) & (variances >= limits.tiny)
        variances = torch.where(usable, variances, 1.0)
        return (
            variances if covariance_type == "tied_spherical" else variances.unsqueeze(-1).expand(B, K).clone()
        )
    scatter = means.new_zeros(B, d, d)
    for features, weight in points.chunks():
        owner = squared_distances(features, means).min(1).indices  # several times as fast as argmin
        within = features[:, :-2].mT - means.gather(1, owner.unsqueeze(-1).expand(-1, -1, d))
        scatter += within.mT @ (within if weight is None else weight.unsqueeze(-1) * within)
    pooled = scatter / n_points[:, None, None]
    pooled.diagonal(dim1=-2, dim2=-1).add_(reg_covar)
    if covariance_type == "diagonal":
        pooled = torch.diag_embed(pooled.diagonal(dim1=-2, dim2=-1))
    limits = torch.finfo(pooled.dtype)
    usable = covariance_roots(pooled)[1] > 64 * d * limits.eps
    usable = usable & (pooled.diagonal(dim1=-2, dim2=-1) >= limits.tiny).all(-1)
    pooled = torch.where(
        usable[:, None, None], pooled, torch.eye(d, dtype=pooled.dtype, device=pooled.device)
    )
    if covariance_type == "tied":
        return pooled
    if covariance_type == "diagonal":
        return pooled.diagonal(dim1=-2, dim2=-1).unsqueeze(1).expand(B, K, d).clone()
    return pooled.unsqueeze(1).expand(B, K, d, d).clone()


def _distances_to(points: Points, centre: Tensor) -> Tensor:
    """|x_n - c|^2 (B, N) for one centre (B, 1, d) of each task."""
    parts = [squared_distances(features, centre).squeeze(1) for features, _ in points.chunks()]
    return torch.cat(parts, dim=-1)


def _potentials(points: Points, candidates: Tensor, nearest: Tensor) -> Tensor:
    """sum_n a_n min(nearest_n, |x_n - c_m|^2) of every candidate, (B, m)."""
    total = torch.zeros_like(candidates[..., 0])
    start = 0
    for features, weight in points.chunks():
        part = slice(start, start + features.shape[-1])
        after = torch.minimum(squared_distances(features, candidates), nearest[:, None, part])
        total += after.sum(-1) if weight is None else (after @ weight.unsqueeze(-1)).squeeze(-1)
        start = part.stop
    return total


def _draw(mass: Tensor, n_draws: int, generator: torch.Generator) -> Tensor:
    """Indices (B, n_draws) with probabilities mass / sum(mass), mass (B, N) >= 0, by inverting their sum.

    A point of zero mass is never drawn: the target stays below the total, and the first running sum above it
    belongs to a point that raised it.
    """
    edges = mass.cumsum(-1)
    total = edges[:, -1:]
    uniform = torch.rand(len(mass), n_draws, dtype=mass.dtype, device=mass.device, generator=generator)
    target = torch.minimum(uniform * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(edges, target, right=True)
