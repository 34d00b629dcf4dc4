"""A person's data for EM: files and bundled data sets, as they are or treated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.standardise import standardised
from console.errors import BadInputError
from console.streams import printable
from console.table_file import read_points

BUNDLED = ("iris", "wine", "breast_cancer", "digits")

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class UserData:
    """(N, d) points, where they came from, and what was done to them.

    Attributes:
        read: one line, what was read. remarks: one line for each thing that may be meant otherwise.
    """

    name: str
    X: Tensor
    treatment: str
    n_classes: int | None = None
    read: str = ""
    remarks: tuple[str, ...] = ()


def load_file(
    path: Path,
    standardise: bool,
    pca: int | None,
    header: bool | None = None,
    columns: str | None = None,
) -> UserData:
    """The points of a file, see :func:`console.table_file.read_points`.

    Raises:
        BadInputError: as that, or a treatment that the data do not allow.
    """
    points = read_points(path, header, columns)
    found = _treated(printable(path.name), points.X, standardise, pca, None)
    return replace(found, read=points.read, remarks=points.remarks)


def load_bundled(name: str, standardise: bool, pca: int | None) -> UserData:
    """One of scikit-learn's bundled data sets.

    Raises:
        BadInputError: an unknown name.
    """
    if name not in BUNDLED:
        raise BadInputError(f"--dataset {name}: it is one of {', '.join(BUNDLED)}")
    from sklearn import datasets  # costs as much to load as torch does

    X, labels = getattr(datasets, f"load_{name}")(return_X_y=True)
    return _treated(name, np.asarray(X, dtype=np.float64), standardise, pca, len(np.unique(labels)))


def _treated(name: str, X: Array, standardise: bool, pca: int | None, n_classes: int | None) -> UserData:
    done = []
    if standardise:
        try:
            X, kept = standardised(X)
        except ValueError as problem:
            raise BadInputError(f"{name}: {problem}") from None
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
        done.append(f"reduced to {pca} principal components")
    return UserData(name, torch.tensor(X, dtype=torch.float64), ", ".join(done) or "as given", n_classes)
