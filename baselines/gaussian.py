"""Log-densities of Gaussian components on plain tensors: the arithmetic under Mixture and EM.

Notation: N points in R^d, K components, `weights` (..., K), `means` (..., K, d). The shape of `covariances`
after the batch dimensions, by covariance type:

    unit             None     S_k = I
    tied_spherical   ()       S_k = s I        one unknown variance for all components
    spherical        (K,)     S_k = s_k I      variances, not standard deviations
    diagonal         (K, d)   S_k = diag(s_k)  variances
    tied             (d, d)   S_k = S
    full             (K, d, d)

The first three are isotropic. For them log pi_k + log N(x; mu_k, s_k I) is linear in the features
(x, |x|^2, 1), so a batch of tasks costs one matrix product. Expanding the square this way leaves an absolute
rounding error of about (d + 4) u R^2 / s in a log-density, where u is the unit roundoff and R the largest
distance of a point or a mean from the origin of the coordinates; callers therefore centre the coordinates
first, and baselines.far_points mends what is too far for that. The other types subtract the mean before they
multiply and do not cancel.
"""

import math

import torch
from torch import Tensor

COVARIANCE_TYPES = ("unit", "tied_spherical", "spherical", "diagonal", "tied", "full")
ISOTROPIC = ("unit", "tied_spherical", "spherical")
BY_COMPONENT = ("spherical", "diagonal", "full")  # covariances (..., K, ...)


def canonical(covariance_type: str) -> str:
    """The name used here: scikit-learn's "diag" is "diagonal"."""
    return "diagonal" if covariance_type == "diag" else covariance_type


def check_covariance_type(covariance_type: str) -> None:
    """Refuse an unknown covariance type."""
    if covariance_type not in COVARIANCE_TYPES:
        raise ValueError(
            f"covariance_type is {covariance_type!r}, needs one of {', '.join(COVARIANCE_TYPES)}"
        )


def covariance_shape(covariance_type: str, n_components: int, n_features: int) -> tuple[int, ...]:
    """Shape of `covariances` after the batch dimensions (not for "unit", which has none)."""
    return {
        "tied_spherical": (),
        "spherical": (n_components,),
        "diagonal": (n_components, n_features),
        "tied": (n_features, n_features),
        "full": (n_components, n_features, n_features),
    }[covariance_type]


def isotropic_variances(covariances: Tensor | None, weights: Tensor, covariance_type: str) -> Tensor:
    """The variance s_k of every component of an isotropic mixture, (..., K)."""
    if covariances is None:
        return torch.ones_like(weights)
    if covariance_type == "tied_spherical":
        return covariances.unsqueeze(-1).expand(weights.shape)
    return covariances


def isotropic_features(X: Tensor) -> Tensor:
    """(x, |x|^2, 1) of every point: (..., N, d) -> (..., d + 2, N), in memory point after point."""
    rows = X.new_empty((*X.shape[:-1], X.shape[-1] + 2))
    return write_features(rows, X, 0.0, X.square().sum(-1))


def write_features(rows: Tensor, X: Tensor, centre: Tensor | float, squares: Tensor) -> Tensor:
    """`isotropic_features` of X - centre of known squared norms (..., N), written to rows (..., N, d + 2)."""
    d = X.shape[-1]
    torch.sub(X, centre, out=rows[..., :d])
    rows[..., d] = squares
    rows[..., d + 1] = 1.0
    return rows.transpose(-1, -2)


def isotropic_coefficients(weights: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """Rows (mu/s, -1/(2s), log pi - (d/2) log(2 pi s) - |mu|^2/(2s)), (..., K, d + 2).

    Their product with `isotropic_features` is log pi_k + log N(x_n; mu_k, s_k I).
    """
    d = means.shape[-1]
    half_precision = 0.5 / variances
    constant = (
        weights.log()
        - 0.5 * d * (math.log(2 * math.pi) + variances.log())
        - half_precision * means.square().sum(-1)
    )
    scaled_means = means / variances.unsqueeze(-1)
    return torch.cat([scaled_means, -half_precision.unsqueeze(-1), constant.unsqueeze(-1)], dim=-1)


def diagonal_coefficients(weights: Tensor, means: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
    """(mu/s, 0, log pi - (1/2) sum_j (log(2 pi s_j) + mu_j^2/s_j)) and -1/(2s): (..., K, d + 2), (..., K, d).

    Their products with `isotropic_features` and with x^2 add up to log pi_k + log N(x_n; mu_k, diag(s_k)).
    """
    d = means.shape[-1]
    scaled_means = means / variances
    constant = weights.log() - 0.5 * (
        d * math.log(2 * math.pi) + variances.log().sum(-1) + (scaled_means * means).sum(-1)
    )
    last = torch.stack([torch.zeros_like(constant), constant], dim=-1)
    return torch.cat([scaled_means, last], dim=-1), -0.5 / variances


def anisotropic_log_joint(
    X: Tensor, weights: Tensor, means: Tensor, covariances: Tensor, covariance_type: str
) -> Tensor:
    """log pi_k - (1/2) (log det(2 pi S_k) + |L_k^-1 (x_n - mu_k)|^2), S_k = L_k L_k^T: (..., K, N).

    One component at a time, so the largest temporary is (..., N, d).
    """
    K, d = means.shape[-2:]
    if covariance_type == "diagonal":
        inverse_scale = covariances.rsqrt()
        half_log_det = 0.5 * covariances.log().sum(-1)
    else:
        inverse_scale, half_log_det = inverse_cholesky(covariances)
        if covariance_type == "tied":
            inverse_scale = inverse_scale.unsqueeze(-3).expand(*inverse_scale.shape[:-2], K, d, d)
            half_log_det = half_log_det.unsqueeze(-1)
    rows = []
    for k in range(K):
        difference = X - means[..., k : k + 1, :]
        if covariance_type == "diagonal":
            whitened = difference * inverse_scale[..., k : k + 1, :]
        else:
            whitened = difference @ inverse_scale[..., k, :, :].transpose(-1, -2)
        rows.append(-0.5 * whitened.square().sum(-1))
    constant = weights.log() - 0.5 * d * math.log(2 * math.pi) - half_log_det
    return torch.stack(rows, dim=-2) + constant.unsqueeze(-1)


def inverse_cholesky(covariances: Tensor) -> tuple[Tensor, Tensor]:
    """L^-1 (..., d, d) and log det L (...) of S = L L^T."""
    factor = torch.linalg.cholesky(covariances)
    return inverse_of_root(factor), factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def inverse_of_root(factor: Tensor) -> Tensor:
    """L^-1 of lower triangular L (..., d, d); not finite where L is singular."""
    identity = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
    return torch.linalg.solve_triangular(factor, identity.expand(factor.shape), upper=False)


def covariance_roots(covariances: Tensor) -> tuple[Tensor, Tensor]:
    """Cholesky factors L (..., d, d) and the smallest share of a variance left after the earlier features.

    The share is min_j L_jj^2 / S_jj in [0, 1]: one minus the R^2 of feature j given features 0..j-1. Where
    the factorisation breaks down it is 0.
    """
    factor, info = torch.linalg.cholesky_ex(covariances)
    pivots = factor.diagonal(dim1=-2, dim2=-1).square()
    share = (pivots / covariances.diagonal(dim1=-2, dim2=-1)).amin(-1)
    return factor, torch.where(info == 0, share, torch.zeros_like(share))
