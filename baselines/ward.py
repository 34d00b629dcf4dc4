"""Starts of EM from Ward's hierarchical clustering: the same for everybody, and one tree for every K.

The tree joins, from single points on, the two groups whose union raises sum |x - mean|^2 least. Cut where K
groups are left, they give EM its first weights, means and covariances by an M step. mclust starts alike, from
a tree that maximises a likelihood. Columns are measured as they are given, so their units count. Of more than
MOST_POINTS points the tree is of every m-th, and the others join the group whose mean is nearest.
Source: Ward 1963 (scipy.cluster.hierarchy); Fraley and Raftery 1998 for trees as starts of EM.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines import gaussian
from baselines.em_parameters import Parameters
from baselines.families.names import Family
from baselines.families.restrict import restricted
from baselines.points import Points

MOST_POINTS = 2000  # a tree takes time and memory of order N^2


def ward_labels(X: NDArray[np.float64], counts: Sequence[int]) -> NDArray[np.int64]:
    """Groups of the points X (N, d) for every K of counts, each at most N: (len(counts), N), 0 to K - 1."""
    from scipy.cluster.hierarchy import linkage  # a quarter of a second to load

    apart = -(-len(X) // MOST_POINTS)
    part = X[::apart]
    n = len(part)
    tree = linkage(part, "ward") if n > 1 else np.empty((0, 4))
    found = np.empty((len(counts), len(X)), dtype=np.int64)
    for row, K in enumerate(counts):
        labels = _cut(tree, n, min(K, n))
        if apart > 1:
            found[row] = _nearest(X, part, labels)
        found[row, ::apart] = labels
    return found


def _cut(tree: NDArray[np.float64], n: int, K: int) -> NDArray[np.int64]:
    """Groups left after the first n - K unions; joint i of the tree is node n + i."""
    above = np.arange(2 * n - 1)
    joints = n - K
    above[tree[:joints, :2].astype(np.int64)] = (n + np.arange(joints))[:, None]
    while (above != above[above]).any():
        above = above[above]
    return np.unique(above[:n], return_inverse=True)[1].reshape(-1)


def _nearest(
    X: NDArray[np.float64], part: NDArray[np.float64], labels: NDArray[np.int64]
) -> NDArray[np.int64]:
    means = np.stack([part[labels == k].mean(0) for k in range(labels.max() + 1)])
    distances = np.stack([np.square(X - mean).sum(1) for mean in means])
    return distances.argmin(0)


def labels_of(points: Points, n_components: int) -> Tensor:
    """`ward_labels` of every task, (B, N); points of weight 0 are left out of the tree and are in group 0."""
    X = points.X[points.tasks].double().cpu().numpy()
    labels = np.zeros(X.shape[:2], dtype=np.int64)
    kept = np.ones(X.shape[:2], dtype=bool)
    if points.sample_weight is not None:
        kept = (points.sample_weight[points.tasks] > 0).cpu().numpy()
    for task, used in enumerate(kept):
        labels[task, used] = ward_labels(X[task, used], [n_components])[0]
    return torch.from_numpy(labels).to(points.X.device)


def partition_means(points: Points, labels: Tensor, n_components: int) -> tuple[Tensor, Tensor]:
    """Total weights (B, K) and means from the centre (B, K, d) of the groups labels (B, N)."""
    X, weight = points.X[points.tasks] - points.centre, _weights(points)
    shape = (len(X), n_components)
    totals = X.new_zeros(shape).scatter_add_(1, labels, weight)
    rows = labels.unsqueeze(-1).expand(X.shape)
    sums = X.new_zeros((*shape, X.shape[-1])).scatter_add_(1, rows, weight.unsqueeze(-1) * X)
    return totals, sums / totals.unsqueeze(-1)


def partition_start(
    points: Points, labels: Tensor, n_components: int, family: Family, reg_covar: float = 0.0
) -> Parameters:
    """Weights, means and covariances of the groups labels (B, N), an M step of hard assignments.

    reg_covar is added to the diagonal. A group whose own covariance is singular by the rule of `em_steps`
    (fewer points than dimensions need) takes the one pooled over all groups, and the identity where that is
    singular too.
    """
    totals, means = partition_means(points, labels, n_components)
    weights = totals / points.total_weight().unsqueeze(-1)
    if family.name == "unit":
        return Parameters(weights, means, None)
    covariances = _scatters(points, labels, means) / totals[..., None, None]
    pooled = (weights[..., None, None] * covariances).sum(1, keepdim=True)
    identity = torch.eye(means.shape[-1], dtype=means.dtype, device=means.device)
    covariances, pooled = covariances + reg_covar * identity, pooled + reg_covar * identity
    pooled = torch.where(_sound(pooled)[..., None, None], pooled, identity)
    covariances = torch.where(_sound(covariances)[..., None, None], covariances, pooled)
    return Parameters(weights, means, _laid_out(covariances, pooled.squeeze(1), weights, family))


def _weights(points: Points) -> Tensor:
    if points.sample_weight is None:
        return points.X.new_ones((len(points.tasks), points.X.shape[1]))
    return points.sample_weight[points.tasks]


def _scatters(points: Points, labels: Tensor, means: Tensor) -> Tensor:
    """sum a (x - mean)(x - mean)^T of every group, (B, K, d, d)."""
    X, weight = points.X[points.tasks] - points.centre, _weights(points)
    found = []
    for k in range(means.shape[1]):
        own = X - means[:, k : k + 1]
        found.append(own.mT @ (own * (weight * (labels == k)).unsqueeze(-1)))
    return torch.stack(found, 1)


def _sound(covariances: Tensor) -> Tensor:
    """Whether each matrix can be told from a singular one."""
    limits = torch.finfo(covariances.dtype)
    variances = covariances.diagonal(dim1=-2, dim2=-1)
    share = gaussian.covariance_roots(covariances)[1]
    return (share > 64 * covariances.shape[-1] * limits.eps) & (variances > limits.tiny).all(-1)


def _laid_out(covariances: Tensor, pooled: Tensor, weights: Tensor, family: Family) -> Tensor:
    variances = covariances.diagonal(dim1=-2, dim2=-1)
    values = {
        "tied_spherical": lambda: pooled.diagonal(dim1=-2, dim2=-1).mean(-1),
        "spherical": lambda: variances.mean(-1),
        "diagonal": lambda: variances.clone(),
        "tied": lambda: pooled.clone(),
        "full": lambda: covariances,
    }[family.layout]()
    return restricted(values, weights, family.name) if family.restricted else values
