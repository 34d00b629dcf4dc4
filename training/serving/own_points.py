"""A person's points through every estimator: their table, and the fit that BIC prefers, printed and kept."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from baselines.estimator import MixtureEstimator
from baselines.estimator_sets import DataWarning
from baselines.gaussian import ISOTROPIC
from baselines.real_data import RealData, RealDataRow
from baselines.standardise import standardised
from console.errors import BadInputError
from console.fit_table import Fit, print_fit
from console.folder import file_digest
from console.streams import printable
from console.table_file import Chosen, Points, read_points


@dataclass(frozen=True)
class OwnPoints:
    """What of a person's file is fitted, as the options say it."""

    path: Path
    asked: Chosen
    components: int | None
    standardise: bool

    def read(self) -> tuple[Points, RealData]:
        """The file, and its points as a data set whose classes are the labels.

        Raises:
            BadInputError: not such a file, no number of components, or more of them than points.
        """
        points = read_points(self.path, self.asked)
        groups = [] if points.labels is None else points.labels.groups
        K, name, most = self.components or len(groups), printable(self.path.name), len(points.X)
        if not K:
            raise BadInputError(
                f"--components is missing: give the number of components of {name}, as in --components 3"
            )
        if most < K:
            raise BadInputError(f"--components {K}: {name} has {most} points; 1 to {most} are possible")
        values = ("",) * len(points.X) if points.labels is None else points.labels.values
        classes = np.array([groups.index(value) if value else -1 for value in values], dtype=np.int64)
        if not self.standardise:
            return points, RealData(name, points.X, classes, "as given", K)
        X, kept = standardised(points.X)
        names = tuple(name for name, stays in zip(points.names, kept, strict=True) if stays)
        return Points(X, names, points.read, points.remarks, points.labels), RealData(
            name, X, classes, "standardised", K
        )

    def plain(self) -> dict[str, Any]:
        """What decides the figures."""
        return {
            "data": file_digest(self.path),
            "components": self.components,
            "standardise": self.standardise,
        } | vars(self.asked)


def preferred(rows: Sequence[RealDataRow], estimators: Mapping[str, Any]) -> RealDataRow | None:
    """Of our estimators that take the points as they are: the row of least BIC; None where all have failed.

    BIC = p log N - 2 N l with p free parameters and l the log-likelihood per point.
    """
    ours = [
        row
        for row in rows
        if isinstance(estimators.get(row.estimator), MixtureEstimator) and np.isfinite(row.log_likelihood)
    ]
    return min(ours, key=bic, default=None)


def bic(row: RealDataRow) -> float:
    """Less is better, as in scikit-learn."""
    return row.n_parameters * float(np.log(row.n_samples)) - 2 * row.n_samples * row.log_likelihood


def fitted(estimator: MixtureEstimator, row: RealDataRow, data: RealData, columns: Sequence[str]) -> Fit:
    """The same fit again: an estimator with an integer for `random_state` repeats itself."""
    model: Any = clone(estimator)
    model.set_params(n_components=data.n_classes)
    with warnings.catch_warnings():
        for category in (ConvergenceWarning, DataWarning):
            warnings.simplefilter("ignore", category)  # the row says them
        model.fit(data.X)
    kind = "spherical" if model.covariance_type_ in ISOTROPIC else model.covariance_type_
    of = model.weights_.tolist(), model.means_.tolist(), kind, model.covariances_.tolist()
    return Fit(f"The fit of least BIC among ours: {row.estimator}", columns, *of)


def print_preferred(console: Console, fit: Fit, row: RealDataRow, data: RealData) -> None:
    """The fit, and by how much it was preferred."""
    print_fit(console, fit)
    console.print(f"BIC {bic(row):.6g}; data {data.treatment}", highlight=False, markup=False)
