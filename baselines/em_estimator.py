"""EM as a scikit-learn estimator, on the batched `baselines.em.em`."""

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils.validation import _check_sample_weight
from torch import Tensor

from baselines.em import EMResult, Status, em
from baselines.estimator import BatchFit
from baselines.estimator_sets import as_amount, as_count, to_tensor
from baselines.families.names import family_of, n_free_variances
from baselines.incomplete.estimator import IncompleteMixture
from baselines.mixture import Mixture
from baselines.points import POINTS_AT_ONCE, prepare
from baselines.starts import STARTS, start_covariances
from baselines.unit_scale import unit_scale


class EMMixture(IncompleteMixture):
    """Maximum likelihood by EM: p(x) = sum_k pi_k N(x; mu_k, S_k).

    covariance_type  "unit" (S_k = I, the model of arXiv 2505.11918), "tied_spherical" (s I), "spherical"
                     (s_k I), "diagonal", "tied" or "full"; "diag" as in scikit-learn; or a family of
                     mclust's, as "VEI" (baselines.families.names: all, and which are the same).
                     covariance_type_ says how covariances_ are laid out: "diagonal" for EEI, VEI and EVI,
                     "full" for VEE, EVV, EEV and VEV.
    init             "k-means", "k-means++" (greedy), "plain-k-means++", "random-points", "normal" (means
                     N(0, I)), or an array (K, d) of means in the units of X. Starting weights are equal; the
                     starting covariance is pooled over the points nearest to each start (baselines.starts).
                     "ward" takes weights, means and covariances of the groups of a tree (baselines.ward).
    n_init           restarts; the likeliest result is kept. Those of "ward" after the first are "k-means".
    max_iter, tol    at most max_iter steps; one that raises the log-likelihood per point by less than tol
                     ends them, as in scikit-learn's GaussianMixture.
    reg_covar        >= 0, in squared units of X, so that columns should be of about one scale: added to the
                     diagonal of every covariance after each M step and to the starting one, as in
                     GaussianMixture. Not for "unit", whose covariances are known.
    missing          None refuses NaN; "conditional" takes it for a missing value: EM for the likelihood of
                     what was observed, of covariances laid out as diagonal or full; score_samples and predict
                     take NaN as well then (baselines.incomplete.conditional).
    noise            True adds a component that is uniform over the box of the data, its weight estimated:
                     noise_weight_, noise_box_; weights_ sum to 1 - noise_weight_, predict says -1 for it and
                     predict_proba has a last column (baselines.incomplete.loop).
                     With either of these two fit_many is refused; they fit one data set at a time.
    chunk_size       None, or how many points are worked on at a time (baselines.em.em).
    random_state     None, an integer or a numpy RandomState.

    Scale matters for "unit": the components have standard deviation 1 in the units of X, so data must be in
    units of the spread within a group. Columns standardised over all the points have a total variance of 1,
    and groups then much narrower than the model's: it smooths over them, and its likelihood is low, though
    labels may be right. Where the spread within the components found is far from 1 (baselines.unit_scale), a
    DataWarning says so.

    reg_covar keeps covariances above itself: a component that closes in on a few points then ends as a narrow
    one, of large but finite likelihood. The price: the end is no maximum of the likelihood but near one, off
    by first order in reg_covar over the least variance, and a step may lower the likelihood by as much
    (baselines.em.em). With 0 every step raises it, and where a covariance becomes singular, the fit ends with
    the last parameters that were defined, converged_ False and a ConvergenceWarning that names the component;
    GaussianMixture raises a ValueError there.
    """

    _pads = True

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "unit",
        init: str | ArrayLike = "k-means",
        n_init: int = 1,
        max_iter: int = 100,
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        missing: str | None = None,
        noise: bool = False,
        chunk_size: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.reg_covar = reg_covar
        self.missing = missing
        self.noise = noise
        self.chunk_size = chunk_size
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None) -> Self:
        """Fit to X (N, d), N >= n_components; y is ignored.

        sample_weight (N,), >= 0: a point of weight 2 counts twice, one of weight 0 is absent. ValueError for
        bad input.
        """
        if sample_weight is None:
            return self._fit(X, None)
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        return self._fit(X, weight)

    def _fit_batch(
        self, X: Tensor, n_components: int, sample_weight: Tensor | None, generator: torch.Generator
    ) -> BatchFit:
        n_init = as_count("n_init", self.n_init)
        family_of(self.covariance_type)
        init = self.init
        if not isinstance(init, str):
            init = self._start(init, X, n_components, sample_weight)
        elif init not in STARTS:
            raise ValueError(
                f"init is {init!r}, needs an array (K, d) of means or one of {', '.join(STARTS)}"
            )
        result = em(
            X,
            n_components,
            covariance_type=self.covariance_type,
            init=init,
            n_init=n_init,
            max_iter=as_count("max_iter", self.max_iter),
            tol=self.tol,
            reg_covar=as_amount("reg_covar", self.reg_covar),
            sample_weight=sample_weight,
            generator=generator,
            chunk_size=None if self.chunk_size is None else as_count("chunk_size", self.chunk_size),
        )
        return BatchFit(
            result.mixture,
            torch.ones_like(result.converged),
            self._problems(result),
            result.n_iter,
            result.log_likelihood_per_point,
            self._remarks(X, result, sample_weight),
        )

    def _remarks(self, X: Tensor, result: EMResult, sample_weight: Tensor | None) -> dict[int, str]:
        """The data sets whose units make no sense under unit covariances."""
        if self.covariance_type != "unit":
            return {}
        scale = unit_scale(X, result.mixture, sample_weight, result.log_likelihood_per_point)
        places = scale.wrong.nonzero().squeeze(-1).tolist()
        return {place: f"{scale.problem(place)}, or fit another covariance_type" for place in places}

    def _start(self, init: Any, X: Tensor, n_components: int, sample_weight: Tensor | None) -> Mixture:
        """Equal weights and pooled covariances about the given means, for every data set of X (B, N, d)."""
        means = np.asarray(init, dtype=np.float64)
        wanted = (n_components, X.shape[-1])
        if means.shape != wanted:
            raise ValueError(f"init has shape {means.shape}, needs {wanted}: (n_components, n_features)")
        if self.n_init != 1:
            raise ValueError(f"n_init is {self.n_init}, needs 1 when init is an array: restarts would agree")
        starts = to_tensor(means).expand(len(X), *wanted)
        layout = family_of(self.covariance_type).layout
        points = prepare(X, sample_weight, self.chunk_size or POINTS_AT_ONCE)
        covariances = start_covariances(
            points, starts - points.centre, layout, as_amount("reg_covar", self.reg_covar)
        )
        weights = torch.full_like(starts[..., 0], 1 / n_components)
        return Mixture(weights, starts, covariances, layout)

    def _n_free_variances(self, covariance_type: str, n_components: int, n_features: int) -> int:
        return n_free_variances(self.covariance_type, n_components, n_features)

    def _problems(self, result: EMResult) -> dict[int, str]:
        places = (~result.converged).nonzero().squeeze(-1).tolist()
        kinds, components = result.status.tolist(), result.component.tolist()
        return {place: self._problem(Status(kinds[place]), components[place]) for place in places}

    def _problem(self, status: Status, component: int) -> str:
        if status == Status.EMPTY:
            return f"component {component} lost all its points; try another init or fewer components"
        if status == Status.SINGULAR:
            return (
                f"the covariance of component {component} became singular; try a larger reg_covar, fewer "
                'components or covariance_type "unit"'
            )
        if status == Status.OVERFLOW:
            return "a log-density left the range of float64; try another init or scale the data"
        return (
            f"the log-likelihood per point still rose by tol = {self.tol} or more "
            f"after max_iter = {self.max_iter} steps"
        )
