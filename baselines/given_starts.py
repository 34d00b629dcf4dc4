"""Starts that somebody gives an estimator: weights, means and precisions as arrays, checked, for a batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.estimator_sets import to_tensor
from baselines.gaussian import ISOTROPIC
from baselines.mixture import Mixture
from baselines.precisions import covariances_of

Array = NDArray[np.float64]


Chosen = tuple[Sequence[int], int] | None  # the G data sets of a batch and how many there are; None for `fit`


def given_array(name: str, given: Any, own: tuple[int, ...], what: str, places: Chosen) -> Array | None:
    """`given` as float64 of shape `own`, or (G, *own) where it has one entry for each data set of a fit_many.

    None stays None. ValueError for another shape.
    """
    return None if given is None else _array(name, given, own, what, places)


def _array(name: str, given: Any, own: tuple[int, ...], what: str, places: Chosen) -> Array:
    values = np.asarray(given, dtype=np.float64)
    if values.shape == own:
        return values
    if places is not None and values.shape == (places[1], *own):
        return values[list(places[0])]
    wanted = f"{own}: {what}" if places is None else f"{own}: {what}, or one for each data set in front"
    raise ValueError(f"{name} has shape {values.shape}, needs {wanted}")


def given_weights(name: str, given: Any, n_components: int, places: Chosen) -> Tensor | None:
    """Weights (..., K) > 0 summing to 1 within sqrt(eps), as scikit-learn's but none of them 0."""
    values = given_array(name, given, (n_components,), "(n_components,)", places)
    if values is None:
        return None
    tolerance = np.finfo(np.float64).eps ** 0.5
    if not (values > 0).all():
        raise ValueError(f"{name} has the least value {values.min()}, needs values > 0")
    off = np.abs(values.sum(-1) - 1)
    if not (off <= tolerance).all():
        total = values.sum(-1).flat[off.argmax()]
        raise ValueError(f"{name} sums to {total}, needs 1 within {tolerance:.1e}")
    return to_tensor(values)


def given_means(name: str, given: Any, shape: tuple[int, int], places: Chosen) -> Tensor:
    """Finite means (..., K, d) of shape (K, d)."""
    values = _array(name, given, shape, "(n_components, n_features)", places)
    if not np.isfinite(values).all():
        place = [int(i) for i in np.argwhere(~np.isfinite(values))[0]]
        raise ValueError(f"{name}{place} is {values[tuple(place)]}, needs finite values")
    return to_tensor(values)


def given_covariances(name: str, values: Array | None, covariance_type: str) -> Tensor | None:
    """Covariances as Mixture lays them out, from precisions in scikit-learn's shapes.

    ValueError where they are no precisions; for "unit", which has none to give; and for "tied_spherical"
    unless the K of them are equal.
    """
    if values is None:
        return None
    if covariance_type == "unit":
        raise ValueError(f'{name} is given, needs None for covariance_type "unit": precisions are 1')
    found = torch.from_numpy(covariances_of(name, values, covariance_type))
    if covariance_type != "tied_spherical":
        return found
    if not (values == values[..., :1]).all():
        raise ValueError(
            f'{name} has different values, needs equal ones for covariance_type "tied_spherical"'
        )
    return found[..., 0]


def precision_shape(covariance_type: str, n_components: int, n_features: int) -> tuple[int, ...]:
    """scikit-learn's shape of precisions and covariances."""
    K, d = n_components, n_features
    if covariance_type in ISOTROPIC:
        return (K,)
    return {"diagonal": (K, d), "tied": (d, d), "full": (K, d, d)}[covariance_type]


def fitted_start(estimator: Any, covariance_type: str, n_components: int, n_features: int) -> Mixture:
    """What a fitted estimator holds, for warm_start; ValueError where it is not of what is asked for now."""
    fitted = (estimator.covariance_type_, *estimator.means_.shape)
    wanted = (covariance_type, n_components, n_features)
    if fitted != wanted:
        raise ValueError(
            f"warm_start goes on from (covariance_type, n_components, n_features) = {fitted}, needs {wanted}"
        )
    found = estimator._mixture()
    covariances = found.covariances
    if covariance_type in ("unit", "tied_spherical"):  # the attribute repeats the one variance
        covariances = None if covariance_type == "unit" else covariances[0]
    return Mixture(found.weights, found.means, covariances, covariance_type)
