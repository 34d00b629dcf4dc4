"""The spectral estimator of a spherical mixture: whitened moments and the robust tensor power method.

With x ~ sum_k pi_k N(mu_k, s I), s one common variance, and m = E x:

    M2 = E x x^T - s I                                       = sum_k pi_k mu_k mu_k^T
    M3 = E x(x)x(x)x - s sum_e (m(x)e(x)e + e(x)m(x)e + e(x)e(x)m) = sum_k pi_k mu_k(x)mu_k(x)mu_k

With M2 = U D U^T on its K largest eigenvalues, W = U D^(-1/2) and B = U D^(1/2) = M2 W, the vectors
v_k = sqrt(pi_k) W^T mu_k are orthonormal and T = M3(W, W, W) = sum_k lambda_k v_k(x)v_k(x)v_k with
lambda_k = pi_k^(-1/2): the tensor power method finds them, and mu_k = lambda_k B v_k, pi_k = lambda_k^(-2).
The data are whitened first, y = W^T x, so T is K^3 and M3 itself (d^3) is never formed.
Source: Hsu and Kakade 2013, "Learning mixtures of spherical Gaussians", Theorems 1 and 2; Anandkumar, Ge,
Hsu, Kakade and Telgarsky 2014, sections 3.2 and 4.3. Their w_i is pi_k, sigma^2 is s, k is K.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

from baselines.checks import check_count, check_points, check_sample_weight, first_index
from baselines.mixture import Mixture
from baselines.robust_tensor_power import ON_FAILURE, draw_starts, robust_power
from baselines.scaling import scaled_weights
from baselines.spectral_moments import (
    average,
    covariance_eigenvalues,
    roundoff,
    second_moment,
    smallest_variance,
    whitened_third_moment,
)
from baselines.spectral_sampling import average_is_nothing, noise_variance, smallest_resolved

__all__ = [
    "SpectralError",
    "SpectralResult",
    "Status",
    "Whitening",
    "recover",
    "second_moment",
    "smallest_variance",
    "spectral",
    "whiten",
    "whitened_third_moment",
]

NUMBERS_AT_ONCE = 2**20  # a block of tasks is this large (8 MiB in float64), to stay in cache


class Status(IntEnum):
    """Whether a task has an estimate, and if not, why.

    OK                   it has.
    TOO_MANY_COMPONENTS  K > d: K means in R^d are linearly dependent, whatever the data.
    NO_VARIANCE          the estimated variance cannot be told from 0.
    RANK_DEFICIENT       the K-th eigenvalue of M2 is negative or cannot be told from 0.
    NO_THIRD_MOMENT      an eigenvalue lambda_k of the whitened third moment cannot be told from 0.
    """

    OK = 0
    TOO_MANY_COMPONENTS = 1
    NO_VARIANCE = 2
    RANK_DEFICIENT = 3
    NO_THIRD_MOMENT = 4


class SpectralError(ValueError):
    """Batch entry `task` has no estimate; `status` says why."""

    def __init__(self, task: tuple[int, ...], status: Status, detail: str) -> None:
        super().__init__(f"task {task}: {detail}")
        self.task = task
        self.status = status


class Whitening(NamedTuple):
    """M2 on its K largest eigenvalues: W (..., d, K), B (..., d, K), eigenvalues (..., K) ascending.

    W^T M2 W = I and B = M2 W. `resolution` (...) is the eigenvalue that rounding could have made of 0;
    where the least of the K is not above it, `deficient` (...) is True and W and B are NaN.
    """

    W: Tensor
    B: Tensor
    eigenvalues: Tensor
    resolution: Tensor
    deficient: Tensor


@dataclass(frozen=True, eq=False)
class SpectralResult:
    """What the spectral method found for every task of a batch (...), NaN where `failed`.

    weights             (..., K): pi_k = lambda_k^-2 / sum_j lambda_j^-2.
    raw_weights         (..., K): lambda_k^-2. They sum to 1 for the moments of a mixture, and only nearly so
                        for those of a sample.
    means               (..., K, d): lambda_k B v_k.
    variance            (...): s, as given or estimated; kept where only a later stage failed.
    moment_eigenvalues  (..., K): the K largest of M2, ascending; kept likewise.
    tensor_eigenvalues  (..., K): lambda_k.
    moved               (..., K): |v_k - v_k before the last power step|; large where it has not converged.
    status              (...): a `Status` as an integer.
    unresolved          (...) booleans: there is an estimate, but the data do not show that the means are
                        linearly independent about the origin: the K-th eigenvalue of M2 is not above
                        `sampling`, or the average of the points cannot be told from 0.
    sampling            (...): the K-th eigenvalue of M2 that sampling makes of 0 once in a hundred times.
    covariance_type     "unit" if the variance was given as 1, else "tied_spherical".
    """

    weights: Tensor
    raw_weights: Tensor
    means: Tensor
    variance: Tensor
    moment_eigenvalues: Tensor
    tensor_eigenvalues: Tensor
    moved: Tensor
    status: Tensor
    unresolved: Tensor
    sampling: Tensor
    covariance_type: str

    @property
    def failed(self) -> Tensor:
        """(...) booleans: the task has no estimate."""
        return self.status != Status.OK

    @property
    def mixture(self) -> Mixture:
        """The estimate of every task, batch shape (...). ValueError where a task failed: see `select`."""
        n_failed = int(self.failed.sum())
        if n_failed:
            raise ValueError(
                f"{n_failed} of {self.failed.numel()} tasks failed, needs 0, or select(~result.failed)"
            )
        return self._mixture(self.weights, self.means, self.variance)

    def select(self, tasks: Tensor) -> Mixture:
        """The estimates of the tasks where the booleans `tasks` (...) are True, batch shape (n,)."""
        return self._mixture(self.weights[tasks], self.means[tasks], self.variance[tasks])

    def _mixture(self, weights: Tensor, means: Tensor, variance: Tensor) -> Mixture:
        covariances = None if self.covariance_type == "unit" else variance
        return Mixture(weights, means, covariances, self.covariance_type)


def spectral(
    X: Tensor,
    n_components: int,
    *,
    variance: float | None = 1.0,
    n_starts: int = 10,
    n_iter: int = 30,
    generator: torch.Generator | None = None,
    starts: Tensor | None = None,
    on_failure: str = "raise",
    sample_weight: Tensor | None = None,
) -> SpectralResult:
    """mu_k = lambda_k B v_k, pi_k ~ lambda_k^-2 from the moments of every task of X (..., N, d).

    Fits p(x) = sum_k pi_k N(x; mu_k, s I), K <= d linearly independent means, by the steps at the head of
    this file. The moments are those of the sample, so the error is of order N^(-1/2).

    variance    s, in squared units of the data; None estimates it as the least eigenvalue of the sample
                covariance (for K <= d that is s in the population: about their average the K means span at
                most K - 1 directions).
    n_starts, n_iter, generator, starts    as robust_tensor_power, in the whitened
                coordinates: starts (..., K, n_starts, K).
    sample_weight    (..., N) >= 0: moments are averages with these weights. They are counts, so that a
                point of weight 2 is that point twice, also for what sampling makes of 0.
    on_failure  "raise", or "mark": tasks without an estimate are NaN and have a `Status`, and the others are
                as if alone.

    The weights are divided by their sum, as a mixture needs; the means are not touched by that. The method
    reads moments about 0; a shift of the data is another problem. A task fails where an eigenvalue of
    M2 or T cannot be told from rounding. Where that of M2 cannot from sampling, the estimate stands and
    is marked `unresolved` (baselines.spectral_sampling): as the K-th eigenvalue e of M2 nears 0, the means
    grow like 1/e. Of the paper's tasks at N = 128 those are none of 2,000 at d = 8, K = 3 and one in ten at
    K = 5, with 3.4 times the median error of the others. Of means that are linearly dependent about the
    origin 99 % are. Moving the origin mends that, by a vector outside their span and not small beside them.
    Raises SpectralError for the first task without an estimate; ValueError for K > d and bad input.
    """
    check_points(X)
    check_count("n_components", n_components)
    check_count("n_iter", n_iter)
    if on_failure not in ON_FAILURE:
        raise ValueError(f"on_failure is {on_failure!r}, needs one of {', '.join(ON_FAILURE)}")
    tiny = torch.finfo(X.dtype).tiny
    if variance is not None and not tiny <= variance < float("inf"):
        raise ValueError(f"variance is {variance}, needs None or a finite number of at least {tiny:.1e}")
    _check_squares(X)
    batch, (N, d), K = X.shape[:-2], X.shape[-2:], n_components
    directions = draw_starts(batch, K, n_starts, K, X, generator, starts)
    directions = directions.reshape(-1, *directions.shape[-3:])
    covariance_type = "unit" if variance == 1 else "tied_spherical"
    if d < K:
        if on_failure == "raise":
            raise ValueError(
                f"n_components is {K}, needs <= n_features = {d}: more means are linearly dependent"
            )
        return _all_failed(X, K, covariance_type)
    flat, weight = X.reshape(-1, N, d), None
    if sample_weight is not None:
        check_sample_weight(sample_weight, X)
        weight = sample_weight.expand(X.shape[:-1]).reshape(flat.shape[:2])
    n_tasks = max(1, NUMBERS_AT_ONCE // (N * (d + K + K * K)))
    blocks = []
    for i in range(0, len(flat), n_tasks):
        block = slice(i, i + n_tasks)
        shares = None if weight is None else weight[block]
        blocks.append(_fit(flat[block], K, variance, directions[block], n_iter, shares))
    fields = [torch.cat(parts) for parts in zip(*blocks, strict=True)]
    fit = _Fit(*(values.reshape((*batch, *values.shape[1:])) for values in fields))
    if on_failure == "raise" and (fit.status != Status.OK).any():
        _raise_first(fit, K)
    return SpectralResult(*fit[:10], covariance_type)


def whiten(second_moment: Tensor, n_components: int, rounding: Tensor) -> Whitening:
    """W = U D^(-1/2), B = U D^(1/2) of the K largest eigenvalues D of M2 (..., d, d) symmetric, K <= d.

    rounding (...) bounds the error of the matrix given. By Weyl's inequality its eigenvalues are off by no
    more than that, and by 8 d u |M2|_F from the solver: LAPACK is backward stable with an error of
    p(d) u |M2|, p a modestly growing function (LAPACK Users' Guide, section 4.7), taken to be 8 d here. An
    eigenvalue not above the sum, `resolution`, could be that of a matrix of rank below K.
    """
    eigenvalues, vectors = torch.linalg.eigh(second_moment)
    largest, U = eigenvalues[..., -n_components:], vectors[..., -n_components:]
    solver = 8 * second_moment.shape[-1] * roundoff(second_moment)
    resolution = rounding + solver * second_moment.norm(dim=(-2, -1))
    deficient = ~(largest[..., 0] > resolution)
    roots = torch.where(deficient.unsqueeze(-1), torch.nan, largest).sqrt().unsqueeze(-2)
    return Whitening(U / roots, U * roots, largest, resolution, deficient)


def recover(eigenvalues: Tensor, eigenvectors: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """pi_k = lambda_k^-2 and mu_k = lambda_k B v_k: the raw weights (..., K) and the means (..., K, d).

    eigenvalues (..., K), eigenvectors (..., K, K) in rows, B (..., d, K). (-lambda, -v) gives the same.
    Source: Anandkumar et al. 2014, Theorem 4.3.
    """
    means = eigenvalues.unsqueeze(-1) * (eigenvectors @ B.mT)
    return eigenvalues.square().reciprocal(), means


class _Fit(NamedTuple):
    """The fields of SpectralResult in their order, and the two resolutions, (B) each."""

    weights: Tensor
    raw_weights: Tensor
    means: Tensor
    variance: Tensor
    moment_eigenvalues: Tensor
    tensor_eigenvalues: Tensor
    moved: Tensor
    status: Tensor
    unresolved: Tensor
    sampling: Tensor
    moment_resolution: Tensor
    tensor_resolution: Tensor


def _fit(
    X: Tensor, K: int, variance: float | None, directions: Tensor, n_iter: int, weight: Tensor | None
) -> _Fit:
    """B tasks X (B, N, d), directions (B, K, S, K). What a failed stage leaves of its task is NaN."""
    shares, counts = None, [float(X.shape[1])] * len(X)
    if weight is not None:
        scaled = scaled_weights(weight)
        shares, counts = scaled / scaled.sum(-1, keepdim=True), weight.sum(-1).tolist()
    status = torch.zeros(len(X), dtype=torch.long, device=X.device)
    if variance is None:
        eigenvalues, error = covariance_eigenvalues(X, shares)
        s, noise = eigenvalues[:, 0], noise_variance(eigenvalues, K, counts)
        status[~(s > error.clamp(min=torch.finfo(X.dtype).tiny))] = Status.NO_VARIANCE
    else:
        s = X.new_full((len(X),), variance)
        noise, error = s, torch.zeros_like(s)
    moment, rounding = second_moment(X, s, shares)
    whitening = whiten(moment, K, rounding + error)
    status[whitening.deficient & (status == Status.OK)] = Status.RANK_DEFICIENT
    T, rounding = whitened_third_moment(X, whitening.W, s, shares)
    eigen = robust_power(T, directions, n_iter)
    resolution = rounding + _deflation_rounding(T)
    lost = ~(eigen.eigenvalues.abs() > resolution.unsqueeze(-1)).all(-1)
    status[lost & (status == Status.OK)] = Status.NO_THIRD_MOMENT
    sampling = smallest_resolved(s, noise, X.shape[2], K, counts)
    unresolved = ~(whitening.eigenvalues[:, 0] > sampling)
    mean = average(X, shares)
    unresolved |= average_is_nothing(mean, counts, whitening.W, whitening.eigenvalues, s)
    raw, means = recover(eigen.eigenvalues, eigen.eigenvectors, whitening.B)
    failed = (status != Status.OK).unsqueeze(-1)
    raw, means = raw.masked_fill(failed, torch.nan), means.masked_fill(failed.unsqueeze(-1), torch.nan)
    return _Fit(
        raw / raw.sum(-1, keepdim=True),
        raw,
        means,
        s,
        whitening.eigenvalues,
        eigen.eigenvalues.masked_fill(failed, torch.nan),
        eigen.moved.masked_fill(failed, torch.nan),
        status,
        unresolved & (status == Status.OK),
        sampling,
        whitening.resolution,
        resolution,
    )


def _deflation_rounding(T: Tensor) -> Tensor:
    """K (12 K + 14) u |T|_F: how far from 0 the iteration can find lambda_k in a T of rank below k.

    A contraction with a unit vector is off by (2 K + 1) u |T|_F, so lambda by (3 K + 1) u |T|_F, and the unit
    vector by (2 K + 1) u |T|_F / lambda from it and (K + 2) u from its normalisation, which leaves at most
    3 lambda times that behind: (9 K + 9) u |T|_F. Forming and subtracting lambda v(x)v(x)v rounds by 4 u
    |T|_F. The sum, K times.
    """
    K = T.shape[-1]
    return K * (12 * K + 14) * roundoff(T) * T.flatten(-3).norm(dim=-1)


def _raise_first(fit: _Fit, K: int) -> None:
    task = first_index(fit.status != Status.OK)
    status = Status(int(fit.status[task]))
    if status == Status.NO_VARIANCE:
        detail = (
            f"the estimated variance is {fit.variance[task].item()}, not above what rounding makes of 0, "
            "needs a covariance of full rank (more points than features)"
        )
    elif status == Status.RANK_DEFICIENT:
        detail = (
            f"eigenvalue {K} of the second moment less the variance is "
            f"{fit.moment_eigenvalues[(*task, 0)].item()}, needs > {fit.moment_resolution[task].item():.1e}: "
            f"the data do not show {K} means linearly independent about the origin; moving it may help"
        )
    else:
        detail = (
            "an eigenvalue of the whitened third moment cannot be told from 0, needs an absolute value "
            f"> {fit.tensor_resolution[task].item():.1e}: its weight would be infinite"
        )
    raise SpectralError(task, status, detail)


def _all_failed(X: Tensor, K: int, covariance_type: str) -> SpectralResult:
    """K > d: every task failed."""
    batch, d = X.shape[:-2], X.shape[-1]
    per_component = X.new_full((*batch, K), torch.nan)
    return SpectralResult(
        weights=per_component,
        raw_weights=per_component,
        means=X.new_full((*batch, K, d), torch.nan),
        variance=X.new_full(batch, torch.nan),
        moment_eigenvalues=per_component,
        tensor_eigenvalues=per_component,
        moved=per_component,
        status=torch.full(batch, int(Status.TOO_MANY_COMPONENTS), device=X.device),
        unresolved=torch.zeros(batch, dtype=torch.bool, device=X.device),
        sampling=X.new_full(batch, torch.nan),
        covariance_type=covariance_type,
    )


def _check_squares(X: Tensor) -> None:
    """Refuse data whose squared norms, summed over the points, would overflow."""
    largest, limit = X.square().sum(-1).amax().item(), torch.finfo(X.dtype).max / X.shape[-2]
    if not largest < limit:
        raise ValueError(f"a squared norm |x|^2 of X is {largest}, needs < {limit:.1e} in {X.dtype}")
