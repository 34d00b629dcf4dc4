"""EM as a scikit-learn estimator, on the batched `baselines.em.em`."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from baselines.em import AGREE, EMResult, Status, em
from baselines.em_progress import reporter
from baselines.estimator import BatchFit, Places
from baselines.estimator_sets import as_amount, as_count
from baselines.families.names import family_of, n_free_variances
from baselines.gaussian import covariance_shape
from baselines.given_starts import (
    fitted_start,
    given_array,
    given_covariances,
    given_means,
    given_weights,
    precision_shape,
)
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
    max_iter, tol    at most max_iter steps; one that changes the log-likelihood per point by less than tol
                     ends them. With max_iter = 0 the result is the start, without a warning.
    reg_covar        >= 0, in squared units of X, so that columns should be of about one scale: added to the
                     diagonal of every covariance after each M step and to the starting one, as in
                     GaussianMixture. Not for "unit", whose covariances are known.
    missing          None refuses NaN; "conditional" takes it for a missing value: EM for the likelihood of
                     what was observed, of covariances laid out as diagonal or full; score_samples and predict
                     take NaN as well then (baselines.incomplete.conditional).
    noise            True adds a component that is uniform over the box of the data, its weight estimated:
                     noise_weight_, noise_box_; weights_ sum to 1 - noise_weight_, predict says -1 for it and
                     predict_proba has a last column (baselines.incomplete.loop).
                     With either of these two fit_many is refused: they fit one data set at a time.
    weights_init, means_init, precisions_init    parts of the start in place of those of `init`: (K,), (K, d),
                     and inverse covariances in the shape of covariances_. In `fit_many` each may have one
                     entry for each data set in front, so fits go on from weights, means and precisions of
                     others.
    warm_start       a further `fit` goes on from what the last one found, whatever n_init is; `fit_many` does
                     not read it.
    chunk_size       None, or how many points are worked on at a time (baselines.em.em).
    verbose          0, 1 (a line for every start) or 2 (and one for every verbose_interval steps), to stdout.
    random_state     None, an integer or a numpy RandomState.

    n_restarts_agreeing_ says how many of the n_init restarts ended at the best optimum: within 100 tol of its
    log-likelihood per point, as far as one ends from its limit that closes in on it by 1 % a step.

    tol is 1e-6 where GaussianMixture has 1e-3, which ends on slow stretches: from 20 starts each on iris,
    wine and the galaxies (K = 3 to 6) it leaves up to 0.2 a point of what is to be gained, and half the
    labels another; 1e-6 ends within 2e-5 a point of where 1e-8 does, labels the same up to one in a hundred.
    The price, in CPU time: 1.3 to 2.7 times that of 1e-3 on the tasks of arXiv 2505.11918, up to ten times
    the steps on the galaxies. Components that overlap within two standard deviations can need 1e-8 even so.

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
        max_iter: int = 1000,
        tol: float = 1e-6,
        reg_covar: float = 1e-6,
        missing: str | None = None,
        noise: bool = False,
        weights_init: ArrayLike | None = None,
        means_init: ArrayLike | None = None,
        precisions_init: ArrayLike | None = None,
        warm_start: bool = False,
        chunk_size: int | None = None,
        verbose: int = 0,
        verbose_interval: int = 10,
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
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.warm_start = warm_start
        self.chunk_size = chunk_size
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.random_state = random_state

    def _fit_batch(
        self,
        X: Tensor,
        n_components: int,
        sample_weight: Tensor | None,
        generator: torch.Generator,
        places: Places | None,
    ) -> BatchFit:
        kind = family_of(self.covariance_type).layout
        n_init = as_count("n_init", self.n_init)
        max_iter = as_count("max_iter", self.max_iter, least=0)
        tol, reg_covar = as_amount("tol", self.tol), as_amount("reg_covar", self.reg_covar)
        settings: dict[str, Any] = {}
        if self.warm_start and places is None and hasattr(self, "means_"):
            init, n_init = fitted_start(self, kind, n_components, X.shape[-1]), 1
        else:
            init, settings = self._start(X, n_components, kind, reg_covar, sample_weight, n_init, places)
        result = em(
            X,
            n_components,
            covariance_type=self.covariance_type,
            init=init,
            n_init=n_init,
            max_iter=max_iter,
            tol=tol,
            reg_covar=reg_covar,
            sample_weight=sample_weight,
            generator=generator,
            chunk_size=None if self.chunk_size is None else as_count("chunk_size", self.chunk_size),
            report=self._reporter(),
            **settings,
        )
        levels, best = result.restart_levels, result.log_likelihood_per_point
        return BatchFit(
            result.mixture,
            torch.ones_like(result.converged),
            self._problems(result) if max_iter else {},
            result.n_iter,
            best,
            self._remarks(X, result, sample_weight, kind),
            result.history,
            (levels >= best.unsqueeze(-1) - AGREE * tol).sum(-1),
            result.converged,
        )

    def _reporter(self) -> Any:
        verbose = int(as_amount("verbose", int(self.verbose)))
        interval = as_count("verbose_interval", self.verbose_interval)
        return reporter(type(self).__name__, verbose, interval)

    def _remarks(
        self, X: Tensor, result: EMResult, sample_weight: Tensor | None, kind: str
    ) -> dict[int, str]:
        """The data sets whose units make no sense under unit covariances."""
        if kind != "unit":
            return {}
        scale = unit_scale(X, result.mixture, sample_weight, result.log_likelihood_per_point)
        places = scale.wrong.nonzero().squeeze(-1).tolist()
        return {place: f"{scale.problem(place)}, or fit another covariance_type" for place in places}

    def _start(
        self,
        X: Tensor,
        n_components: int,
        kind: str,
        reg_covar: float,
        sample_weight: Tensor | None,
        n_init: int,
        places: Places | None,
    ) -> tuple[str | Mixture, dict[str, Any]]:
        """`init` for em, and the weights and covariances that go with a name."""
        K, d = n_components, X.shape[-1]
        shape = precision_shape(kind, K, d)
        weights = given_weights("weights_init", self.weights_init, K, places)
        precisions = given_array("precisions_init", self.precisions_init, shape, "as covariances_", places)
        covariances = given_covariances("precisions_init", precisions, kind)
        name, given = self._given_means()
        if given is None:
            return str(self.init), {"weights_init": weights, "covariances_init": covariances}
        means = given_means(name, given, (K, d), places)
        if n_init != 1:
            raise ValueError(f"n_init is {n_init}, needs 1 when {name} is an array: restarts would agree")
        starts = means.expand(len(X), K, d)
        if weights is None:
            weights = torch.full_like(starts[..., 0], 1 / K)
        if covariances is None and kind != "unit":
            points = prepare(X, sample_weight, self.chunk_size or POINTS_AT_ONCE)
            covariances = start_covariances(points, starts - points.centre, kind, reg_covar)
        if covariances is not None:
            own = len(covariance_shape(kind, K, d))
            covariances = covariances.expand((len(X), *covariances.shape[covariances.dim() - own :]))
        return Mixture(weights.expand(len(X), K), starts, covariances, kind), {}

    def _given_means(self) -> tuple[str, Any]:
        """Means that are given, and the parameter that gives them; ValueError for two, or an unknown name."""
        if isinstance(self.init, str):
            if self.init not in STARTS:
                raise ValueError(
                    f"init is {self.init!r}, needs an array (K, d) of means or one of {', '.join(STARTS)}"
                )
            return "means_init", self.means_init
        if self.means_init is not None:
            raise ValueError("init and means_init are both arrays of means, needs one of them")
        return "init", self.init

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
