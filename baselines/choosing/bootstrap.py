"""Standard errors of weights and means: EM again on many resamples of the data, all in one batch.

"nonparametric": N points drawn from X with replacement. "parametric": N points drawn from the fitted mixture.
EM starts from the fit, as it stands, and ends by the estimator's own tol, max_iter and reg_covar. Components
of a resample are matched with those of the fit by the assignment that makes

    sum_k (mu*_p(k) - mu_k)^T S_k^-1 (mu*_p(k) - mu_k) / d + (pi*_p(k) - pi_k)^2

least, so that no error is that of a label. A standard error is the standard deviation over the resamples,
with divisor n - 1; it is itself off by a factor of about 1 +- 1/sqrt(2 n).
Source: Efron and Tibshirani 1993; O'Hagan, Murphy, Scrucca and Gormley 2019 for mixtures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from baselines.align import best_permutation
from baselines.em import Status, em
from baselines.em_estimator import EMMixture
from baselines.estimator_sets import Array, as_amount, as_count
from baselines.mixture import Mixture

METHODS = ("nonparametric", "parametric")


@dataclass(frozen=True, eq=False, repr=False)
class Bootstrap:
    """What the resamples gave, components in the order of the fit; units of X.

    weights_se, means_se  (K,) and (K, d): standard errors.
    weights, means        (n, K) and (n, K, d): the estimates of the resamples that did not fail.
    fit                   the estimator given.
    method, n_resamples, n_failed  how, how many were asked for, and how many lost a component.
    random_state          as it was given.
    """

    weights_se: Array
    means_se: Array
    weights: Array
    means: Array
    fit: EMMixture
    method: str
    n_resamples: int
    n_failed: int
    random_state: Any

    def interval(self, level: float = 0.95) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """Lower and upper ends of weights and of means: quantiles (1 -+ level)/2 over the resamples."""
        if not 0 < level < 1:
            raise ValueError(f"level is {level!r}, needs a number between 0 and 1")
        ends = ((1 - level) / 2, (1 + level) / 2)
        weights, means = np.quantile(self.weights, ends, axis=0), np.quantile(self.means, ends, axis=0)
        return (weights[0], weights[1]), (means[0], means[1])

    def __repr__(self) -> str:
        return f"Bootstrap({self.method}, {self.n_resamples} resamples, {self.n_failed} failed)"

    def __str__(self) -> str:
        lines = [
            f"standard errors, {self.method} bootstrap, n = {self.n_resamples} ({self.n_failed} failed), "
            f"random_state = {self.random_state}"
        ]
        for k in range(len(self.weights_se)):
            lines.append(f"{k:>3}  weight {self.fit.weights_[k]:.4f} +- {self.weights_se[k]:.4f}")
            pairs = zip(self.fit.means_[k], self.means_se[k], strict=True)
            cells = [f"{mean:.4g} +- {error:.2g}" for mean, error in pairs]
            for first in range(0, len(cells), 3):
                lines.append("     " + "".join(f"{cell:<24}" for cell in cells[first : first + 3]).rstrip())
        return "\n".join(lines)


def bootstrap(
    fit: EMMixture,
    X: ArrayLike,
    n_resamples: int = 200,
    method: str = "nonparametric",
    random_state: Any = None,
) -> Bootstrap:
    """Standard errors of `fit.weights_` and `fit.means_`, fit being what X (N, d) was fitted by.

    n_resamples   at least 2.
    method        "nonparametric" or "parametric".
    random_state  None, an integer or a numpy RandomState.

    NotFittedError for an estimator without a fit; ValueError for other bad input, and where fewer than two
    resamples kept all their components.
    """
    if not isinstance(fit, EMMixture):
        raise ValueError(f"fit is of type {type(fit).__name__}, needs a fitted EMMixture")
    check_is_fitted(fit)
    if fit.missing is not None or fit.noise:
        raise ValueError("fit has missing values or noise, needs missing = None and noise = False")
    n = as_count("n_resamples", n_resamples)
    if n < 2:
        raise ValueError(f"n_resamples is {n}, needs an integer of at least 2")
    if method not in METHODS:
        raise ValueError(f"method is {method!r}, needs one of {', '.join(METHODS)}")
    (points, _), mixture = fit._points(X), fit._mixture()
    if len(points) < mixture.n_components:
        raise ValueError(f"X has n_samples = {len(points)}, needs at least K = {mixture.n_components}")
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    generator = torch.Generator().manual_seed(int(seed))
    start = _in_layout(fit, mixture)
    found = em(
        _resamples(points, start, n, method, generator),
        init=start,
        covariance_type=fit.covariance_type,
        max_iter=as_count("max_iter", fit.max_iter),
        tol=fit.tol,
        reg_covar=as_amount("reg_covar", fit.reg_covar),
    )
    kept = found.status <= Status.MAX_ITER
    if int(kept.sum()) < 2:
        raise ValueError(f"{int(kept.sum())} of {n} resamples kept all components, needs at least 2")
    matched = aligned(found.mixture[kept], mixture)
    weights, means = matched.weights.numpy(), matched.means.numpy()
    return Bootstrap(
        weights.std(0, ddof=1),
        means.std(0, ddof=1),
        weights,
        means,
        fit,
        method,
        n,
        int((~kept).sum()),
        random_state,
    )


def aligned(estimates: Mixture, fit: Mixture) -> Mixture:
    """Mixtures of batch shape (n,), their components in the order of the fit: the head's cost."""
    K, d = fit.means.shape
    gaps = estimates.means.unsqueeze(-2) - fit.means
    covariances = fit.covariances
    if covariances is None:
        covariances = torch.ones(K, dtype=gaps.dtype)
    if fit.covariance_type in ("tied", "full"):
        inverse_roots = torch.linalg.inv(torch.linalg.cholesky(covariances)).expand(K, d, d)
        scaled = (inverse_roots @ gaps.unsqueeze(-1)).squeeze(-1)
    else:
        by_feature = covariances if covariances.dim() == 2 else covariances.expand(K).unsqueeze(-1)
        scaled = gaps / by_feature.sqrt()
    shares = estimates.weights.unsqueeze(-1) - fit.weights
    return estimates.permute(best_permutation(scaled.square().mean(-1) + shares.square()))


def _in_layout(fit: EMMixture, mixture: Mixture) -> Mixture:
    """The fitted mixture with its covariances laid out as its covariance type has them."""
    kind, covariances = fit.covariance_type_, mixture.covariances
    if kind == "unit" or covariances is None:
        return Mixture(mixture.weights, mixture.means)
    return Mixture(
        mixture.weights, mixture.means, covariances[0] if kind == "tied_spherical" else covariances, kind
    )


def _resamples(points: Tensor, mixture: Mixture, n: int, method: str, generator: torch.Generator) -> Tensor:
    """(n, N, d)."""
    N = len(points)
    if method == "nonparametric":
        return points[torch.randint(N, (n, N), generator=generator)]
    return mixture.sample(n * N, generator)[0].reshape(n, N, -1)
