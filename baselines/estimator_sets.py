"""Many data sets at once: what one is checked for, which are fitted together, how results are laid out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_array, validation
from torch import Tensor

from baselines import gaussian
from baselines.checks import check_finite
from baselines.mixture import Mixture
from baselines.rows import Rows
from baselines.shown import short_repr

Array = NDArray[np.float64]
Arrays = Array | list[Array]


class DataWarning(UserWarning):
    """An estimate stands, but the data are not what the method is made for; the message names the remedy."""


@dataclass(frozen=True, eq=False)
class BatchFit:
    """What MixtureEstimator._fit_batch found for B data sets.

    mixture         the estimates, batch shape (B,), of any floating dtype, on any device. What it holds for a
                    data set without an estimate is not read.
    found           (B,) booleans: the data set has an estimate.
    problems        place in 0..B-1 -> one line, for each data set that did not converge; every one that has
                    no estimate is among them.
    n_iter          (B,) steps taken; None where there are none to count.
    history         (B, T): log_likelihood after 0, 1, ..., n_iter steps, NaN after those; None where
                    there are none.
    agreeing        (B,): how many restarts ended at the best optimum; None where there are none.
    converged       (B,) booleans; None for all that have no problem.
    log_likelihood  (B,): sum_n a_n log p(x_n) / sum_n a_n; None has it computed.
    remarks         place -> one line, for each data set that the method is not made for, with the remedy; the
                    estimator gives one DataWarning for all. Converged or not is another matter.
    """

    mixture: Mixture
    found: Tensor
    problems: Mapping[int, str]
    n_iter: Tensor | None = None
    log_likelihood: Tensor | None = None
    remarks: Mapping[int, str] = field(default_factory=dict)
    history: Tensor | None = None
    agreeing: Tensor | None = None
    converged: Tensor | None = None

    __repr__ = short_repr


@dataclass(frozen=True, eq=False)
class Estimates:
    """A BatchFit as numpy arrays in scikit-learn's shapes, NaN for the data sets that have no estimate.

    weights (B, K), means (B, K, d), covariances (B, K), (B, K, d), (B, d, d) or (B, K, d, d),
    log_likelihood (B,) per point, found (B,), n_iter (B,) or None, problems and remarks as in BatchFit,
    lower_bounds B arrays, log_likelihood last in each; agreeing (B,) or None, converged (B,).
    """

    weights: Array
    means: Array
    covariances: Array
    covariance_type: str
    log_likelihood: Array
    found: NDArray[np.bool_]
    n_iter: NDArray[np.int64] | None
    problems: Mapping[int, str]
    remarks: Mapping[int, str]
    lower_bounds: Rows
    agreeing: NDArray[np.int64] | None
    converged: NDArray[np.bool_]

    __repr__ = short_repr


def estimates(batch: BatchFit, mixture: Mixture, log_likelihood: Tensor) -> Estimates:
    """The arrays of a BatchFit, `mixture` and `log_likelihood` being its own in float64 on the CPU."""
    covariances, kind = mixture.covariances, mixture.covariance_type
    if covariances is None or kind in gaussian.ISOTROPIC:
        covariances = gaussian.isotropic_variances(covariances, mixture.weights, kind)
    found = batch.found.cpu()

    def where_found(values: Tensor) -> Array:
        return torch.where(found.reshape(-1, *[1] * (values.dim() - 1)), values, torch.nan).numpy()

    return Estimates(
        where_found(mixture.weights),
        where_found(mixture.means),
        where_found(covariances),
        kind,
        where_found(log_likelihood),
        found.numpy(),
        None if batch.n_iter is None else batch.n_iter.cpu().numpy(),
        batch.problems,
        batch.remarks,
        _histories(batch, log_likelihood),
        None if batch.agreeing is None else batch.agreeing.cpu().numpy(),
        _converged(batch),
    )


def _histories(batch: BatchFit, log_likelihood: Tensor) -> Rows:
    """Levels after every step of each data set; the one of its estimate where no steps are known."""
    if batch.history is None or batch.n_iter is None:
        return Rows(log_likelihood.unsqueeze(-1).numpy())
    history = batch.history.to(dtype=torch.float64, device="cpu").numpy()
    return Rows(row[: count + 1] for row, count in zip(history, batch.n_iter.tolist(), strict=True))


def _converged(batch: BatchFit) -> NDArray[np.bool_]:
    if batch.converged is not None:
        return batch.converged.cpu().numpy()
    return np.array([place not in batch.problems for place in range(len(batch.found))])


def without(batch: BatchFit, lost: Tensor) -> BatchFit:
    """The same fits, but none for the data sets where `lost` (B,): their squared distances overflow."""
    line = "squared distances of its points leave the range of float64; scale the data"
    places = lost.nonzero().squeeze(-1).tolist()
    return replace(
        batch,
        found=batch.found & ~lost.to(batch.found.device),
        problems=dict(batch.problems) | dict.fromkeys(places, line),
        converged=None if batch.converged is None else batch.converged & ~lost.to(batch.converged.device),
        remarks={place: text for place, text in batch.remarks.items() if place not in set(places)},
    )


def to_double(mixture: Mixture) -> Mixture:
    """The mixture in float64 on the CPU; weights of a narrower dtype are divided by their sum there."""
    if mixture.means.dtype == torch.float64:
        return mixture.to(device="cpu")
    weights = mixture.weights.to(dtype=torch.float64, device="cpu")
    covariances = mixture.covariances
    return Mixture(
        weights / weights.sum(-1, keepdim=True),
        mixture.means.to(dtype=torch.float64, device="cpu"),
        None if covariances is None else covariances.to(dtype=torch.float64, device="cpu"),
        mixture.covariance_type,
    )


def to_tensor(values: Array) -> Tensor:
    """The same numbers as a tensor; they are copied only where numpy may not write to them."""
    return torch.from_numpy(np.require(values, requirements=["C", "W"]))


def as_count(name: str, value: object, least: int = 1) -> int:
    """`value` as an int of at least `least`, numpy's integers included; ValueError for anything else."""
    if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < least:
        raise ValueError(f"{name} is {value!r}, needs an integer of at least {least}")
    return int(value)


def as_amount(name: str, value: object) -> float:
    """`value` as a finite number of at least 0; ValueError for anything else."""
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= float(value) < float("inf"):
        raise ValueError(f"{name} is {value!r}, needs a finite number of at least 0")
    return float(value)


def check_enough(name: str, n_samples: int, n_components: int) -> None:
    """Refuse fewer points than components."""
    if n_samples < n_components:
        raise ValueError(f"{name} has n_samples = {n_samples}, needs at least n_components = {n_components}")


def check_sets(X: Any, least_samples: int) -> Array | list[Array]:
    """X as one array (B, N, d) or a list of B arrays (N_b, d): float64, finite, of one d.

    ValueError otherwise, naming the data set at fault.
    """
    shape = getattr(X, "shape", None)
    if shape is not None:
        if len(shape) != 3 or 0 in shape or shape[1] < least_samples:
            wanted = f"(B, N, d) with B, d >= 1 and N >= {least_samples}, or a sequence of arrays (N_b, d)"
            raise ValueError(f"X has shape {tuple(shape)}, needs {wanted}")
        settings: Any = {"ensure_2d": False, "allow_nd": True, "ensure_all_finite": False}
        points: Any = check_array(X, dtype="float64", order="C", **settings)
        check_finite("X", to_tensor(points))  # unlike scikit-learn's own check it says where
        return points
    if not isinstance(X, Sequence) or isinstance(X, str | bytes) or len(X) == 0:
        raise ValueError(f"X is {X!r:.60}, needs an array (B, N, d) or a sequence of arrays (N_b, d)")
    sets: list[Array] = []
    for place, given in enumerate(X):
        try:
            points = check_array(given, dtype="float64", order="C", ensure_min_samples=least_samples)
        except ValueError as problem:
            raise ValueError(f"X[{place}]: {problem}") from problem
        sets.append(points)
        if points.shape[1] != sets[0].shape[1]:
            raise ValueError(f"X[{place}] has {points.shape[1]} features, needs {sets[0].shape[1]} like X[0]")
    return sets


def common_dtype(X: Any) -> Any:
    """float32 where all data sets are of that dtype, else float64."""
    parts = [X] if hasattr(X, "dtype") else X
    narrow = all(getattr(part, "dtype", None) == np.float32 for part in parts)
    return np.dtype(np.float32 if narrow else np.float64)


def feature_names(X: Any) -> list[NDArray[np.object_] | None] | None:
    """Names of the columns of every data set, by scikit-learn's rules; None where X is no sequence."""
    return [validation._get_feature_names(points) for points in X] if isinstance(X, Sequence) else None


def check_counts(n_components: object, n_sets: int) -> list[int]:
    """K of every data set, from one count for all or one for each; ValueError otherwise."""
    if not isinstance(n_components, Sequence | np.ndarray):
        return [as_count("n_components", n_components)] * n_sets
    if len(n_components) != n_sets:
        raise ValueError(
            f"n_components has {len(n_components)} entries, needs {n_sets}, one for each data set"
        )
    return [as_count(f"n_components[{place}]", K) for place, K in enumerate(n_components)]


def check_weights(sample_weight: Any, lengths: Sequence[int], counts: Sequence[int]) -> list[Array] | None:
    """Sample weights as one array (N_b,) for each data set: >= 0, finite, positive for K points or more.

    ValueError otherwise, naming the data set at fault. None stays None.
    """
    if sample_weight is None:
        return None
    if isinstance(sample_weight, str | bytes) or not hasattr(sample_weight, "__len__"):
        raise ValueError(
            f"sample_weight is {sample_weight!r:.60}, needs one array of weights for each data set"
        )
    if len(sample_weight) != len(lengths):
        raise ValueError(
            f"sample_weight has {len(sample_weight)} entries, needs {len(lengths)}, one for each data set"
        )
    found = [np.asarray(given, dtype=np.float64) for given in sample_weight]
    for place, (weight, length) in enumerate(zip(found, lengths, strict=True)):
        if weight.shape != (length,):
            raise ValueError(f"sample_weight[{place}] has shape {weight.shape}, needs ({length},)")
    together = np.concatenate(found)  # one look at all of them: a thousand sets are checked at once
    if not (np.isfinite(together).all() and (together >= 0).all()):
        place = next(i for i, weight in enumerate(found) if not ((weight >= 0) & (weight < np.inf)).all())
        point = int(np.argmin((found[place] >= 0) & (found[place] < np.inf)))
        raise ValueError(
            f"sample_weight[{place}][{point}] is {found[place][point]}, needs a finite number >= 0"
        )
    present = np.add.reduceat(together > 0, np.cumsum([0, *lengths])[:-1])
    for place in np.flatnonzero(present < np.array(counts)).tolist():
        check_enough_weight(f"X[{place}]", found[place], counts[place])
    return found


def check_enough_weight(name: str, weight: Array, n_components: int) -> None:
    """Refuse fewer points of positive weight than components."""
    fewest = int((weight > 0).sum())
    if fewest < n_components:
        raise ValueError(
            f"{name} has {fewest} points of positive weight, needs at least n_components = {n_components}"
        )


def weighted(padding: Array | None, weights: list[Array] | None, places: Sequence[int]) -> Array | None:
    """The weights (G, N) of the data sets `places`, 0 for padding; `padding` itself where there are none."""
    if weights is None:
        return padding
    lengths = [len(weights[place]) for place in places]
    found = np.zeros((len(places), max(lengths)))
    for row, place in enumerate(places):
        found[row, : lengths[row]] = weights[place]
    return found


def stack(sets: Array | list[Array], places: Sequence[int]) -> tuple[Array, Array | None]:
    """The data sets `places` as X (G, N, d), and weights (G, N): 0 for padding. None where there is none.

    A set is padded by its own first point, which lies among the others and so costs no precision.
    """
    if isinstance(sets, np.ndarray):
        return (sets if len(places) == len(sets) else sets[places]), None
    lengths = np.array([len(sets[place]) for place in places])
    X = np.empty((len(places), lengths.max(), sets[0].shape[1]))
    for row, place in enumerate(places):
        points = sets[place]
        X[row, : len(points)] = points
        X[row, len(points) :] = points[0]
    if (lengths == lengths[0]).all():
        return X, None
    return X, (np.arange(X.shape[1]) < lengths[:, None]).astype(np.float64)
