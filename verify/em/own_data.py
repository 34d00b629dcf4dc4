"""A person's data for EM: files and bundled data sets, as they are or treated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.agreement import Agreement, agreement
from baselines.mixture import Mixture
from baselines.standardise import standardised
from console.errors import BadInputError
from console.options import as_typed
from console.streams import printable
from console.table_file import Chosen, Labels, read_points
from verify.engine import options

BUNDLED = ("iris", "wine", "breast_cancer", "digits")

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class UserData:
    """(N, d) points, where they came from, and what was done to them.

    Attributes:
        columns: names of the d columns. labels: what each point is said to be; for comparison alone.
        read: one line, what was read. remarks: one line for each thing that may be meant otherwise.
    """

    name: str
    X: Tensor
    treatment: str
    columns: tuple[str, ...]
    labels: Labels | None = None
    read: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def described(self) -> str:
        """One line: sizes, and in which coordinates estimates are."""
        N, d = self.X.shape
        return f"{self.name}: N = {N}, d = {d}, {self.treatment}. Estimates are in these coordinates."

    @property
    def n_classes(self) -> int | None:
        """How many different labels there are; None without labels."""
        return None if self.labels is None else len(self.labels.groups)

    def components(self, asked: list[int] | None) -> int:
        """K: the one number asked for, else that of the labels.

        Raises:
            BadInputError: none or several.
        """
        counts = asked or ([self.n_classes] if self.n_classes else None)
        if counts is None or len(counts) != 1:
            given = "--components is missing" if counts is None else f"--components {as_typed(counts)}"
            raise BadInputError(
                f"{given}: give one number of components for {self.name}, as in --components 3"
            )
        return counts[0]

    def agreement(self, mixture: Mixture) -> Agreement | None:
        """How the likeliest components of the points agree with the labels; None without labels."""
        if self.labels is None:
            return None
        return agreement(mixture, self.X, self.labels.name, self.labels.values)


@dataclass(frozen=True)
class DataOptions(options.Options):
    """Options of checks that take a person's points. None stands for "choose for me"."""

    data: Path | None
    dataset: str | None
    header: bool | None
    columns: str | None
    drop: str | None
    label: str | None
    standardise: bool | None
    pca: int | None

    def own_points(self) -> UserData | None:
        """Those of --data or --dataset, treated as asked for; None where neither is given.

        Raises:
            BadInputError: both, data that cannot be read, or options that need data.
        """
        asked = Chosen(self.header, self.columns, self.drop, self.label)
        if self.data is None and asked != Chosen():
            raise BadInputError("--header, --columns, --drop, --label need --data")
        if self.data is not None and self.dataset is not None:
            raise BadInputError("give --data or --dataset, not both")
        if self.data is not None:
            return load_file(self.data, self.standardise or False, self.pca, asked)
        if self.dataset is not None:
            return load_bundled(self.dataset, self.standardise is not False, self.pca)
        if self.pca is not None or self.standardise is not None:
            raise BadInputError("--pca, --standardise need --data or --dataset")
        return None


def load_file(path: Path, standardise: bool, pca: int | None, asked: Chosen | None = None) -> UserData:
    """The points of a file, see :func:`console.table_file.read_points`.

    Raises:
        BadInputError: as that, or a treatment that the data do not allow.
    """
    points = read_points(path, asked)
    found = _treated(printable(path.name), points.X, points.names, standardise, pca)
    return replace(found, read=points.read, remarks=points.remarks, labels=points.labels)


def load_bundled(name: str, standardise: bool, pca: int | None) -> UserData:
    """One of scikit-learn's bundled data sets, with its classes as labels.

    Raises:
        BadInputError: an unknown name.
    """
    if name not in BUNDLED:
        raise BadInputError(f"--dataset {name}: it is one of {', '.join(BUNDLED)}")
    from sklearn import datasets  # costs as much to load as torch does

    bunch = getattr(datasets, f"load_{name}")()
    X, columns = np.asarray(bunch.data, dtype=np.float64), tuple(map(str, bunch.feature_names))
    classes = Labels("class", tuple(str(bunch.target_names[number]) for number in bunch.target))
    return replace(_treated(name, X, columns, standardise, pca), labels=classes)


def _treated(name: str, X: Array, columns: Sequence[str], standardise: bool, pca: int | None) -> UserData:
    done = []
    if standardise:
        try:
            X, kept = standardised(X)
        except ValueError as problem:
            raise BadInputError(f"{name}: {problem}") from None
        columns = [column for column, stays in zip(columns, kept, strict=True) if stays]
        constant = int((~kept).sum())
        if X.shape[1] == 0:
            raise BadInputError(
                f"{name}: every column is constant; --no-standardise takes the data as they are"
            )
        done.append("standardised" + (f" ({constant} constant columns dropped)" if constant else ""))
    if pca is not None:
        most = min(X.shape)
        if not 1 <= pca <= most:
            raise BadInputError(
                f"--pca {pca}: {name} has {X.shape[1]} columns and {len(X)} rows; 1 to {most} are possible"
            )
        from sklearn.decomposition import PCA

        X = PCA(pca, svd_solver="full").fit_transform(X)
        columns = [f"PC {number}" for number in range(1, pca + 1)]
        done.append(f"reduced to {pca} principal components")
    treatment = ", ".join(done) or "as given"
    return UserData(name, torch.tensor(X, dtype=torch.float64), treatment, tuple(columns))
