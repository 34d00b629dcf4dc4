"""One float64 EM step of every covariance type without cancellation: the arithmetic of baselines.em_paths.

    E   log w_kn = log pi_k - log det L_k - |r_kn|^2 / 2 + const,   L_k r_kn = x_n - mu_k,  S_k = L_k L_k^T
    M   o_k = a rounded weighted mean,  mu_k = o_k + sum_n w_kn (x_n - o_k) / W_k,  S_k from moments about o_k

The given x_n, mu_k and o_k are numbers of float64, so that each coordinate of a difference carries one
rounding, u times itself, wherever the data lie. L_k r = x - mu is solved; L_k^-1 is not formed. The last sum
of the M step corrects the mean for the rounding of o_k, and the covariance is corrected by its square. Unit
covariances keep the expanded square of `em_steps.em_step`. `baselines.em_rounding` bounds what is left.
Source for the correction: Chan, Golub and LeVeque 1983.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from baselines import far_points, gaussian
from baselines.em_steps import Moments, Update, anisotropic_moments, isotropic_moments, update
from baselines.gaussian import isotropic_features
from baselines.mixture import Mixture


class Tasks(NamedTuple):
    """B tasks of real points and present components, without NaN; covariances as in Mixture, None for "unit".

    X (B, N, d), `centre` (B, 1, d) where a point is padding. real (B, N) and present (B, K) booleans, or None
    where all are. n_points (B). weights (B, K) sum to 1 over all K, absent components included: only their
    ratios count. An absent component holds the parameters of a present one, which count nowhere.
    """

    X: Tensor
    real: Tensor | None
    present: Tensor | None
    n_points: Tensor
    centre: Tensor
    weights: Tensor
    means: Tensor
    covariances: Tensor | None
    covariance_type: str


def step(tasks: Tasks) -> tuple[Update, Tensor, Tensor]:
    """The update, shares w_kn (B, K, N), and the origin of the moments o_k (B, K, d).

    The update is that of `em_steps.update`, void parameters included; its means are in the coordinates of X.
    Absent components have weight and mean 0, are not marked, and have a covariance that means nothing.
    """
    shares = responsibilities(tasks)
    if tasks.real is not None:
        shares = shares * tasks.real[:, None]
    centred = tasks.X - tasks.centre
    if tasks.covariance_type == "unit":
        moments = isotropic_moments(shares, isotropic_features(centred))
        origin = torch.zeros_like(tasks.means)
        new = update(_filled(moments, tasks.present), origin, tasks.n_points, "unit")
        means, origin = new.means + tasks.centre, tasks.centre.expand_as(tasks.means)
    else:
        total = shares.sum(-1).unsqueeze(-1)
        # Any origin serves. A component without points takes the centre.
        origin = tasks.centre + torch.where(total > 0, (shares @ centred) / total, 0.0)
        moments = _filled(_moments_about(origin, shares, tasks), tasks.present)
        new = update(moments, origin - tasks.centre, tasks.n_points, tasks.covariance_type)
        means = origin + moments.first / moments.total.unsqueeze(-1)
    new = new._replace(means=means)
    return (new if tasks.present is None else _without_absent(new, tasks.present)), shares, origin


def responsibilities(tasks: Tasks) -> Tensor:
    """w_kn (B, K, N), summing to 1 over the present components of a task, at padding too."""
    return torch.softmax(log_joint(tasks), dim=-2)


def log_joint(tasks: Tasks) -> Tensor:
    """log pi_k + log N(x_n; mu_k, S_k) (B, K, N) up to a term that the components of a point share.

    -inf for an absent component.
    """
    joint = _joint_of_all(tasks)
    return joint if tasks.present is None else joint.masked_fill(~tasks.present[..., None], -torch.inf)


def _joint_of_all(tasks: Tasks) -> Tensor:
    """`log_joint`, the stand-ins of absent components included.

    Unit covariances expand the square about the average of the means (baselines.gaussian); the others
    subtract first. A point so far from every component that half the digits are lost goes through
    baselines.far_points.
    """
    parameters = (tasks.weights, tasks.means, tasks.covariances, tasks.covariance_type)
    if tasks.covariances is None:
        return Mixture(*parameters).joint_and_logits(tasks.X)[1]
    squares, half_log_det = squared_distances(tasks)
    joint = (tasks.weights.log() - half_log_det).unsqueeze(-1) - 0.5 * squares
    far = far_points.is_far(joint.amax(-2, keepdim=True), tasks.X.shape[-1])
    return far_points.mend(joint, far, tasks.X, *parameters)[1] if far.any() else joint


def squared_distances(tasks: Tasks) -> tuple[Tensor, Tensor]:
    """|r_kn|^2 (B, K, N) and log det L_k (B, K). One component at a time, so no temporary above (B, N, d)."""
    X, means, kind = tasks.X, tasks.means, tasks.covariance_type
    scale = by_component(tasks)
    squares = []
    for k in range(means.shape[-2]):
        difference = X - means[:, k : k + 1]
        if kind in ("tied", "full"):
            whitened = torch.linalg.solve_triangular(scale[:, k], difference.mT, upper=False)
            squares.append(whitened.square().sum(-2))
        else:
            squares.append((difference.square() / scale[:, k, None]).sum(-1))
    return torch.stack(squares, 1), half_log_determinants(scale, X.shape[-1], kind)


def half_log_determinants(scale: Tensor, n_features: int, covariance_type: str) -> Tensor:
    """log det L_k (B, K) from what `by_component` gives."""
    if covariance_type in ("tied", "full"):
        return scale.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    if covariance_type == "diagonal":
        return 0.5 * scale.log().sum(-1)
    return 0.5 * n_features * scale[..., 0].log()


def by_component(tasks: Tasks) -> Tensor:
    """Roots L_k (B, K, d, d) of tied and full, else variances (B, K, d), of isotropic types (B, K, 1)."""
    kind, (B, K, d) = tasks.covariance_type, tasks.means.shape
    if kind in ("tied", "full") and tasks.covariances is not None:
        roots, _ = gaussian.covariance_roots(tasks.covariances)
        return roots.reshape(B, -1, d, d).expand(B, K, d, d)
    if kind == "diagonal" and tasks.covariances is not None:
        return tasks.covariances
    return gaussian.isotropic_variances(tasks.covariances, tasks.weights, kind).unsqueeze(-1)


def _moments_about(origin: Tensor, shares: Tensor, tasks: Tasks) -> Moments:
    """Moments about (B, K, d), of the layout that `update` reads for the covariance type."""
    if tasks.covariance_type not in gaussian.ISOTROPIC:
        return anisotropic_moments(shares, tasks.X, origin, tasks.covariance_type)
    moments = anisotropic_moments(shares, tasks.X, origin, "diagonal")
    return moments._replace(second=moments.second.sum(-1))


def _filled(moments: Moments, present: Tensor | None) -> Moments:
    """Total 1 where a component is absent: its other moments are 0, so it adds nothing to a sum."""
    if present is None:
        return moments
    return moments._replace(total=torch.where(present, moments.total, 1.0))


def _without_absent(new: Update, present: Tensor) -> Update:
    return new._replace(
        weights=torch.where(present, new.weights, 0.0),
        means=torch.where(present[..., None], new.means, 0.0),
        empty=new.empty & present,
        singular=new.singular & present,
    )
