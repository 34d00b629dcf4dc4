"""Mixtures in scikit-learn's manner: what a fitted one can do, and one fit or thousands through one method.

An estimator of this project has one method of its own, `_fit_batch`, which maps B data sets of N points to a
batched Mixture. `MixtureEstimator` makes `fit` of it (B = 1), `fit_many` (any B), and predict, predict_proba,
score, score_samples, sample, aic, bic and icl of what was found. Arrays are numpy's, in and out. All is
computed in float64; points in float32 get results in float32, rounded once at the end.
"""

from __future__ import annotations

import warnings
from abc import ABCMeta, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, DensityMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from torch import Tensor

from baselines import gaussian
from baselines.cutting import Piece, pieces
from baselines.data_sets import data_sets
from baselines.estimator_sets import (
    Array,
    BatchFit,
    DataWarning,
    Estimates,
    as_count,
    check_counts,
    check_enough,
    check_enough_weight,
    check_weights,
    estimates,
    to_double,
    to_tensor,
    without,
)
from baselines.fitted_mixtures import FittedMixtures, joined_groups
from baselines.mixture import Mixture
from baselines.points import squares_fit
from baselines.precisions import precisions, precisions_cholesky
from baselines.scaling import power_of_two
from baselines.workers.choosing import cluster_in_use, using
from baselines.workers.pieces import run_pieces

__all__ = ["BatchFit", "DataWarning", "FittedMixtures", "MixtureEstimator"]

SETS_AT_ONCE = 1024  # likelihoods of this many data sets are computed together


class Places(NamedTuple):
    """Which of the n_sets data sets of a `fit_many` are in a batch, in its order."""

    rows: Sequence[int]
    n_sets: int


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
    precisions_       S_k^-1 in the same shapes; precisions_cholesky_ P_k with S_k^-1 = P_k P_k^T, upper
                      triangular for "tied" and "full", S_k^(-1/2) else. Both follow covariances_, and cannot
                      be set.
    n_parameters_     free parameters, as aic and bic count them: K - 1 weights, K d means, and the variances
                      that were estimated (none for "unit").
    lower_bound_      log p(x_n) averaged over the points fitted, weighted if they were; natural log; at the
                      parameters found, while scikit-learn's is at those one step before.
    lower_bounds_     the same after 0 (the start), 1, ..., n_iter_ steps, n_iter_ + 1 numbers; lower_bound_
                      alone where the method does not follow it. scikit-learn's leave out the last.
    converged_        whether the method ended as it should; if not, `fit` gave a ConvergenceWarning.
    n_iter_           steps taken, where the method counts any.
    n_features_in_    d; feature_names_in_ where X had names.

    Where X is float32, weights_, means_, covariances_, precisions and the results for such an X are float32:
    rounded from float64, which score, predict and the like go on to use while the attributes are as they were
    fitted. scikit-learn computes in float32 there.
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
    lower_bounds_: Array
    n_restarts_agreeing_: int
    converged_: bool
    n_iter_: int
    n_features_in_: int

    @property
    def precisions_(self) -> Array:
        """Inverse covariances; see the class."""
        check_is_fitted(self)
        return precisions(self.covariances_, self.covariance_type_)

    @property
    def precisions_cholesky_(self) -> Array:
        """Roots of the inverse covariances; see the class."""
        check_is_fitted(self)
        return precisions_cholesky(self.covariances_, self.covariance_type_)

    @abstractmethod
    def _fit_batch(
        self,
        X: Tensor,
        n_components: int,
        sample_weight: Tensor | None,
        generator: torch.Generator,
        places: Places | None,
    ) -> BatchFit:
        """Fit B data sets X (B, N, d) of `_dtype`, finite, N >= n_components >= 1.

        sample_weight (B, N) >= 0 or None; a point of weight 0 is absent, and n_components points of each set
        at least are not. All draws come from `generator`. places tells which sets of a `fit_many` these are,
        None that this is `fit`. ValueError for parameters that cannot be used.
        """

    def fit(self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None) -> Self:
        """Fit to X (N, d), N >= n_components; y is ignored. ValueError for bad input or no estimate.

        sample_weight (N,), >= 0: a point of weight 2 counts twice, one of weight 0 is absent.

        A ConvergenceWarning says that the method did not end as it should, a DataWarning that it is not made
        for such data.
        """
        points = self._validated(X, ensure_min_samples=self._least_samples())
        K = as_count("n_components", self.n_components)
        check_enough("X", len(points), K)
        weight = self._weight(sample_weight, points)
        if weight is not None:
            check_enough_weight("X", weight, K)
            weight = weight[np.newaxis]
        exact = points.astype(np.float64, copy=False)[np.newaxis]
        found = self._estimates(exact, K, weight, self._generator(), None)
        if not found.found[0]:
            raise ValueError(f"X with n_samples = {len(points)} has no estimate: {found.problems[0]}")
        self._warn(found.problems, found.remarks, 1)
        return self._take(joined_groups(self, [K], [([0], found)], points.dtype), 0)

    def fit_predict(
        self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None
    ) -> NDArray[np.int64]:
        """Fit to X (N, d) and return `predict(X)`."""
        return self.fit(X, sample_weight=sample_weight).predict(X)

    def fit_many(
        self,
        X: Any,
        n_components: int | Sequence[int] | None = None,
        sample_weight: ArrayLike | Sequence[ArrayLike] | None = None,
        *,
        n_jobs: int | None = None,
        dask: str | None = None,
    ) -> FittedMixtures:
        """Fit B data sets, many together: X (B, N, d), or a sequence of B arrays (N_b, d) of one d.

        n_components   K for all, or one for each data set; None takes the parameter of that name.
        sample_weight  (B, N), or a sequence of B arrays (N_b,), as in `fit`.
        n_jobs         None or 1 fits in this process, 2 in two others, -1 in as many as there are processors.
        dask           address of a Dask scheduler, as tcp://host:8786, whose workers fit; so they do inside
                       `joblib.parallel_config("dask")`. They need this package, and memory for a piece.

        An X of millions of data sets may be a numpy.memmap, which is looked through once and then read a
        piece at a time (by each worker itself, but for Dask), or a Dask array, which is computed chunk by
        chunk, and checked as it is: in memory are pieces and chunks, and the result.

        Data sets that did not converge give one ConvergenceWarning together, those that the method is not
        made for one DataWarning; one without an estimate does not disturb the others. The estimator itself
        stays as it was. ValueError for bad input, naming the set; baselines.workers.computing.PieceLostError
        where one piece killed three workers: a piece whose worker dies is fitted again.

        Random draws are made for pieces of 2^18 coordinates (baselines.cutting), so those of one data set
        depend on its company there, and on nothing else. The fits are the same to the bit whoever computes
        them, on machines of one kind: every worker has as many threads as torch has here. Two processes of
        one thread (OMP_NUM_THREADS=1) are faster than two of two on two processors.
        """
        sets = data_sets(X, self._least_samples())
        counts = check_counts(self.n_components if n_components is None else n_components, len(sets))
        if min(sets.lengths) < max(counts):
            for place, (length, count) in enumerate(zip(sets.lengths, counts, strict=True)):
                check_enough(f"X[{place}]", length, count)
        weights = check_weights(sample_weight, sets.lengths, counts)
        unfitted: Any = clone(self)
        with using(dask=dask):
            by_name = cluster_in_use() is None
            work = pieces(sets, counts, weights, self._pads, self._seed(), by_name)
            fitted = run_pieces(partial(_fitted_piece, self, len(sets)), work, n_jobs)
            parts = (part for _, found in fitted for part in found)
            result = joined_groups(unfitted, counts, self._told(parts, len(sets)), sets.dtype, sets.names)
        self._warn(result.problems, result.remarks, len(sets))
        return result

    def _told(
        self, parts: Iterable[tuple[Sequence[int], Estimates]], n_sets: int
    ) -> Iterator[tuple[Sequence[int], Estimates]]:
        """The same parts; with verbose > 0 a line after each tells how far they are."""
        done, verbose = 0, getattr(self, "verbose", 0)
        for places, part in parts:
            yield places, part
            done += len(places)
            if verbose and len(places) < n_sets:
                print(f"{type(self).__name__}: {done} of {n_sets} data sets are fitted")

    def score_samples(self, X: ArrayLike) -> Array:
        """log p(x_n) of every point: X (N, d) -> (N,), natural log."""
        points, dtype = self._points(X)
        return self._mixture().score_samples(points).numpy().astype(dtype, copy=False)

    def score(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """sum_n a_n log p(x_n) / sum_n a_n over the points of X (N, d), a = sample_weight (N,) or 1."""
        scores, weight = self._scores(X, sample_weight)
        if weight is None:
            return float(scores.mean())
        weight = weight / power_of_two(to_tensor(weight).amax()).item()  # only ratios count
        return float((weight * scores).sum() / weight.sum())

    def predict_proba(self, X: ArrayLike) -> Array:
        """P(component k | x_n): X (N, d) -> (N, K), rows summing to 1."""
        points, dtype = self._points(X)
        return self._mixture().responsibilities(points).mT.numpy().astype(dtype, copy=False)

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """The most probable component of every point: X (N, d) -> (N,)."""
        points, _ = self._points(X)
        return self._mixture().predict(points).numpy()

    def sample(self, n_samples: int = 1) -> tuple[Array, NDArray[np.int64]]:
        """n_samples independent points (n_samples, d) and their components, drawn by `random_state`."""
        check_is_fitted(self)
        X, labels = self._mixture().sample(as_count("n_samples", n_samples), self._generator())
        return X.numpy().astype(self.means_.dtype, copy=False), labels.numpy()

    def aic(self, X: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """-2 sum_n a_n log p(x_n) + 2 n_parameters_ on X (N, d), a_n = 1 without weights; lower is better."""
        level, _ = self._total(*self._scores(X, sample_weight))
        return float(-2 * level + 2 * self.n_parameters_)

    def bic(self, X: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """-2 sum_n a_n log p(x_n) + n_parameters_ log(sum_n a_n) on X (N, d); lower is better.

        The size of weights counts here, not their ratios alone: a_n = 2 is the point twice.
        """
        level, count = self._total(*self._scores(X, sample_weight))
        return float(-2 * level + self.n_parameters_ * np.log(count))

    def icl(self, X: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """bic(X) - 2 sum_n a_n log max_k w_kn, w_kn = P(component k | x_n), on X (N, d); lower is better.

        The integrated completed likelihood: bic with every point counted in its most probable component,

            -2 sum_n a_n max_k log(pi_k N(x_n; mu_k, S_k)) + n_parameters_ log(sum_n a_n).

        mclust prints -icl. Source: Biernacki, Celeux and Govaert 2000.
        """
        points, _ = self._points(X)
        best = self._mixture().log_joint(points).amax(-2).numpy()
        level, count = self._total(best, self._weight(sample_weight, points.numpy()))
        return float(-2 * level + self.n_parameters_ * np.log(count))

    def _scores(self, X: ArrayLike, sample_weight: ArrayLike | None) -> tuple[Array, Array | None]:
        """log p(x_n) in float64, and checked weights."""
        points, _ = self._points(X)
        return self._mixture().score_samples(points).numpy(), self._weight(sample_weight, points.numpy())

    def _total(self, values: Array, weight: Array | None) -> tuple[float, float]:
        """sum_n a_n v_n and sum_n a_n."""
        if weight is None:
            return float(values.sum()), len(values)
        return float((weight * values).sum()), float(weight.sum())

    def _weight(self, sample_weight: ArrayLike | None, points: Array) -> Array | None:
        """Weights (N,) as scikit-learn checks them, in float64; one number stands for all."""
        if sample_weight is None:
            return None
        return _check_sample_weight(sample_weight, points, dtype=np.float64, ensure_non_negative=True)

    def _estimates(
        self,
        X: Array,
        n_components: int,
        sample_weight: Array | None,
        generator: torch.Generator,
        places: Places | None,
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
            places,
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

    def _take(self, result: FittedMixtures, place: int) -> Self:
        """Set the fitted attributes to those of one data set."""
        self.weights_ = result.weights[place].copy()
        self.means_ = result.means[place].copy()
        self.covariances_ = result.covariances[place].copy()
        self.covariance_type_ = result.covariance_type
        K, d = self.means_.shape
        self.n_parameters_ = K - 1 + K * d + self._n_free_variances(self.covariance_type_, K, d)
        self.lower_bound_ = float(result.log_likelihood[place])
        self.lower_bounds_ = np.array(result.lower_bounds[place])
        if result.n_restarts_agreeing is not None:
            self.n_restarts_agreeing_ = int(result.n_restarts_agreeing[place])
        exact = result.unrounded
        self._unrounded = None if exact is None else tuple(part[place].copy() for part in exact)
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
        parts = self.weights_, self.means_, self.covariances_
        exact = getattr(self, "_unrounded", None)
        if exact is not None and all(
            np.array_equal(whole.astype(part.dtype), part) for whole, part in zip(exact, parts, strict=True)
        ):
            weights, means, covariances = (to_tensor(part) for part in exact)
            return Mixture(weights, means, covariances, kind)
        weights, means, covariances = (to_tensor(part.astype(np.float64, copy=False)) for part in parts)
        if self.weights_.dtype != np.float64:  # rounded, they miss 1 by more than float64 would
            weights = weights / weights.sum()
        return Mixture(weights, means, covariances, kind)

    def _points(self, X: ArrayLike) -> tuple[Tensor, Any]:
        """Points to be judged by a fitted mixture, in float64, and the dtype of what is said of them.

        NotFittedError if there is none yet.
        """
        check_is_fitted(self)
        points = self._validated(X, reset=False)
        dtype = np.result_type(points.dtype, self.means_.dtype)
        return to_tensor(points.astype(np.float64, copy=False)), dtype

    def _validated(self, X: Any, **settings: Any) -> Any:
        """X as (N, d) float64 or float32, finite; scikit-learn's rules set or check n_features_in_."""
        return validate_data(self, X, dtype=["float64", "float32"], order="C", **settings)

    def _generator(self) -> torch.Generator:
        """A torch generator seeded from `random_state`, by scikit-learn's rules for that parameter."""
        return torch.Generator().manual_seed(self._seed())

    def _seed(self) -> int:
        return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))

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


def _fitted_piece(estimator: MixtureEstimator, n_sets: int, piece: Piece) -> list[tuple[Any, Estimates]]:
    """What a worker does: the places of every batch, and their fits."""
    generator, found = piece.generator(), []
    for batch in piece.batches:
        X, weight = batch.read()
        places = Places(batch.places, n_sets)
        fits = estimator._estimates(X, batch.n_components, weight, generator, places)
        found.append((batch.places, fits))
    return found
