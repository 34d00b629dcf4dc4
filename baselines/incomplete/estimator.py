"""What EMMixture does differently where values are missing or one component is noise."""

from abc import ABCMeta, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from functools import reduce
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from baselines import gaussian
from baselines.em import AGREE, Status, named_start
from baselines.estimator import FittedMixtures, MixtureEstimator, Places
from baselines.estimator_sets import Array, BatchFit, Estimates, as_amount, as_count, estimates, to_tensor
from baselines.families.names import Family, family_of
from baselines.given_starts import fitted_start
from baselines.incomplete.conditional import Observed, observe
from baselines.incomplete.loop import IncompleteFit, log_joint, run_incomplete
from baselines.mixture import Mixture
from baselines.points import Points, prepare

MISSING = (None, "conditional")
FIRST_NOISE = 0.05  # pi_0 at the start


class IncompleteMixture(MixtureEstimator, metaclass=ABCMeta):
    """A MixtureEstimator with the options `missing` and `noise`; without them all is as it was.

    With noise=True weights_ (K,) sum to 1 - noise_weight_, and

    noise_weight_  pi_0, estimated.
    noise_box_     (2, d): least and largest value of every column; the noise is uniform between, 0 outside.
    """

    covariance_type: Any
    n_init: Any
    max_iter: Any
    tol: Any
    reg_covar: Any
    warm_start: Any
    missing: Any
    noise: Any
    noise_weight_: float
    noise_box_: Array

    def fit_many(
        self,
        X: Any,
        n_components: Any = None,
        sample_weight: Any = None,
        *,
        n_jobs: int | None = None,
        dask: str | None = None,
    ) -> FittedMixtures:
        if self._is_open():
            raise ValueError(
                f"missing is {self.missing!r} and noise {self.noise!r}, needs None and False for fit_many: "
                "with them fit one data set at a time"
            )
        return super().fit_many(X, n_components, sample_weight, n_jobs=n_jobs, dask=dask)

    def score_samples(self, X: ArrayLike) -> Array:
        """log p(x_n) of every point, of its observed coordinates where some are missing: (N,)."""
        if not self._is_open():
            return super().score_samples(X)
        joint, dtype = self._open_joint(X)
        return joint.logsumexp(0).numpy().astype(dtype, copy=False)

    def predict_proba(self, X: ArrayLike) -> Array:
        """P(component k | x_n), (N, K); with noise (N, K + 1), the noise last. Rows sum to 1."""
        if not self._is_open():
            return super().predict_proba(X)
        joint, dtype = self._open_joint(X)
        return torch.softmax(joint, 0).mT.numpy().astype(dtype, copy=False)

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """The most probable component of every point, -1 for the noise: (N,)."""
        if not self._is_open():
            return super().predict(X)
        labels = self._open_joint(X)[0].argmax(0)
        return (labels.where(labels < len(self.means_), -1)).numpy()

    def icl(self, X: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """As that of every mixture, the noise being one more component."""
        if not self._is_open():
            return super().icl(X, sample_weight)
        best = self._open_joint(X)[0].amax(0).numpy()
        level, count = self._total(best, self._weight(sample_weight, best))
        return float(-2 * level + self.n_parameters_ * np.log(count))

    def sample(self, n_samples: int = 1) -> tuple[Array, NDArray[np.int64]]:
        """n_samples independent points (n_samples, d), no gaps, and their components, -1 for noise."""
        X, labels = super().sample(n_samples)
        if not self.noise:
            return X, labels
        generator = np.random.default_rng(int(torch.randint(2**31, (1,), generator=self._generator())))
        drawn = generator.random(len(X)) < self.noise_weight_
        low, high = self.noise_box_
        X[drawn] = generator.uniform(low, high, (int(drawn.sum()), len(low)))
        labels[drawn] = -1
        return X, labels

    def __sklearn_tags__(self) -> Any:
        tags: Any = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing is not None
        return tags

    def _is_open(self) -> bool:
        if self.missing not in MISSING:
            raise ValueError(f"missing is {self.missing!r}, needs None or 'conditional'")
        if not isinstance(self.noise, bool | np.bool_):
            raise ValueError(f"noise is {self.noise!r}, needs True or False")
        return self.missing is not None or bool(self.noise)

    def _scores(self, X: ArrayLike, sample_weight: ArrayLike | None) -> tuple[Array, Array | None]:
        if not self._is_open():
            return super()._scores(X, sample_weight)
        scores = self._open_joint(X)[0].logsumexp(0).numpy()
        return scores, self._weight(sample_weight, scores)

    def _validated(self, X: Any, **settings: Any) -> Any:
        points = super()._validated(X, **{"ensure_all_finite": "allow-nan"} | settings)
        gaps = np.isnan(points)
        if self.missing is None and gaps.any():
            row, column = np.argwhere(gaps)[0]
            raise ValueError(
                f"X contains NaN, first at [{row}, {column}], needs finite values; missing = 'conditional' "
                "takes NaN for a missing value"
            )
        return points

    def _mixture(self) -> Mixture:
        """The Gaussian components alone, their weights summing to 1."""
        if not self.noise:
            return super()._mixture()
        kind = "spherical" if self.covariance_type_ in gaussian.ISOTROPIC else self.covariance_type_
        weights, means, covariances = (
            to_tensor(part.astype(np.float64, copy=False))
            for part in (self.weights_, self.means_, self.covariances_)
        )
        return Mixture(weights / weights.sum(), means, covariances, kind)

    def _take(self, result: FittedMixtures, place: int) -> Self:
        super()._take(result, place)
        if self.noise:
            self.weights_ = self.weights_ * (1 - self.noise_weight_)
            self.n_parameters_ += 1
        return self

    def _open_joint(self, X: ArrayLike) -> tuple[Tensor, Any]:
        """Log joints, (K, N) or with noise (K + 1, N), in float64, and the dtype of what is said of them."""
        values, dtype = self._points(X)
        points, mixture = observe(values), self._mixture()
        if not self.noise:
            return log_joint(points, mixture, 0.0, None), dtype
        box = to_tensor(self.noise_box_)
        return log_joint(points, mixture, self.noise_weight_, _log_noise(points, box)), dtype

    def _estimates(
        self,
        X: Array,
        n_components: int,
        sample_weight: Array | None,
        generator: torch.Generator,
        places: Places | None,
    ) -> Estimates:
        if not self._is_open():
            return super()._estimates(X, n_components, sample_weight, generator, places)
        family = family_of(self.covariance_type)
        if self.missing is not None and family.layout not in ("diagonal", "full"):
            raise ValueError(
                f"covariance_type is {self.covariance_type!r}, needs one laid out as diagonal or full with "
                "missing = 'conditional'"
            )
        weight = np.ones(X.shape[:2]) if sample_weight is None else sample_weight
        kept = weight[0] > 0
        fits, centre = self._open_fits(
            to_tensor(X[0][kept]), to_tensor(weight[0][kept]), n_components, family, generator
        )
        fit = reduce(_better, fits)
        if self.noise:
            self.noise_weight_ = fit.noise
        found, covariances = fit.mixture, fit.mixture.covariances
        mixture = Mixture(
            found.weights[None],
            (found.means + centre)[None],
            None if covariances is None else covariances[None],
            found.covariance_type,
        )
        converged = fit.status == Status.CONVERGED
        told = converged or self.max_iter == 0
        history = torch.tensor([fit.history], dtype=torch.float64)
        agreeing = sum(other.log_likelihood >= fit.log_likelihood - AGREE * self.tol for other in fits)
        batch = BatchFit(
            mixture,
            torch.ones(1, dtype=torch.bool),
            {} if told else {0: self._problem(fit.status, fit.component)},
            torch.tensor([fit.n_iter]),
            history[:, -1],
            history=history,
            agreeing=torch.tensor([agreeing]),
            converged=torch.tensor([converged]),
        )
        return estimates(batch, mixture, history[:, -1])

    def _open_fits(
        self, X: Tensor, weight: Tensor, n_components: int, family: Family, generator: torch.Generator
    ) -> tuple[list[IncompleteFit], Tensor]:
        """The n_init fits of X (N, d) with weights (N,) > 0, about the centre (d,) that is returned."""
        _check_columns(X)
        points = observe(X)
        filled = torch.where(points.mask, X, _column_averages(points, weight))
        ready = prepare(filled[None], weight[None], None)
        centre = ready.centre[0, 0]
        centred = Observed(torch.where(points.mask, X - centre, 0.0), points.patterns, points.pattern)
        log_noise, noise = None, 0.0
        if self.noise:
            box = torch.stack([_ends(points, -1), _ends(points, 1)])
            self.noise_box_ = box.numpy()
            log_noise, noise = _log_noise(points, box), FIRST_NOISE
        reg_covar, tol = as_amount("reg_covar", self.reg_covar), as_amount("tol", self.tol)
        max_iter = as_count("max_iter", self.max_iter, least=0)
        fits = []
        for start in self._open_starts(ready, n_components, family, reg_covar, generator):
            fits.append(
                run_incomplete(centred, weight, start, family, noise, log_noise, max_iter, tol, reg_covar)
            )
        return fits, centre

    def _open_starts(
        self, points: Points, n_components: int, family: Family, reg_covar: float, generator: torch.Generator
    ) -> Iterator[Mixture]:
        """Where the n_init fits start, about the centre; gaps of the points hold averages of columns."""
        n_init, d = as_count("n_init", self.n_init), points.X.shape[-1]
        if self.warm_start and hasattr(self, "means_"):
            found = fitted_start(self, family.layout, n_components, d)
            yield replace(found, means=found.means - points.centre[0])
            return
        init, given = self._start(
            points.X, n_components, family.layout, reg_covar, points.sample_weight, n_init, None
        )
        for restart in range(n_init):
            if isinstance(init, Mixture):
                yield replace(init[0], means=init.means[0] - points.centre[0])
                continue
            rule = "k-means" if init == "ward" and restart else init
            drawn = named_start(points, n_components, family, rule, reg_covar, generator)
            weights, covariances = given.get("weights_init"), given.get("covariances_init")
            if covariances is None and drawn.covariances is not None:
                covariances = drawn.covariances[0]
            weights = drawn.weights[0] if weights is None else weights
            yield Mixture(weights, drawn.means[0], covariances, family.layout)

    @abstractmethod
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

    @abstractmethod
    def _problem(self, status: Status, component: int) -> str:
        """One line for a fit that did not converge."""


def _better(best: IncompleteFit, fit: IncompleteFit) -> IncompleteFit:
    """The one that did not fail, and of two alike the likelier; the first of two equals."""
    keys = [(one.status <= Status.MAX_ITER, one.log_likelihood) for one in (best, fit)]
    return fit if keys[1] > keys[0] else best


def _check_columns(X: Tensor) -> None:
    empty = torch.isnan(X).all(0)
    if empty.any():
        column = int(empty.long().argmax())
        raise ValueError(f"X has no value in column {column}, needs at least one in every column")


def _column_averages(points: Observed, weight: Tensor) -> Tensor:
    """Weighted averages of the values observed, (d,)."""
    seen = points.mask * weight.unsqueeze(-1)
    return (seen * points.values).sum(0) / seen.sum(0)


def _ends(points: Observed, sign: int) -> Tensor:
    """The largest (sign 1) or least (sign -1) value of every column, (d,)."""
    return sign * torch.where(points.mask, sign * points.values, -torch.inf).amax(0)


def _log_noise(points: Observed, box: Tensor) -> Tensor:
    """log 1/V_o of every point, -inf outside the box: (N,). ValueError for a box without volume."""
    sides = box[1] - box[0]
    if not (sides > 0).all():
        column = int((sides <= 0).long().argmax())
        raise ValueError(f"column {column} of X is constant, needs two values for noise = True")
    inside = ((points.values >= box[0]) & (points.values <= box[1])) | ~points.mask
    densities = -torch.where(points.mask, sides.log(), 0.0).sum(-1)
    return densities.where(inside.all(-1), -torch.inf)
