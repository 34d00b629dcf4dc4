"""What `fit_many` hands back: the fits of many data sets as arrays, each one as an estimator, and parts."""

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from baselines.estimator_sets import Array, Arrays, Estimates
from baselines.precisions import precisions, precisions_cholesky
from baselines.rows import Rows
from baselines.shown import short_repr

NAMES = (*("weights", "means", "covariances", "log_likelihood", "found", "converged", "n_iter", "agreeing"),)
"""Fields of Estimates with a row for each data set."""


@dataclass(frozen=True, eq=False)
class FittedMixtures:
    """What `fit_many` found for B data sets; `result[i]` is a fitted estimator for the i-th, not refitted.

    `result[2:5]`, `result[[0, 3]]` and `result[result.converged]` are the FittedMixtures of some of them, and
    `one + other` of both, in this order.

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
    lower_bounds     B arrays: lower_bounds_ of all.
    n_restarts_agreeing    (B,) integers, None where the method has no restarts.
    unrounded        weights, means and covariances in float64, where those above are float32; else None.
    """

    estimator: Any
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
    lower_bounds: Sequence[Array] = field(default=(), repr=False)
    n_restarts_agreeing: NDArray[np.int64] | None = None
    unrounded: tuple[Arrays, Arrays, Arrays] | None = field(default=None, repr=False)

    __repr__ = short_repr

    @property
    def precisions(self) -> Arrays:
        """precisions_ of all: S_k^-1 in the layout of the covariances."""
        return self._of_covariances(precisions)

    @property
    def precisions_cholesky(self) -> Arrays:
        """precisions_cholesky_ of all: P_k with S_k^-1 = P_k P_k^T in the layout of the covariances."""
        return self._of_covariances(precisions_cholesky)

    def __len__(self) -> int:
        return len(self.n_components)

    def __getitem__(self, index: Any) -> Any:
        """The fitted estimator of one data set, or the fits of those that a slice, places or a mask select.

        ValueError where one data set has no estimate; IndexError for places that there are not.
        """
        if isinstance(index, slice | list | tuple | np.ndarray):
            return self._part(np.arange(len(self))[list(index) if isinstance(index, tuple) else index])
        place = range(len(self))[operator.index(index)]
        if not self.found[place]:
            raise ValueError(f"X[{place}] has no estimate: {self.problems[place]}")
        model: Any = clone(self.estimator)
        model.set_params(n_components=int(self.n_components[place]))
        return model._take(self, place)

    def __add__(self, other: "FittedMixtures") -> "FittedMixtures":
        """The fits of both, those of `other` behind these. ValueError unless one estimator made both."""
        if not isinstance(other, FittedMixtures):
            return NotImplemented
        mine, theirs = (_settings(part.estimator) for part in (self, other))
        for name in sorted(mine.keys() | theirs.keys()):
            if repr(mine.get(name)) != repr(theirs.get(name)):
                raise ValueError(
                    f"the fits to be joined have {name} = {mine.get(name)!r} and {theirs.get(name)!r}, "
                    "needs fits of one estimator with the same parameters"
                )
        if len(self) and len(other) and self.means[0].shape[-1] != other.means[0].shape[-1]:
            raise ValueError(
                f"the fits to be joined have {self.means[0].shape[-1]} and {other.means[0].shape[-1]} "
                "features, needs the same number"
            )
        return _joined(self, other)

    def _of_covariances(self, function: Any) -> Arrays:
        if isinstance(self.covariances, list):
            return [function(values, self.covariance_type) for values in self.covariances]
        return function(self.covariances, self.covariance_type)

    def _part(self, places: NDArray[np.int64]) -> "FittedMixtures":
        def chosen(values: Any) -> Any:
            if values is None or isinstance(values, np.ndarray):
                return values if values is None else values[places]
            rows = [values[place] for place in places]
            if isinstance(values, list) and rows and isinstance(rows[0], np.ndarray):
                return _stacked(rows)
            return rows

        def lines(of: Mapping[int, str]) -> dict[int, str]:
            return {row: of[place] for row, place in enumerate(places.tolist()) if place in of}

        unrounded = None if self.unrounded is None else tuple(chosen(part) for part in self.unrounded)
        names = self.feature_names
        return replace(
            self,
            n_components=self.n_components[places],
            weights=chosen(self.weights),
            means=chosen(self.means),
            covariances=chosen(self.covariances),
            log_likelihood=self.log_likelihood[places],
            found=self.found[places],
            converged=self.converged[places],
            n_iter=chosen(self.n_iter),
            problems=lines(self.problems),
            remarks=lines(self.remarks),
            feature_names=None if names is None else [names[place] for place in places],
            lower_bounds=[self.lower_bounds[place] for place in places],
            n_restarts_agreeing=chosen(self.n_restarts_agreeing),
            unrounded=unrounded,
        )


def joined_groups(
    estimator: Any,
    counts: Sequence[int],
    parts: Iterable[tuple[Sequence[int], Estimates]],
    dtype: Any,
    names: Sequence[NDArray[np.object_] | None] | None = None,
) -> FittedMixtures:
    """The results of the groups in the order of the data sets, their parameters in `dtype`.

    Each part is put in its place as it comes, and not kept.
    """
    found = _Collected(counts)
    for places, part in parts:
        found.add(places, part)
    exact = tuple(found.rows(name) for name in ("weights", "means", "covariances"))
    weights, means, covariances = (_rounded(values, dtype) for values in exact)
    return FittedMixtures(
        estimator,
        np.array(counts),
        weights,
        means,
        covariances,
        found.covariance_type,
        found.rows("log_likelihood"),
        found.rows("found"),
        found.rows("converged"),
        found.rows("n_iter"),
        dict(sorted(found.problems.items())),
        dict(sorted(found.remarks.items())),
        names,
        Rows.placed(found.histories, len(counts)),
        found.rows("agreeing"),
        None if dtype == np.float64 else exact,
    )


class _Collected:
    """The parts that are there: one array of each kind if all sets have one K, else a list of rows."""

    def __init__(self, counts: Sequence[int]) -> None:
        self.n_sets, self.alike = len(counts), len(set(counts)) == 1
        self.values: dict[str, Any] = {}
        self.problems: dict[int, str] = {}
        self.remarks: dict[int, str] = {}
        self.histories: list[tuple[Sequence[int], Rows]] = []
        self.covariance_type = ""
        self._lines: dict[str, str] = {}

    def add(self, places: Sequence[int], part: Estimates) -> None:
        """Put each row in its place."""
        where = slice(places.start, places.stop) if isinstance(places, range) else list(places)
        for name in NAMES:
            values = getattr(part, name)
            if values is None:
                continue
            if not (self.alike or values.ndim == 1):
                rows = self.values.setdefault(name, [np.empty(0)] * self.n_sets)
                for place, row in zip(places, values, strict=True):
                    rows[place] = row
                continue
            if name not in self.values:
                self.values[name] = np.empty((self.n_sets, *values.shape[1:]), values.dtype)
            self.values[name][where] = values
        for all_lines, lines in ((self.problems, part.problems), (self.remarks, part.remarks)):
            for row, line in lines.items():  # a million sets often have one and the same line
                all_lines[places[row]] = self._lines.setdefault(line, line)
        self.histories.append((places, part.lower_bounds))
        self.covariance_type = part.covariance_type

    def rows(self, name: str) -> Any:
        """In the order of the data sets: one array if they have one shape, else a list; None of nothing."""
        values = self.values.get(name)
        return _stacked(values) if isinstance(values, list) else values


def _rounded(values: Arrays, dtype: Any) -> Any:
    if isinstance(values, list):
        return [row.astype(dtype, copy=False) for row in values]
    return values.astype(dtype, copy=False)


def _stacked(rows: Sequence[Array]) -> Arrays:
    return np.stack(rows) if len({row.shape for row in rows}) == 1 else list(rows)


def _settings(estimator: Any) -> dict[str, Any]:
    """What has to agree: the class and its parameters but n_components and random_state."""
    parameters = estimator.get_params()
    kept = {name: value for name, value in parameters.items() if name not in ("n_components", "random_state")}
    return {"class": type(estimator).__name__, **kept}


def _joined(one: FittedMixtures, other: FittedMixtures) -> FittedMixtures:
    def rows(name: str) -> Any:
        return _stacked([*getattr(one, name), *getattr(other, name)])

    def optional(name: str) -> Any:
        values = [getattr(part, name) for part in (one, other)]
        return None if values[0] is None or values[1] is None else np.concatenate(values)

    def lines(name: str) -> dict[int, str]:
        return {
            **getattr(one, name),
            **{len(one) + place: line for place, line in getattr(other, name).items()},
        }

    def names(part: FittedMixtures) -> list[NDArray[np.object_] | None]:
        return [None] * len(part) if part.feature_names is None else [*part.feature_names]

    unnamed = one.feature_names is None and other.feature_names is None
    exact = None
    if one.unrounded is not None or other.unrounded is not None:
        both = [part.unrounded or (part.weights, part.means, part.covariances) for part in (one, other)]
        weights, means, covariances = (_stacked([*mine, *theirs]) for mine, theirs in zip(*both, strict=True))
        exact = weights, means, covariances
    return FittedMixtures(
        one.estimator,
        rows("n_components"),
        rows("weights"),
        rows("means"),
        rows("covariances"),
        one.covariance_type,
        rows("log_likelihood"),
        rows("found"),
        rows("converged"),
        optional("n_iter"),
        lines("problems"),
        lines("remarks"),
        None if unnamed else names(one) + names(other),
        [*one.lower_bounds, *other.lower_bounds],
        optional("n_restarts_agreeing"),
        exact,
    )
