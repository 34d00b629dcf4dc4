"""What the deep clusterings of this room share as scikit-learn estimators: checks, units, random numbers."""

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from baselines.deep.autoencoder import Autoencoder, pretrain
from baselines.estimator_sets import as_count

MOST_UNITS = 1e9
"""Of a coordinate, in deviations of the points fitted: float32 holds squares up to 3e38."""
MOST_LATENT = 10
"""Latent coordinates unless told otherwise, and never more than d."""


class DeepClustering(ClusterMixin, BaseEstimator, metaclass=ABCMeta):
    """Groups of points found in the latent space of an autoencoder that is trained on them.

    Points are centred and divided by one number for the networks, which is no choice of the metric:

        u = (x - average) / scale,    scale^2 = the mean variance of a coordinate.
    """

    n_clusters: Any
    hidden: Any
    n_latent: Any
    pretrain_steps: Any
    batch_size: Any
    random_state: Any
    labels_: NDArray[np.int64]
    centre_: NDArray[np.float64]
    scale_: float
    n_features_in_: int

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """The group of every point: X (N, d) -> (N,)."""
        return self._shares(self._points(X)).argmax(-1).numpy()

    @abstractmethod
    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Train on X (N, d) and group it; y is ignored."""

    @abstractmethod
    def _shares(self, u: Tensor) -> Tensor:
        """How much each point belongs to each group: (N, d) -> (N, K)."""

    def _begin(self, X: ArrayLike) -> tuple[Tensor, int, torch.Generator]:
        """Points in units of the networks, K and the generator of all draws; sets what `_in_units` needs."""
        points = self._validated(X, reset=True)
        K = as_count("n_clusters", self.n_clusters)
        if len(points) < K:
            raise ValueError(f"X with n_samples = {len(points)} needs at least n_clusters = {K}")
        self.centre_ = points.mean(0)
        self.scale_ = float(np.sqrt(np.square(points - self.centre_).mean()))
        if not 0 < self.scale_ < np.inf:
            raise ValueError(f"X has a spread of {self.scale_:g}, needs one above 0 that float64 can square")
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        return self._in_units(points), K, torch.Generator().manual_seed(int(seed))

    def _points(self, X: ArrayLike) -> Tensor:
        """Points like those fitted, in units of the networks."""
        check_is_fitted(self)
        return self._in_units(self._validated(X, reset=False))

    def _validated(self, X: Any, reset: bool) -> Any:
        return validate_data(self, X, dtype=np.float64, reset=reset)

    def _in_units(self, points: NDArray[np.float64]) -> Tensor:
        """ValueError for points so far from those fitted that float32 does not hold their squares."""
        inside = (points - self.centre_) / self.scale_
        largest = float(np.abs(inside).max(initial=0.0))
        if largest > MOST_UNITS:
            raise ValueError(
                f"X has a point {largest:.3g} deviations from the points fitted, needs at most {MOST_UNITS:g}"
            )
        return torch.from_numpy(inside).float()

    def _pretrained(self, u: Tensor, rate: float, generator: torch.Generator) -> tuple[Autoencoder, Tensor]:
        """An autoencoder trained on u (N, d), and the latent points (N, n_latent)."""
        autoencoder = Autoencoder(u.shape[1], *self._sizes(), generator)
        pretrain(autoencoder, u, self.pretrain_steps, self.batch_size, rate, generator)
        with torch.no_grad():
            return autoencoder, autoencoder.encoder(u)

    def _sizes(self) -> tuple[tuple[int, ...], int]:
        """Hidden widths and latent coordinates, checked."""
        if not isinstance(self.hidden, Sequence) or isinstance(self.hidden, str):
            raise ValueError(f"hidden is {self.hidden!r}, needs a sequence of widths, as (64, 64)")
        hidden = tuple(as_count("a width of hidden", width) for width in self.hidden)
        latent = min(MOST_LATENT, self.n_features_in_) if self.n_latent is None else self.n_latent
        return hidden, as_count("n_latent", latent)


def as_rate(name: str, value: object) -> float:
    """`value` as a finite number above 0; ValueError for anything else."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
        raise ValueError(f"{name} is {value!r}, needs a finite number above 0")
    return float(value)
