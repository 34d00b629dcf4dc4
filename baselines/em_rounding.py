"""How far rounding can move one step of baselines.em_paths: a bound to first order in u = 2^-53.

Log joints. A product or a quotient carries u of itself, a sum of n terms n u of their sizes (Higham 2002,
3.1). With q = |r_kn|^2, H the sum of the absolute logs in log det L_k, a log joint is off by at most a_kn =

    isotropic, diagonal  u ((d + 5) q/2 + (d + 4) H + 5 |log pi_k| + K + 2)
    tied, full           u ((2 d + 3) g^2 + q + (d + 4) H + (d + 2) c/2 + 5 |log pi_k| + K + 2)
    unit                 u ((2 d + 8) (|x'|^2 + |mu'|^2) + (d + 6) (|log pi_k| + (d/2) log 2 pi) + K + 2)

For matrices: the Cholesky factor is that of S + E, |E_ij| <= (d + 2) u (S_ii S_jj)^(1/2) (Higham, theorem
10.3), and solving with it adds d u |L| to it. With v = S^-1 (x - mu) and g = sum_i S_ii^(1/2) |v_i| >= |r|
that moves q by at most u ((d + 2) g^2 + 2 (d + 1) g |r| + (d + 2) q) <= u (4 d + 6) g^2, and log det S by
(d + 2) u c, c = sum_ij |S^-1|_ij (S_ii S_jj)^(1/2). For unit, x' and mu' are about the average of the means.

Shares. log w = l - logsumexp l, so that log w_kn is off by at most

    b_kn = a_kn + sum_j w_jn a_jn + u (|l_kn - max_j l_jn| + K + 6)

and by what is flushed to 0, below f = 2^-1022. Shares off by factors e^t, |t| <= b, move W_k, mu_k and S_k by

    G sum_n (w b + f),   G sum_n (w b + f) |x - mu| / W,   G^3 sum_n (w b + f) (|dev dev^T| + |S|) / W

at most, G = (1 + max b) / (1 - max b): |e^t - 1| <= b (1 + b), the new W is at least W (1 - b), and by Cauchy
and Schwarz the change of mu_k, squared, is at most G^2 b times the last of these without |S|.

Sums over points add N u W to W_k and, with m_1 and m_2 the averages of |x - o| and |(x - o)(x - o)^T| and
s = mu - o,

    (2 N + 4) u m_1 + 2 u |mu|   to mu_k,   u ((2 N + d + 8) m_2 + 2 (2 N + 5) |s| m_1 + 2 |S|)   to S_k,

and averaging over components (N + K + 3) u |S|. For unit, o is the centre of the data.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from baselines import gaussian
from baselines.em_accurate import Tasks, by_component, log_joint, squared_distances, step
from baselines.em_paths import prepared
from baselines.far_points import is_far

U = torch.finfo(torch.float64).eps / 2
FLUSHED = torch.finfo(torch.float64).tiny


class StepRounding(NamedTuple):
    """Largest errors by coordinate: weights (B, K), means (B, K, d), covariances in their layout or None."""

    weights: Tensor
    means: Tensor
    covariances: Tensor | None


def reference_rounding(
    X: Tensor,
    weights: Tensor,
    means: Tensor,
    covariances: Tensor | None = None,
    covariance_type: str = "unit",
    mask: Tensor | None = None,
    component_mask: Tensor | None = None,
) -> StepRounding:
    """How far `reference_step` of the same arguments can be from the EM step of exact arithmetic.

    inf where the analysis says nothing: where the step is void, a share is off by a factor, or a point is so
    far from components that it goes through baselines.far_points. 0 for an absent component.
    Raises ValueError as `reference_step` does.
    """
    tasks, dead = prepared(X, weights, means, covariances, covariance_type, mask, component_mask)
    new, shares, origin = step(tasks)
    off = _shares_off(tasks, shares)
    largest = off.amax((-2, -1))
    growth = torch.where(largest < 1, (1 + largest) / (1 - largest), torch.inf)[:, None]
    moved = torch.where(shares > 0, shares * off, 0.0) + FLUSHED
    if tasks.real is not None:
        moved = torch.where(tasks.real[:, None], moved, 0.0)
    N, K = tasks.X.shape[-2], shares.shape[-2]
    of_weights = growth * moved.sum(-1) / tasks.n_points[:, None] + (N + 2) * U * new.weights
    of_means, of_matrices, sizes = [], [], []
    for k in range(K):
        at = (new.means[:, k], origin[:, k])
        of_mean, of_matrix, size = _moments_off(tasks.X, shares[:, k], moved[:, k], growth, *at)
        of_means.append(of_mean)
        of_matrices.append(of_matrix)
        sizes.append(size)
    off_covariances = None
    if tasks.covariances is not None:
        matrices = torch.stack(of_matrices, 1)
        if covariance_type in ("tied", "tied_spherical"):
            sums = matrices + (N + K + 3) * U * torch.stack(sizes, 1)
            parts = new.weights[..., None, None] * sums
            matrices = (parts if tasks.present is None else _present(parts, tasks.present)).sum(1)
        off_covariances = _restricted(matrices, covariance_type)
    found = StepRounding(of_weights, torch.stack(of_means, 1), off_covariances)
    return _nothing_said(found, dead | (new.empty | new.singular).any(-1, keepdim=True), tasks)


def _shares_off(tasks: Tasks, shares: Tensor) -> Tensor:
    """b_kn (B, K, N) of the real points, 0 where a share is 0."""
    a = _joints_off(tasks)
    logits = log_joint(tasks)
    gap = logits.amax(-2, keepdim=True) - logits
    average = torch.where(shares > 0, shares * a, 0.0).sum(-2, keepdim=True)
    counted = shares > 0 if tasks.real is None else (shares > 0) & tasks.real[:, None]
    return torch.where(counted, a + average + U * (gap + shares.shape[-2] + 6), 0.0)


def _joints_off(tasks: Tasks) -> Tensor:
    """a_kn (B, K, N); inf for a point that may go through baselines.far_points."""
    (K, d), kind = tasks.means.shape[-2:], tasks.covariance_type
    squares, _ = squared_distances(tasks)
    log_weights = tasks.weights.log().abs().unsqueeze(-1)
    if kind == "unit":
        centre = tasks.means.mean(-2, keepdim=True)
        of_means, of_points = ((values - centre).square().sum(-1) for values in (tasks.means, tasks.X))
        a = (2 * d + 8) * (of_points[:, None] + of_means[..., None])
        a = a + (d + 6) * (log_weights + 0.5 * d * math.log(2 * math.pi))
        decisive = squares.amax(-2, keepdim=True)
    else:
        scale = by_component(tasks)
        if kind in ("tied", "full"):
            g, c = _ill_conditioned(tasks, scale)
            logs = scale.diagonal(dim1=-2, dim2=-1).log().abs().sum(-1)
            a = (2 * d + 3) * g.square() + squares + (0.5 * (d + 2) * c).unsqueeze(-1)
        else:
            logs = 0.5 * scale.log().abs().sum(-1) * (d if kind != "diagonal" else 1)
            a = 0.5 * (d + 5) * squares
        a = a + ((d + 4) * logs).unsqueeze(-1) + 5 * log_weights
        decisive = squares.amin(-2, keepdim=True)
    # Half of it is what is compared there; the constants of a log joint are small beside the limit.
    far = is_far(-decisive, d)
    return torch.where(far[:, None], torch.inf, U * (a + K + 2))


def _ill_conditioned(tasks: Tasks, roots: Tensor) -> tuple[Tensor, Tensor]:
    """g (B, K, N) and c (B, K) of matrices with Cholesky factors (B, K, d, d)."""
    rows = roots.square().sum(-1).sqrt()
    inverse = gaussian.inverse_of_root(roots)
    c = ((inverse.mT @ inverse).abs() * rows[..., None] * rows[..., None, :]).sum((-2, -1))
    g = []
    for k in range(roots.shape[1]):
        whitened = torch.linalg.solve_triangular(
            roots[:, k], (tasks.X - tasks.means[:, k : k + 1]).mT, upper=False
        )
        v = torch.linalg.solve_triangular(roots[:, k].mT, whitened, upper=True)
        g.append((rows[:, k, :, None] * v.abs()).sum(-2))
    return torch.stack(g, 1), c


def _moments_off(
    X: Tensor, shares: Tensor, moved: Tensor, growth: Tensor, mean: Tensor, origin: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Of one component, off by: its mean (B, d), its covariance as a matrix (B, d, d); and |S| (B, d, d).

    shares and moved = w b + f are (B, N), growth G (B, 1), mean and origin (B, d).
    """
    N, d = X.shape[-2:]
    W = shares.sum(-1)[:, None]
    from_mean, from_origin = (X - mean[:, None]).abs(), (X - origin[:, None]).abs()

    def average(of: Tensor, gaps: Tensor) -> tuple[Tensor, Tensor]:
        weighted = of[..., None] * gaps
        return weighted.sum(-2) / W, weighted.mT @ gaps / W[..., None]

    first_moved, second_moved = average(moved, from_mean)
    first, second = average(shares, from_origin)
    size = average(shares, from_mean)[1]
    of_mean = growth * first_moved + U * ((2 * N + 4) * first + 2 * mean.abs())
    product = (mean - origin).abs()[..., None] * first[:, None]
    by_shares = growth[..., None] ** 3 * (second_moved + (moved.sum(-1)[:, None] / W)[..., None] * size)
    by_sums = (2 * N + d + 8) * second + (2 * N + 5) * (product + product.mT) + 2 * size
    return of_mean, by_shares + U * by_sums, size


def _restricted(matrices: Tensor, covariance_type: str) -> Tensor:
    """Matrices (..., d, d) in the layout of the covariance type."""
    if covariance_type in ("tied", "full"):
        return matrices
    diagonal = matrices.diagonal(dim1=-2, dim2=-1)
    return diagonal if covariance_type == "diagonal" else diagonal.mean(-1)


def _present(values: Tensor, present: Tensor) -> Tensor:
    """`values` (B, K, ...), 0 where a component is absent."""
    return torch.where(present.reshape(*present.shape, *[1] * (values.dim() - 2)), values, 0.0)


def _nothing_said(found: StepRounding, void: Tensor, tasks: Tasks) -> StepRounding:
    """inf for the tasks `void` (B, 1) and where a bound is not a number, 0 where a component is absent."""
    bounds = []
    for values in found:
        if values is not None:
            nothing = void.reshape(-1, *[1] * (values.dim() - 1)) | values.isnan()
            values = torch.where(nothing, torch.inf, values)
        bounds.append(values)
    weights, means, covariances = bounds
    if tasks.present is not None:
        weights, means = _present(weights, tasks.present), _present(means, tasks.present)
        if covariances is not None and tasks.covariance_type in gaussian.BY_COMPONENT:
            covariances = _present(covariances, tasks.present)
    return StepRounding(weights, means, covariances)
