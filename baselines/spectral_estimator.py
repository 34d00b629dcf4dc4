"""The spectral method as a scikit-learn estimator, on the batched `baselines.spectral.spectral`."""

from typing import Any

import torch
from torch import Tensor

from baselines.estimator import BatchFit, MixtureEstimator, Places
from baselines.estimator_sets import as_amount, as_count
from baselines.mixture import Mixture
from baselines.spectral import SpectralResult, Status, spectral

REASONS = {
    Status.NO_VARIANCE: (
        "the least eigenvalue of its covariance cannot be told from 0; needs more points than features, or "
        "the variance given"
    ),
    Status.RANK_DEFICIENT: (
        "its second moment less the variance does not show n_components means that are linearly independent "
        "about the origin; needs a smaller variance, fewer components or the origin moved"
    ),
    Status.NO_THIRD_MOMENT: (
        "an eigenvalue of its whitened third moment cannot be told from 0; needs fewer components"
    ),
}
UNRESOLVED = (
    "cannot be told from linearly dependent about the origin, as those of centred data are; move the origin "
    "(add to the data a vector that is no combination of the means, about as long) or take fewer components"
)


class SpectralMixture(MixtureEstimator):
    """Moments and tensor power iteration: p(x) = sum_k pi_k N(x; mu_k, s I), K <= d independent means.

    variance          s, in squared units of X (1 in arXiv 2505.11918); None estimates it as the least
                      eigenvalue of the covariance.
    reg_covar         >= 0, in squared units of X: added to the variance estimated, once means and weights
                      have been found with it as it is. A variance that is given stays. Data whose variance
                      cannot be told from 0 have no estimate whatever it is.
    n_starts, n_iter  starts of the tensor power method for every component, and its steps.
    random_state      None, an integer or a numpy RandomState.

    covariance_type_ is "unit" for variance = 1, else "tied_spherical"; a variance that was given is not
    counted in n_parameters_. converged_ is True where the last power step moved every eigenvector by at most
    sqrt(eps) of float64: the iteration converges quadratically, so the next step would move it by order eps.
    It is False too, with a ConvergenceWarning, where the data do not show that the means are linearly
    independent about the origin (baselines.spectral_sampling). Centred data never do, so nothing behind a
    StandardScaler does: add a vector to them, and take it from means_ afterwards.

    A sample weight is a count: moments, likelihood, and what sampling can make of 0, are those of the
    repeated points. There is nothing to start from or to go on with: the method takes no weights, means or
    precisions, and lower_bounds_ holds lower_bound_ alone.

    Scale and origin matter: the moments are about 0, and with variance = 1 the components have standard
    deviation 1 in the units of X, so data of a smaller spread have no estimate. Moments are not likelihood:
    on data that are no such mixture the answer may be far from every point. ValueError for K > d (more means
    than dimensions are linearly dependent) and, from `fit`, for data that have no estimate.
    Source: see baselines.spectral.
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        variance: float | None = None,
        reg_covar: float = 1e-6,
        n_starts: int = 10,
        n_iter: int = 30,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.variance = variance
        self.reg_covar = reg_covar
        self.n_starts = n_starts
        self.n_iter = n_iter
        self.random_state = random_state

    def _fit_batch(
        self,
        X: Tensor,
        n_components: int,
        sample_weight: Tensor | None,
        generator: torch.Generator,
        places: Places | None,
    ) -> BatchFit:
        if n_components > X.shape[-1]:
            raise ValueError(
                f"n_components is {n_components}, needs at most n_features = {X.shape[-1]}: more means are "
                "linearly dependent"
            )
        reg_covar = as_amount("reg_covar", self.reg_covar)
        result = spectral(
            X,
            n_components,
            variance=self.variance,
            n_starts=as_count("n_starts", self.n_starts),
            n_iter=as_count("n_iter", self.n_iter),
            generator=generator,
            on_failure="mark",
            sample_weight=sample_weight,
        )
        found = ~result.failed
        variance = result.variance + (reg_covar if self.variance is None else 0.0)
        mixture = Mixture(
            torch.where(found.unsqueeze(-1), result.weights, 1 / n_components),
            torch.where(found[:, None, None], result.means, 0.0),
            None if result.covariance_type == "unit" else torch.where(found, variance, 1.0),
            result.covariance_type,
        )
        return BatchFit(mixture, found, self._problems(result))

    def _problems(self, result: SpectralResult) -> dict[int, str]:
        moved = result.moved.amax(-1)
        limit = torch.finfo(moved.dtype).eps ** 0.5
        places = (~(moved <= limit) | result.unresolved).nonzero().squeeze(-1).tolist()
        return {place: self._problem(result, place, moved[place].item(), limit) for place in places}

    def _problem(self, result: SpectralResult, place: int, moved: float, limit: float) -> str:
        if result.failed[place]:
            return REASONS[Status(int(result.status[place]))]
        if not result.unresolved[place]:
            return (
                f"the last of n_iter = {self.n_iter} power steps moved an eigenvector by {moved:.1e}, "
                f"needs at most {limit:.1e}"
            )
        least, sampling = result.moment_eigenvalues[place, 0].item(), result.sampling[place].item()
        if least <= sampling:
            return (
                f"eigenvalue {result.weights.shape[1]} of its second moment less the variance is {least:.3g}"
                f", and sampling makes up to {sampling:.3g} of 0: the means {UNRESOLVED}"
            )
        return f"its average cannot be told from 0: the means {UNRESOLVED}"

    def _least_samples(self) -> int:
        return 2 if self.variance is None else 1  # one point has no variance to estimate

    def _n_free_variances(self, covariance_type: str, n_components: int, n_features: int) -> int:
        return 1 if self.variance is None else 0
