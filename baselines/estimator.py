"""Mixtures in scikit-learn's manner: what a fitted one can do, and one fit or thousands through one method.

An estimator of this project has one method of its own, `_fit_batch`, which maps B data sets of N points to a
batched Mixture. `MixtureEstimator` makes `fit` of it (B = 1), `fit_many` (any B), and predict, predict_proba,
score, score_samples, sample, aic and bic of what was found. Arrays are numpy's, in and out.
"""

import operator
import warnings
from abc import ABCMeta, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, DensityMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from baselines import gaussian
from baselines.estimator_sets import (
    Array,
    Arrays,
    BatchFit,
    DataWarning,
    Estimates,
    as_count,
    check_counts,
    check_enough,
    check_sets,
    estimates,
    feature_names,
    gather,
    groups,
    stack,
    to_double,
    to_tensor,
    without,
)
from baselines.mixture import Mixture
from baselines.points import squares_fit
from baselines.shown import short_repr

__all__ = ["BatchFit", "DataWarning", "FittedMixtures", "MixtureEstimator"]

SETS_AT_ONCE = 1024  # likelihoods of this many data sets are computed together


class MixtureEstimator(DensityMixin, BaseEstimator, metaclass=ABCMeta):
    """p(x) = sum_k pi_k N(x; mu_k, S_k) fitted to points X (N, d).

    A subclass has `n_components` and `random_state` among its parameters and implements `_fit_batch`. It
    is no ClusterMixin, as scikit-learn's GaussianMixture is none: what is fitted is a density.

    weights_          (K,): pi_k.
    means_            (K, d): mu_k, in the units of X.
    covariances_      S_k in scikit-learn's shapes. For covariance_type_ "unit" (all 1), "tied_spherical" and
                      "spherical": variances (K,); "diagonal": variances (K, d); "tied": (d, d); "full":
                      (K, d, d).
    covariance_type_  one of gaussian.COVARIANCE_TYPES.
    n_parameters_     free parameters, as aic and bic count them: K - 1 weights, K d means, and the variances
                      that were estimated (none for "unit").
    lower_bound_      log p(x_n) averaged over the points fitted, weighted if they were; natural log.
    converged_        whether the method ended as it should; if not, `fit` gave a ConvergenceWarning.
    n_iter_           steps taken, where the method counts any.
    n_features_in_    d; feature_names_in_ where X had names.
    """

    _dtype = torch.float64  # of the points that _fit_batch is given
    _pads = False  # whether _fit_batch takes points of weight 0, so that sets of many lengths can be padded

    n_components: Any
    random_state: Any
    weights_: Array
    means_: Array
    covariances_: Array
    covariance_type_: str
    n_parameters_: int
    lower_bound_: float
    converged_: bool
    n_iter_: int
    n_features_in_: int

    @abstractmethod
    def _fit_batch(
        self, X: Tensor, n_components: int, sample_weight: Tensor | None, generator: torch.Generator
    ) -> BatchFit:
        """Fit B data sets X (B, N, d) of `_dtype`, finite, N >= n_components >= 1.

        sample_weight (B, N) >= 0 is None unless `_pads` is set or the subclass hands one to `_fit`; a point
        of weight 0 is absent. All draws come from `generator`. ValueError for parameters that cannot be used.
        """

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Fit to X (N, d), N >= n_components; y is ignored. ValueError for bad input or no estimate.

        A ConvergenceWarning says that the method did not end as it should, a DataWarning that it is not made
        for such data.
        """
        return self._fit(X, None)

    def fit_predict(self, X: ArrayLike, y: object = None) -> NDArray[np.int64]:
        """Fit to X (N, d) and return `predict(X)`."""
        return self.fit(X).predict(X)

    def fit_many(
        self, X: ArrayLike | Sequence[ArrayLike], n_components: int | Sequence[int] | None = None
    ) -> "FittedMixtures":
        """Fit B data sets, many together: X (B, N, d), or a sequence of B arrays (N_b, d) of one d.

        n_components  K for all, or one for each data set; None takes the parameter of that name.

        Data sets that did not converge give one ConvergenceWarning together, those that the method is not
        made for one DataWarning; one without an estimate does not disturb the others. The estimator itself
        stays as it was. Random draws are made for the data sets together, so those of one data set depend on
        its company. ValueError for bad input, naming the set.
        """
        sets = check_sets(X, self._least_samples())
        counts = check_counts(self.n_components if n_components is None else n_components, len(sets))
        for place, (points, count) in enumerate(zip(sets, counts, strict=True)):
            check_enough(f"X[{place}]", points, count)
        generator = self._generator()
        parts = []
        for places in groups(sets, counts, self._pads):
            group, padding = stack(sets, places)
            parts.append((places, self._estimates(group, counts[places[0]], padding, generator)))
        unfitted: Any = clone(self)
        result = _join(unfitted, counts, parts, feature_names(X))
        self._warn(result.problems, result.remarks, len(sets))
        return result

    def score_samples(self, X: ArrayLike) -> Array:
        """log p(x_n) of every point: X (N, d) -> (N,), natural log."""
        points = self._points(X)
        return self._mixture().score_samples(points).numpy()

    def score(self, X: ArrayLike, y: object = None) -> float:  # pyright: ignore[reportIncompatibleMethodOverride]
        """log p(x_n) averaged over the points of X (N, d); y is ignored."""
        return float(self.score_samples(X).mean())

    def predict_proba(self, X: ArrayLike) -> Array:
        """P(component k | x_n): X (N, d) -> (N, K), rows summing to 1."""
        points = self._points(X)
        return self._mixture().responsibilities(points).mT.numpy()

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """The most probable component of every point: X (N, d) -> (N,)."""
        points = self._points(X)
        return self._mixture().predict(points).numpy()

    def sample(self, n_samples: int = 1) -> tuple[Array, NDArray[np.int64]]:
        """n_samples independent points (n_samples, d) and their components, drawn by `random_state`."""
        check_is_fitted(self)
        X, labels = self._mixture().sample(as_count("n_samples", n_samples), self._generator())
        return X.numpy(), labels.numpy()

    def aic(self, X: ArrayLike) -> float:
        """-2 sum_n log p(x_n) + 2 n_parameters_ on X (N, d); lower is better."""
        return float(-2 * self.score_samples(X).sum() + 2 * self.n_parameters_)

    def bic(self, X: ArrayLike) -> float:
        """-2 sum_n log p(x_n) + n_parameters_ log N on X (N, d); lower is better."""
        scores = self.score_samples(X)
        return float(-2 * scores.sum() + self.n_parameters_ * np.log(len(scores)))

    def _fit(self, X: ArrayLike, sample_weight: Array | None) -> Self:
        """`fit` with checked weights (N,) or None."""
        points = self._validated(X, ensure_min_samples=self._least_samples())
        K = as_count("n_components", self.n_components)
        check_enough("X", points, K)
        weight = None if sample_weight is None else sample_weight[np.newaxis]
        found = self._estimates(points[np.newaxis], K, weight, self._generator())
        if not found.found[0]:
            raise ValueError(f"X with n_samples = {len(points)} has no estimate: {found.problems[0]}")
        self._warn(found.problems, found.remarks, 1)
        return self._take(_join(self, [K], [([0], found)]), 0)

    def _estimates(
        self, X: Array, n_components: int, sample_weight: Array | None, generator: torch.Generator
    ) -> Estimates:
        """`_fit_batch` of X (B, N, d), its result in float64, and the likelihoods it did not give."""
        points, weight = to_tensor(X), None if sample_weight is None else to_tensor(sample_weight)
        usable = squares_fit(points)
        if not usable.all():  # the others are fitted; what is found for these, scaled down, is not read
            points = torch.where(usable[:, None, None], points, points * 2.0**-600)
        batch = self._fit_batch(
            points.to(self._dtype),
            n_components,
            None if weight is None else weight.to(self._dtype),
            generator,
        )
        if not usable.all():
            batch = without(batch, ~usable)
        mixture, levels = to_double(batch.mixture), batch.log_likelihood
        if levels is not None:
            return estimates(batch, mixture, levels.to(dtype=torch.float64, device="cpu"))
        parts = []
        for first in range(0, len(points), SETS_AT_ONCE):
            part = slice(first, first + SETS_AT_ONCE)
            shares = None if weight is None else weight[part]
            parts.append(mixture[part].log_likelihood_per_point(points[part], shares))
        return estimates(batch, mixture, torch.cat(parts))

    def _take(self, result: "FittedMixtures", place: int) -> Self:
        """Set the fitted attributes to those of one data set."""
        self.weights_ = result.weights[place].copy()
        self.means_ = result.means[place].copy()
        self.covariances_ = result.covariances[place].copy()
        self.covariance_type_ = result.covariance_type
        K, d = self.means_.shape
        self.n_parameters_ = K - 1 + K * d + self._n_free_variances(self.covariance_type_, K, d)
        self.lower_bound_ = float(result.log_likelihood[place])
        self.converged_ = bool(result.converged[place])
        self.n_features_in_ = d
        names = None if result.feature_names is None else result.feature_names[place]
        if names is not None:
            self.feature_names_in_ = names
        if result.n_iter is not None:
            self.n_iter_ = int(result.n_iter[place])
        return self

    def _n_free_variances(self, covariance_type: str, n_components: int, n_features: int) -> int:
        """Free parameters of the covariances; a subclass that was given some of them says less."""
        K, d = n_components, n_features
        triangle = d * (d + 1) // 2
        return {
            "unit": 0,
            "tied_spherical": 1,
            "spherical": K,
            "diagonal": K * d,
            "tied": triangle,
            "full": K * triangle,
        }[covariance_type]

    def _mixture(self) -> Mixture:
        """The mixture that the fitted attributes describe, in float64."""
        kind = "spherical" if self.covariance_type_ in gaussian.ISOTROPIC else self.covariance_type_
        return Mixture(to_tensor(self.weights_), to_tensor(self.means_), to_tensor(self.covariances_), kind)

    def _points(self, X: ArrayLike) -> Tensor:
        """Points to be judged by a fitted mixture. NotFittedError if there is none yet."""
        check_is_fitted(self)
        return to_tensor(self._validated(X, reset=False))

    def _validated(self, X: Any, **settings: Any) -> Array:
        """X as (N, d) float64, finite, by scikit-learn's rules, which set or check n_features_in_."""
        points: Any = validate_data(self, X, dtype="float64", order="C", **settings)
        return points

    def _generator(self) -> torch.Generator:
        """A torch generator seeded from `random_state`, by scikit-learn's rules for that parameter."""
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        return torch.Generator().manual_seed(int(seed))

    def _least_samples(self) -> int:
        """The fewest points a data set may have, whatever n_components is."""
        return 1

    def _warn(self, problems: Mapping[int, str], remarks: Mapping[int, str], n_sets: int) -> None:
        """One ConvergenceWarning for all problems and one DataWarning for all remarks, naming the first."""
        for lines, verdict, category in (
            (problems, "did not converge", ConvergenceWarning),
            (remarks, "is not made for this", DataWarning),
        ):
            if not lines:
                continue
            place, first = min(lines.items())
            message = f"{type(self).__name__} {verdict}"
            message += (
                f": {first}"
                if n_sets == 1
                else f" on {len(lines)} of {n_sets} data sets; X[{place}]: {first}"
            )
            warnings.warn(message, category, stacklevel=4)


@dataclass(frozen=True, eq=False)
class FittedMixtures:
    """What `fit_many` found for B data sets; `result[i]` is a fitted estimator for the i-th, not refitted.

    estimator        unfitted, with the parameters used.
    n_components     (B,): K of every data set.
    weights, means, covariances    weights_, means_ and covariances_ of all: one array with B in front if
                     all K are equal, else a list of B arrays. NaN where there is no estimate.
    covariance_type  covariance_type_ of all.
    log_likelihood   (B,): lower_bound_, log p(x_n) averaged over the points; NaN where there is no estimate.
    found            (B,) booleans: the data set has an estimate.
    converged        (B,) booleans.
    n_iter           (B,) integers, None where the method counts no steps.
    problems         {place: one line} for the data sets that did not converge.
    remarks          {place: one line} for the data sets that the method is not made for.
    feature_names    names of the columns of every data set, None where it has none; None for an array X.
    """

    estimator: MixtureEstimator
    n_components: NDArray[np.int64]
    weights: Arrays
    means: Arrays
    covariances: Arrays
    covariance_type: str
    log_likelihood: Array
    found: NDArray[np.bool_]
    converged: NDArray[np.bool_]
    n_iter: NDArray[np.int64] | None
    problems: Mapping[int, str]
    remarks: Mapping[int, str]
    feature_names: Sequence[NDArray[np.object_] | None] | None = None

    __repr__ = short_repr

    def __len__(self) -> int:
        return len(self.n_components)

    def __getitem__(self, index: int) -> Any:
        """The fitted estimator of one data set. ValueError where there is no estimate."""
        place = range(len(self))[operator.index(index)]
        if not self.found[place]:
            raise ValueError(f"X[{place}] has no estimate: {self.problems[place]}")
        model: Any = clone(self.estimator)
        model.set_params(n_components=int(self.n_components[place]))
        return model._take(self, place)


def _join(
    estimator: MixtureEstimator,
    counts: Sequence[int],
    parts: Sequence[tuple[Sequence[int], Estimates]],
    names: Sequence[NDArray[np.object_] | None] | None = None,
) -> FittedMixtures:
    """The results of the groups in the order of the data sets."""
    n_sets = len(counts)

    def collect(field: str) -> Any:
        return gather([(places, getattr(part, field)) for places, part in parts], n_sets)

    def lines(field: str) -> dict[int, str]:
        found = {places[row]: line for places, part in parts for row, line in getattr(part, field).items()}
        return dict(sorted(found.items()))

    problems = lines("problems")
    return FittedMixtures(
        estimator,
        np.array(counts),
        collect("weights"),
        collect("means"),
        collect("covariances"),
        parts[0][1].covariance_type,
        collect("log_likelihood"),
        collect("found"),
        np.array([place not in problems for place in range(n_sets)]),
        None if parts[0][1].n_iter is None else collect("n_iter"),
        problems,
        lines("remarks"),
        names,
    )
