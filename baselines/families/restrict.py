"""The M step of a family: the covariances of it that are best for given scatters.

With S_k the covariance of component k and pi_k its weight after a free M step, the covariances C_k of a
family maximise the expected log-likelihood where they minimise

    F(C) = sum_k pi_k (log det C_k + tr(S_k C_k^-1)).

EEI, EVI, EVV and EEV have closed forms. VEI, VEE and VEV alternate between volumes and the common matrix,
each time the best for the other:

    lambda_k = tr(S_k B^-1) / d,    B = sum_k (pi_k / lambda_k) S_k, divided by |.|^(1/d)

F is convex in the logarithms (along geodesics for VEE), so this has one limit. It ends when no log lambda_k
moves by more than sqrt(eps) / 64. F is flat there: with changes that shrink by a factor r each time, what is
left of it is below (d / 2) (r / (1 - r) sqrt(eps) / 64)^2, under eps for r <= 0.9 and d <= 100.
Source: Celeux and Govaert 1995, section 3.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from baselines import gaussian
from baselines.em_steps import Update

MOST_ROUNDS = 1000


def restrict(new: Update, name: str) -> Update:
    """The update of layout "diagonal" or "full" with the best covariances of the restricted family `name`.

    A component counts as singular by the rules of `em_steps.update`, applied to the covariances of the
    family: where it shares its shape, one with fewer points than dimensions can be well defined. EVI and EVV
    keep each component's own shape, so they need every component's own covariance.
    """
    covariances = new.covariances
    if covariances is None:
        raise ValueError(f"covariances are None, needs those of the layout of family {name!r}")
    diagonal = covariances.dim() == new.means.dim()
    variances = covariances if diagonal else covariances.diagonal(dim1=-2, dim2=-1)
    eps = torch.finfo(variances.dtype).eps
    least = (64 * eps) ** 2 * (new.means.square() + variances)
    if name in ("EEI", "EEV"):
        least = (new.weights.unsqueeze(-1) * least).sum(-2, keepdim=True)
    void = ~torch.isfinite(variances).all(-1) | new.empty
    best = restricted(_where_defined(covariances, void), new.weights, name)
    own = best if diagonal else best.diagonal(dim1=-2, dim2=-1)
    tiny = torch.finfo(variances.dtype).tiny
    singular = void | ~(own > least.clamp(min=tiny)).all(-1)
    if name in ("EVI", "EVV"):
        singular = singular | new.singular
    roots = inverse_roots = None
    if not diagonal:
        roots, share = gaussian.covariance_roots(best)
        inverse_roots = gaussian.inverse_of_root(roots)
        singular = singular | ~(share > 64 * own.shape[-1] * eps)
    return new._replace(
        covariances=best, singular=singular & ~new.empty, roots=roots, inverse_roots=inverse_roots
    )


def restricted(covariances: Tensor, weights: Tensor, name: str) -> Tensor:
    """argmin F over the family `name`: S_k (..., K, d) or (..., K, d, d), pi (..., K)."""
    return _BEST[name](covariances, weights)


def _where_defined(covariances: Tensor, void: Tensor) -> Tensor:
    """The same, 1 or the identity for components that have no covariance: theirs is not read."""
    if covariances.dim() == void.dim() + 1:
        return torch.where(void.unsqueeze(-1), 1.0, covariances)
    identity = torch.eye(covariances.shape[-1], dtype=covariances.dtype, device=covariances.device)
    return torch.where(void[..., None, None], identity, covariances)


def _pooled(values: Tensor, weights: Tensor) -> Tensor:
    """sum_k w_k v_k (..., 1, d) or (..., 1, d, d)."""
    own = weights.reshape(*weights.shape, *[1] * (values.dim() - weights.dim()))
    return (own * values).sum(weights.dim() - 1, keepdim=True)


def _eei(S: Tensor, weights: Tensor) -> Tensor:
    return _pooled(S, weights).expand_as(S).clone()


def _evi(S: Tensor, weights: Tensor) -> Tensor:
    """Each its own shape S_k / |S_k|^(1/d), volume sum_k pi_k |S_k|^(1/d)."""
    log_volumes = S.log().mean(-1)
    return _of_equal_volume(S, weights, log_volumes)


def _evv(S: Tensor, weights: Tensor) -> Tensor:
    roots, _ = gaussian.covariance_roots(S)
    return _of_equal_volume(S, weights, 2 * roots.diagonal(dim1=-2, dim2=-1).log().mean(-1))


def _of_equal_volume(S: Tensor, weights: Tensor, log_volumes: Tensor) -> Tensor:
    common = torch.logsumexp(weights.log() + log_volumes, -1, keepdim=True)
    factors = (common - log_volumes).exp()
    return S * factors.reshape(*factors.shape, *[1] * (S.dim() - factors.dim()))


def _vei(S: Tensor, weights: Tensor) -> Tensor:
    def shape_of(volumes: Tensor) -> Tensor:
        B = _pooled(S, weights / volumes)
        return B / B.log().mean(-1, keepdim=True).exp()

    def volumes_of(B: Tensor) -> Tensor:
        return (S / B).mean(-1)

    volumes, B = _alternate(shape_of, volumes_of, torch.ones_like(weights))
    return volumes.unsqueeze(-1) * B


def _vee(S: Tensor, weights: Tensor) -> Tensor:
    d = S.shape[-1]

    def shape_of(volumes: Tensor) -> Tensor:
        B = _pooled(S, weights / volumes)
        roots, _ = gaussian.covariance_roots(B)
        log_volume = 2 * roots.diagonal(dim1=-2, dim2=-1).log().mean(-1)
        return B / log_volume.exp()[..., None, None]

    def volumes_of(B: Tensor) -> Tensor:
        inverse_root = gaussian.inverse_of_root(gaussian.covariance_roots(B)[0])
        return (inverse_root @ S @ inverse_root.mT).diagonal(dim1=-2, dim2=-1).sum(-1) / d

    volumes, B = _alternate(shape_of, volumes_of, torch.ones_like(weights))
    return volumes[..., None, None] * B


def _alternate(
    shape_of: Callable[[Tensor], Tensor], volumes_of: Callable[[Tensor], Tensor], volumes: Tensor
) -> tuple[Tensor, Tensor]:
    """Volumes (..., K) and common matrix at the limit; not a number where there is none."""
    least_move = torch.finfo(volumes.dtype).eps ** 0.5 / 64
    for _ in range(MOST_ROUNDS):
        before, volumes = volumes, volumes_of(shape_of(volumes))
        if not ((volumes / before).log().abs() > least_move).any():
            break
    return volumes, shape_of(volumes)


def _eev(S: Tensor, weights: Tensor) -> Tensor:
    """Own axes, and the average of the sorted eigenvalues."""
    eigenvalues, axes = torch.linalg.eigh(S)
    return _composed(_eei(eigenvalues, weights), axes)


def _vev(S: Tensor, weights: Tensor) -> Tensor:
    """Own axes, and sorted eigenvalues as in VEI: pairing them in order makes tr(S_k C_k^-1) least."""
    eigenvalues, axes = torch.linalg.eigh(S)
    return _composed(_vei(eigenvalues.clamp(min=0), weights), axes)


def _composed(eigenvalues: Tensor, axes: Tensor) -> Tensor:
    product = (axes * eigenvalues.unsqueeze(-2)) @ axes.mT
    return 0.5 * (product + product.mT)


_BEST: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "EEI": _eei,
    "VEI": _vei,
    "EVI": _evi,
    "VEE": _vee,
    "EVV": _evv,
    "EEV": _eev,
    "VEV": _vev,
}
