"""What EMMixture does differently where values are missing or one component is noise."""

from abc import ABCMeta
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from baselines import gaussian
from baselines.em import Status, named_start
from baselines.estimator import FittedMixtures, MixtureEstimator
from baselines.estimator_sets import Array, BatchFit, Estimates, as_amount, as_count, estimates, to_tensor
from baselines.families.names import Family, family_of
from baselines.incomplete.conditional import Observed, observe
from baselines.incomplete.loop import IncompleteFit, log_joint, run_incomplete
from baselines.mixture import Mixture
from baselines.points import prepare
from baselines.starts import STARTS

MISSING = (None, "conditional")
FIRST_NOISE = 0.05  # pi_0 at the start


class IncompleteMixture(MixtureEstimator, metaclass=ABCMeta):
    """A MixtureEstimator with the options `missing` and `noise`; without them all is as it was.

    With noise=True weights_ (K,) sum to 1 - noise_weight_, and

    noise_weight_  pi_0, estimated.
    noise_box_     (2, d): least and largest value of every column; the noise is uniform between, 0 outside.
    """

    covariance_type: Any
    init: Any
    n_init: Any
    max_iter: Any
    tol: Any
    reg_covar: Any
    missing: Any
    noise: Any
    noise_weight_: float
    noise_box_: Array

    def fit_many(self, X: Any, n_components: Any = None) -> FittedMixtures:
        if self._is_open():
            raise ValueError(
                f"missing is {self.missing!r} and noise {self.noise!r}, needs None and False for fit_many: "
                "with them fit one data set at a time"
            )
        return super().fit_many(X, n_components)

    def score_samples(self, X: ArrayLike) -> Array:
        """log p(x_n) of every point, of its observed coordinates where some are missing: (N,)."""
        if not self._is_open():
            return super().score_samples(X)
        return self._open_joint(X).logsumexp(0).numpy()

    def predict_proba(self, X: ArrayLike) -> Array:
        """P(component k | x_n), (N, K); with noise (N, K + 1), the noise last. Rows sum to 1."""
        if not self._is_open():
            return super().predict_proba(X)
        return torch.softmax(self._open_joint(X), 0).mT.numpy()

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """The most probable component of every point, -1 for the noise: (N,)."""
        if not self._is_open():
            return super().predict(X)
        joint = self._open_joint(X)
        labels = joint.argmax(0)
        return (labels.where(labels < len(self.means_), -1)).numpy()

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

    def _validated(self, X: Any, **settings: Any) -> Array:
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
        weights = to_tensor(self.weights_ / self.weights_.sum())
        return Mixture(weights, to_tensor(self.means_), to_tensor(self.covariances_), kind)

    def _take(self, result: FittedMixtures, place: int) -> Self:
        super()._take(result, place)
        if self.noise:
            self.weights_ = self.weights_ * (1 - self.noise_weight_)
            self.n_parameters_ += 1
        return self

    def _open_joint(self, X: ArrayLike) -> Tensor:
        points = observe(self._points(X))
        mixture = self._mixture()
        if not self.noise:
            return log_joint(points, mixture, 0.0, None)
        return log_joint(points, mixture, self.noise_weight_, _log_noise(points, to_tensor(self.noise_box_)))

    def _estimates(
        self, X: Array, n_components: int, sample_weight: Array | None, generator: torch.Generator
    ) -> Estimates:
        if not self._is_open():
            return super()._estimates(X, n_components, sample_weight, generator)
        family = family_of(self.covariance_type)
        if self.missing is not None and family.layout not in ("diagonal", "full"):
            raise ValueError(
                f"covariance_type is {self.covariance_type!r}, needs one laid out as diagonal or full with "
                "missing = 'conditional'"
            )
        weight = np.ones(X.shape[:2]) if sample_weight is None else sample_weight
        kept = weight[0] > 0
        fit, centre = self._open_fit(
            to_tensor(X[0][kept]), to_tensor(weight[0][kept]), n_components, family, generator
        )
        found = fit.mixture
        covariances = found.covariances
        mixture = Mixture(
            found.weights[None],
            (found.means + centre)[None],
            None if covariances is None else covariances[None],
            found.covariance_type,
        )
        problems = {} if fit.status == Status.CONVERGED else {0: self._problem(fit.status, fit.component)}
        level = torch.tensor([fit.log_likelihood], dtype=torch.float64)
        steps = torch.tensor([fit.n_iter])
        batch = BatchFit(mixture, torch.ones(1, dtype=torch.bool), problems, steps, level)
        return estimates(batch, mixture, level)

    def _open_fit(
        self, X: Tensor, weight: Tensor, n_components: int, family: Family, generator: torch.Generator
    ) -> tuple[IncompleteFit, Tensor]:
        """The likeliest of n_init fits of X (N, d), about the centre (d,) that is returned."""
        _check_columns(X)
        points = observe(X)
        centre = _column_averages(points, weight)
        filled = torch.where(points.mask, X, centre)
        log_noise, noise = None, 0.0
        if self.noise:
            box = torch.stack(
                [_least(points), -_least(Observed(-points.values, points.patterns, points.pattern))]
            )
            self.noise_box_ = box.numpy()
            log_noise, noise = _log_noise(points, box), FIRST_NOISE
        centred = Observed(torch.where(points.mask, X - centre, 0.0), points.patterns, points.pattern)
        ready = prepare(filled[None], weight[None], None)
        best = None
        for restart in range(as_count("n_init", self.n_init)):
            start = self._open_start(ready, n_components, family, restart, generator)
            start = Mixture(
                start.weights,
                start.means + (ready.centre[0] - centre),
                start.covariances,
                start.covariance_type,
            )
            fit = run_incomplete(
                centred,
                weight,
                start,
                family,
                noise,
                log_noise,
                as_count("max_iter", self.max_iter),
                self.tol,
                as_amount("reg_covar", self.reg_covar),
            )
            if best is None or _better(fit, best):
                best = fit
        if best is None:
            raise ValueError(f"n_init is {self.n_init!r}, needs an integer of at least 1")
        if self.noise:
            self.noise_weight_ = best.noise
        return best, centre

    def _open_start(
        self, points: Any, n_components: int, family: Family, restart: int, generator: torch.Generator
    ) -> Mixture:
        """A start about the centre of the points, whose gaps are filled with averages of columns."""
        reg_covar = as_amount("reg_covar", self.reg_covar)
        if not isinstance(self.init, str):
            given = self._start(self.init, points.X, n_components, points.sample_weight)
            covariances = given.covariances
            return Mixture(
                given.weights[0],
                given.means[0] - points.centre[0],
                None if covariances is None else covariances[0],
                family.layout,
            )
        if self.init not in STARTS:
            raise ValueError(
                f"init is {self.init!r}, needs an array (K, d) of means or one of {', '.join(STARTS)}"
            )
        rule = "k-means" if self.init == "ward" and restart else self.init
        drawn = named_start(points, n_components, family, rule, reg_covar, generator)
        covariances = drawn.covariances
        return Mixture(
            drawn.weights[0], drawn.means[0], None if covariances is None else covariances[0], family.layout
        )

    def _start(self, init: Any, X: Tensor, n_components: int, sample_weight: Tensor | None) -> Mixture:
        raise NotImplementedError

    def _problem(self, status: Status, component: int) -> str:
        raise NotImplementedError


def _better(fit: IncompleteFit, best: IncompleteFit) -> bool:
    ends = fit.status <= Status.MAX_ITER, best.status <= Status.MAX_ITER
    return ends[0] > ends[1] or (ends[0] == ends[1] and fit.log_likelihood > best.log_likelihood)


def _check_columns(X: Tensor) -> None:
    empty = torch.isnan(X).all(0)
    if empty.any():
        column = int(empty.long().argmax())
        raise ValueError(f"X has no value in column {column}, needs at least one in every column")


def _column_averages(points: Observed, weight: Tensor) -> Tensor:
    """Weighted averages of the values observed, (d,)."""
    seen = points.mask * weight.unsqueeze(-1)
    return (seen * points.values).sum(0) / seen.sum(0)


def _least(points: Observed) -> Tensor:
    return torch.where(points.mask, points.values, torch.inf).amin(0)


def _log_noise(points: Observed, box: Tensor) -> Tensor:
    """log 1/V_o of every point, -inf outside the box: (N,). ValueError for a box without volume."""
    sides = box[1] - box[0]
    if not (sides > 0).all():
        column = int((sides <= 0).long().argmax())
        raise ValueError(f"column {column} of X is constant, needs two values for noise = True")
    inside = ((points.values >= box[0]) & (points.values <= box[1])) | ~points.mask
    densities = -torch.where(points.mask, sides.log(), 0.0).sum(-1)
    return densities.where(inside.all(-1), -torch.inf)
