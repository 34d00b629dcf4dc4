"""Bundled real data through any estimator: how well its components match the classes, and its likelihood.

The classes are not Gaussian, and no estimator sees them: the adjusted Rand index says how far components and
classes agree, the log-likelihood per point how well the density fits. Densities of different covariance types
are comparable on one data set, as they are in the same units; `n_parameters` says at what price.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from baselines.checks import check_count
from baselines.em_estimator import EMMixture
from baselines.estimator_sets import Array, DataWarning
from baselines.gaussian import COVARIANCE_TYPES
from baselines.metrics import adjusted_rand_index
from baselines.shown import short_repr
from baselines.spectral_estimator import SpectralMixture
from baselines.standardise import standardised

DIGITS_FEATURES = 10  # as many as classes, the fewest with which a spectral estimate exists
SMALL_DIGITS = 5  # classes of the reduced digits: the most that the paper's networks are trained for

# covariance types that scikit-learn's GaussianMixture has too, under its names
PEER_TYPES = {"spherical": "spherical", "diagonal": "diag", "tied": "tied", "full": "full"}


@dataclass(frozen=True, eq=False)
class RealData:
    """Points X (N, d); the class of each, (N,) integers from 0, -1 for none; and how they were prepared.

    n_components is what is fitted, the number of classes unless given.
    """

    name: str
    X: Array
    classes: NDArray[np.int64]
    treatment: str
    n_components: int | None = None

    __repr__ = short_repr

    @property
    def n_classes(self) -> int:
        """K of every estimator."""
        return int(self.classes.max()) + 1 if self.n_components is None else self.n_components


@dataclass(frozen=True)
class RealDataRow:
    """One estimator on one data set, fitted with n_components = the number of classes.

    adjusted_rand_index  of `predict` with the classes: 1 for equal groupings, 0 on average for random ones.
    log_likelihood       log p(x_n) averaged over the points fitted, natural log.
    n_parameters         free parameters of the density.
    problem              empty, or why there is no estimate (the figures are then NaN, 0 and False), or why it
                         is doubtful.
    """

    data: str
    n_samples: int
    n_features: int
    n_components: int
    estimator: str
    adjusted_rand_index: float = np.nan
    log_likelihood: float = np.nan
    n_parameters: int = 0
    converged: bool = False
    problem: str = ""


def real_data_sets(n_features: int | None = None) -> list[RealData]:
    """Iris, wine, breast cancer and digits as scikit-learn bundles them, and the first five of the digits.

    Every column is measured from its average in units of its standard deviation; constant ones are left out.
    Digits are then reduced to 10 principal components, which are not rescaled again. With `n_features` every
    data set is reduced to that many, and one with fewer columns is left out. ValueError for n_features below
    1 or above 10.
    """
    if n_features is not None:
        check_count("n_features", n_features)
        if n_features > DIGITS_FEATURES:
            raise ValueError(f"n_features is {n_features}, needs at most {DIGITS_FEATURES}")
    digits, labels = datasets.load_digits(return_X_y=True)
    few = labels < SMALL_DIGITS
    raw = {
        "iris": datasets.load_iris(return_X_y=True),
        "wine": datasets.load_wine(return_X_y=True),
        "breast cancer": datasets.load_breast_cancer(return_X_y=True),
        "digits": (digits, labels),
        f"digits 0-{SMALL_DIGITS - 1}": (digits[few], labels[few]),
    }
    found = []
    for name, (X, classes) in raw.items():
        reduced = DIGITS_FEATURES if "digits" in name else None
        treated = _treated(name, np.asarray(X, dtype=np.float64), np.asarray(classes), n_features or reduced)
        found.extend([] if treated is None else [treated])
    return found


def _treated(name: str, X: Array, classes: NDArray[np.int64], n_features: int | None) -> RealData | None:
    """Standardised, and reduced to n_features principal components; None where X has fewer columns."""
    X, _ = standardised(X)
    if n_features is None or n_features == X.shape[1]:
        return RealData(name, X, classes, "standardised")
    if n_features > X.shape[1]:
        return None
    X = PCA(n_features, svd_solver="full").fit_transform(X)
    return RealData(name, X, classes, f"standardised, {n_features} principal components")


def real_data_estimators(random_state: int = 0) -> dict[str, Any]:
    """EM of every covariance type, scikit-learn's of those it has, ten starts each; the spectral method."""
    shared: dict[str, Any] = {"n_init": 10, "max_iter": 1000, "random_state": random_state}
    estimators: dict[str, Any] = {
        f"EM, {kind}": EMMixture(covariance_type=kind, **shared) for kind in COVARIANCE_TYPES
    }
    for kind, name in PEER_TYPES.items():
        estimators[f"scikit-learn, {kind}"] = GaussianMixture(covariance_type=name, **shared)
    estimators["spectral"] = SpectralMixture(random_state=random_state)
    return estimators


def real_data_table(
    estimators: Mapping[str, Any], data: Sequence[RealData] | None = None
) -> list[RealDataRow]:
    """Every estimator fitted to every data set (`real_data_sets()` unless given), K the number of classes.

    An estimator is any MixtureEstimator or GaussianMixture of scikit-learn's; it is cloned. One that refuses
    a data set by a ValueError, or warns that it has not converged or is not made for it, has that in its row.
    """
    sets = real_data_sets() if data is None else data
    return [_row(one, name, estimator) for one in sets for name, estimator in estimators.items()]


def _row(data: RealData, name: str, estimator: Any) -> RealDataRow:
    model: Any = clone(estimator)
    model.set_params(n_components=data.n_classes)
    N, d = data.X.shape
    described: dict[str, Any] = {
        "data": data.name,
        "n_samples": N,
        "n_features": d,
        "n_components": data.n_classes,
        "estimator": name,
    }
    with warnings.catch_warnings(record=True) as caught:
        for category in (ConvergenceWarning, DataWarning):
            warnings.simplefilter("always", category)
        try:
            model.fit(data.X)
        except ValueError as problem:
            return RealDataRow(**described, problem=str(problem))
    known = torch.from_numpy(data.classes >= 0)
    labels = torch.from_numpy(np.asarray(model.predict(data.X), dtype=np.int64))[known]
    classes = torch.from_numpy(data.classes)[known]
    level = float(model.score(data.X))
    return RealDataRow(
        **described,
        adjusted_rand_index=float(adjusted_rand_index(labels, classes)) if known.any() else np.nan,
        log_likelihood=level,
        n_parameters=round((model.aic(data.X) + 2 * N * level) / 2),  # aic = -2 N level + 2 n_parameters
        converged=bool(model.converged_),
        problem="; ".join(str(warning.message) for warning in caught),
    )
