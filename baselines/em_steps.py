"""One EM step as pure functions: E (responsibilities), M (parameters), and both together.

    E   w_kn = pi_k N(x_n; mu_k, S_k) / sum_j pi_j N(x_n; mu_j, S_j)
    M   W_k = sum_n a_n w_kn,  pi_k = W_k / sum_n a_n,  mu_k = sum_n a_n w_kn x_n / W_k,
        S_k = sum_n a_n w_kn (x_n - mu_k)(x_n - mu_k)^T / W_k, restricted to the covariance type

with sample weights a_n (1 when none are given): a point of weight 2 is that point twice, one of weight 0 is
absent. For "unit" the covariance stays I, which is the update of arXiv 2505.11918, section 2. Arrays over
components and points are laid out (..., K, N).
Source: Dempster, Laird and Rubin 1977; Bishop 2006, section 9.2.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from baselines import gaussian
from baselines.checks import check_finite, check_points, check_same_kind, check_sample_weight, first_index
from baselines.mixture import Mixture
from baselines.scaling import scaled_weights


class DegenerateComponentError(ValueError):
    """An M step has no answer: `component` of batch entry `task` is "empty" or "singular" (`reason`)."""

    def __init__(self, task: tuple[int, ...], component: int, reason: str, detail: str) -> None:
        super().__init__(f"component {component} of task {task} is {reason}: {detail}")
        self.task = task
        self.component = component
        self.reason = reason


class Moments(NamedTuple):
    """Weighted sums over points, for every component, about an origin o_k chosen by the caller.

    total (..., K): sum a w.   first (..., K, d): sum a w (x - o_k).   second: sum a w of |x - o_k|^2 (..., K)
    for the isotropic types, of (x - o_k)^2 (..., K, d) for diagonal, of outer products (..., K, d, d) else.
    """

    total: Tensor
    first: Tensor
    second: Tensor


class Update(NamedTuple):
    """What an M step gives. Where `empty` or `singular` (..., K) is True that task's parameters are void.

    roots and inverse_roots are L and L^-1 of tied and full covariances S = L L^T, None for the other types.
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor | None
    empty: Tensor
    singular: Tensor
    roots: Tensor | None = None
    inverse_roots: Tensor | None = None


def e_step(X: Tensor, mixture: Mixture) -> tuple[Tensor, Tensor]:
    """Responsibilities (..., K, N) and log p(x_n) (..., N) of X (..., N, d).

    Raises ValueError when a log-density leaves the range of the dtype (responsibilities would be 0/0).
    """
    joint, logits = mixture.joint_and_logits(X)
    log_density = torch.logsumexp(joint, dim=-2)
    if not torch.isfinite(log_density).all():
        raise ValueError(
            f"a log-density of X leaves the range of {X.dtype}, needs points nearer to the means"
        )
    return torch.softmax(logits, dim=-2), log_density


def m_step(
    X: Tensor, responsibilities: Tensor, covariance_type: str = "unit", sample_weight: Tensor | None = None
) -> Mixture:
    """The mixture that maximises sum_kn a_n w_kn log(pi_k N(x_n; mu_k, S_k)).

    X (..., N, d), responsibilities w (..., K, N) summing to 1 over K, sample_weight a (..., N).
    Raises DegenerateComponentError (a ValueError) naming the first component that is empty (its share
    W_k / sum a is below the smallest normal number) or singular (its covariance cannot be told from a
    singular one at the precision of the dtype; see `update`), and ValueError when the inputs do not fit.
    """
    gaussian.check_covariance_type(covariance_type)
    check_points(X)
    _check_responsibilities(responsibilities, X)
    if sample_weight is None:
        sample_weight = X.new_ones(X.shape[:-1])
    check_sample_weight(sample_weight, X)
    sample_weight = scaled_weights(sample_weight)
    centre = centre_of(X, sample_weight)
    centred = X - centre
    shares = responsibilities * sample_weight.unsqueeze(-2)
    if covariance_type in gaussian.ISOTROPIC:
        moments = isotropic_moments(shares, gaussian.isotropic_features(centred))
        origin = torch.zeros_like(moments.first)
    else:
        origin = (shares @ centred) / shares.sum(-1).unsqueeze(-1)
        moments = anisotropic_moments(shares, centred, origin, covariance_type)
    new = update(moments, origin, sample_weight.sum(-1), covariance_type)
    _raise_if_degenerate(new)
    return Mixture(new.weights, new.means + centre, new.covariances, covariance_type)


def em_step(
    X: Tensor, mixture: Mixture, sample_weight: Tensor | None = None
) -> tuple[Mixture, Tensor, Tensor]:
    """One EM step from `mixture`, of its covariance type: (new mixture, responsibilities, log_likelihood).

    X (..., N, d). The responsibilities (..., K, N) and the log-likelihood (...), the total over the points
    sum_n a_n log p(x_n), belong to the mixture given, not to the new one. Raises as e_step and m_step do.
    """
    responsibilities, log_density = e_step(X, mixture)
    new = m_step(X, responsibilities, mixture.covariance_type, sample_weight)
    weighted = log_density if sample_weight is None else sample_weight * log_density
    return new, responsibilities, weighted.sum(-1)


def centre_of(X: Tensor, sample_weight: Tensor) -> Tensor:
    """The weighted average of the points, (..., 1, d): the origin that both steps measure from."""
    return sample_weight.unsqueeze(-2) @ X / sample_weight.sum(-1)[..., None, None]


def isotropic_moments(shares: Tensor, features: Tensor) -> Moments:
    """Moments about 0 from shares a w (..., K, N) and `gaussian.isotropic_features` (..., d + 2, N)."""
    sums = shares @ features.transpose(-1, -2)
    return Moments(total=sums[..., -1], first=sums[..., :-2], second=sums[..., -2])


def anisotropic_moments(shares: Tensor, X: Tensor, origin: Tensor, covariance_type: str) -> Moments:
    """Moments about origin (..., K, d) from shares a w (..., K, N); no temporary above (..., N, d)."""
    first, second = [], []
    for k in range(origin.shape[-2]):
        difference = X - origin[..., k : k + 1, :]
        weighted = shares[..., k, :].unsqueeze(-1) * difference
        first.append(weighted.sum(-2))
        if covariance_type == "diagonal":
            second.append((weighted * difference).sum(-2))
        else:
            second.append(weighted.transpose(-1, -2) @ difference)
    depth = -2 if covariance_type == "diagonal" else -3
    return Moments(shares.sum(-1), torch.stack(first, -2), torch.stack(second, depth))


def update(
    moments: Moments, origin: Tensor, n_points: Tensor, covariance_type: str, reg_covar: float = 0.0
) -> Update:
    """Parameters from moments about `origin` (..., K, d), which is measured from the centre of the data.

    mu = o + shift, shift = first/total; S = second/total - shift shift^T + reg_covar I; n_points (...) =
    sum_n a_n. Unit covariances stay I.
    A covariance counts as singular where rounding alone could have made it (u = eps of the dtype):
    isotropic, s <= 64 u E|x|^2/d, where the expanded square has under two digits left; otherwise a variance
    <= (64 u)^2 E x_j^2, or a Cholesky pivot <= 64 d u of its variance; and any variance that is not above the
    smallest normal number. E is about the centre.
    """
    total = moments.total
    weights = total / n_points.unsqueeze(-1)
    empty = weights < torch.finfo(weights.dtype).tiny
    shift = moments.first / total.unsqueeze(-1)
    means = origin + shift
    if covariance_type == "unit":
        return Update(weights, means, None, empty, torch.zeros_like(empty))
    if covariance_type in gaussian.ISOTROPIC:
        covariances, singular = _isotropic_covariances(
            moments, origin, shift, weights, covariance_type, reg_covar
        )
        roots = None
    else:
        covariances, singular, roots = _anisotropic_covariances(
            moments, shift, means, weights, covariance_type, reg_covar
        )
    inverse_roots = None if roots is None else gaussian.inverse_of_root(roots)
    return Update(weights, means, covariances, empty, singular & ~empty, roots, inverse_roots)


def _isotropic_covariances(
    moments: Moments,
    origin: Tensor,
    shift: Tensor,
    weights: Tensor,
    covariance_type: str,
    reg_covar: float,
) -> tuple[Tensor, Tensor]:
    d = shift.shape[-1]
    resolution = 64 * torch.finfo(shift.dtype).eps
    second = moments.second / (moments.total * d)
    variances = second - shift.square().sum(-1) / d
    second = second + (origin * (origin + 2 * shift)).sum(-1) / d  # about the centre
    if covariance_type == "tied_spherical":
        variances, second = (weights * variances).sum(-1), (weights * second).sum(-1)
    variances = variances + reg_covar
    tiny = torch.finfo(shift.dtype).tiny
    singular = ~(variances > (resolution * second).clamp(min=tiny))
    if covariance_type == "tied_spherical":
        singular = singular.unsqueeze(-1).expand(weights.shape)
    return variances, singular


def _anisotropic_covariances(
    moments: Moments,
    shift: Tensor,
    means: Tensor,
    weights: Tensor,
    covariance_type: str,
    reg_covar: float,
) -> tuple[Tensor, Tensor, Tensor | None]:
    eps = torch.finfo(shift.dtype).eps
    square_means = means.square()
    if covariance_type == "diagonal":
        covariances = moments.second / moments.total.unsqueeze(-1) - shift.square() + reg_covar
        variances, roots = covariances, None
        well_conditioned = torch.ones_like(weights, dtype=torch.bool)
    else:
        scale = moments.total[..., None, None]
        covariances = moments.second / scale - shift.unsqueeze(-1) * shift.unsqueeze(-2)
        if covariance_type == "tied":
            covariances = (weights[..., None, None] * covariances).sum(-3)
            square_means = (weights.unsqueeze(-1) * square_means).sum(-2)
        covariances = 0.5 * (covariances + covariances.transpose(-1, -2))
        variances = covariances.diagonal(dim1=-2, dim2=-1)
        variances += reg_covar
        roots, share = gaussian.covariance_roots(covariances)
        well_conditioned = share > 64 * shift.shape[-1] * eps
    tiny = torch.finfo(shift.dtype).tiny
    least = ((64 * eps) ** 2 * (square_means + variances)).clamp(min=tiny)
    resolved = (variances > least).all(-1)
    singular = ~(resolved & well_conditioned)
    if covariance_type == "tied":
        singular = singular.unsqueeze(-1).expand(weights.shape)
    return covariances, singular, roots


def _raise_if_degenerate(new: Update) -> None:
    if new.empty.any():
        *task, component = first_index(new.empty)
        share = new.weights[(*task, component)].item()
        least = torch.finfo(new.weights.dtype).tiny
        detail = f"its share of the points is {share}, needs at least {least:.1e}"
        raise DegenerateComponentError(tuple(task), component, "empty", detail)
    if new.singular.any():
        *task, component = first_index(new.singular)
        detail = f"its covariance cannot be told from a singular one in {new.weights.dtype}"
        raise DegenerateComponentError(tuple(task), component, "singular", detail)


def _check_responsibilities(responsibilities: Tensor, X: Tensor) -> None:
    check_same_kind("responsibilities", responsibilities, "X", X)
    if responsibilities.dim() < 2 or responsibilities.shape[-1] != X.shape[-2]:
        shape = tuple(responsibilities.shape)
        raise ValueError(f"responsibilities have shape {shape}, needs (..., K, N) with N = {X.shape[-2]}")
    check_finite("responsibilities", responsibilities)
    tolerance = torch.finfo(X.dtype).eps ** 0.5
    off = (responsibilities.sum(-2) - 1).abs().amax().item()
    if (responsibilities < 0).any() or off > tolerance:
        raise ValueError(
            f"responsibilities range from {responsibilities.min().item()} and miss 1 over K by {off}, "
            f"needs >= 0 and a sum of 1 within {tolerance:.1e}"
        )
