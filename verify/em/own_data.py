"""A person's data: files and bundled data sets, read strictly, and a start read from JSON."""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.decomposition import PCA
from torch import Tensor

from baselines.standardise import standardised
from console.errors import BadInputError
from console.streams import printable
from verify.engine.columns import chosen, remarks
from verify.engine.csv_table import read_csv

BUNDLED = ("iris", "wine", "breast_cancer", "digits")
SUFFIXES = (".csv", ".npy", ".npz")

UNREADABLE = (ValueError, TypeError, OSError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error)

Array = NDArray[np.float64]

SHOWN_NAMES = 20


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
    """Read ``path`` (.csv, .npy or .npz) into (N, d) float64.

    Args:
        header: of a .csv: whether its first line names the columns; None decides by what it holds.
        columns: which are read, see :func:`columns.chosen`; None: all but an index without a name.

    Raises:
        BadInputError: no such file, another suffix, nothing in it, or a value that is not a finite number.
    """
    if path.suffix not in SUFFIXES:
        raise BadInputError(
            f"--data {path}: the suffix is {path.suffix!r}; it is one of {', '.join(SUFFIXES)}"
        )
    if not path.is_file():
        raise BadInputError(f"--data {path}: there is no such file")
    if header is not None and path.suffix != ".csv":
        raise BadInputError(f"--{'' if header else 'no-'}header: is for .csv files, --data is {path}")
    if path.suffix == ".csv":
        table = read_csv(path, header)
        count, names, notes = len(table.rows[0].cells), table.names, list(table.remarks)
        places = list(range(count)) if columns is None else chosen(columns, count, names)
        if columns is None and table.unnamed_index:
            places = places[1:]
            notes.append("column 1 has no name and numbers the rows: left out; --columns can take it")
        X = table.values(path, places)
    else:
        X, names, notes = _read_numpy(path), None, []
        places = list(range(X.shape[1])) if columns is None else chosen(columns, X.shape[1], None)
        X = X[:, places]
    if not np.isfinite(X).all():
        row, column = (int(v[0]) for v in np.nonzero(~np.isfinite(X)))
        where = f"data row {row + 1}, column {places[column] + 1}"
        raise BadInputError(f"--data {path}: {where} is {X[row, column]}; values are finite")
    shown = [(names[place] if names else "") or str(place + 1) for place in places]
    notes += remarks(X, shown) if columns is None else []
    found = _treated(printable(path.name), X, standardise, pca, None)
    return replace(found, read=_read_line(X, shown), remarks=tuple(printable(note) for note in notes))


def _read_line(X: Array, names: list[str]) -> str:
    listed = ", ".join(names[:SHOWN_NAMES]) + (", ..." if len(names) > SHOWN_NAMES else "")
    N, d = X.shape
    points, columns = f"{N} point{'s' if N > 1 else ''}", f"{d} column{'s' if d > 1 else ''}"
    return printable(f"read {points}, {columns}: {listed}")


def load_bundled(name: str, standardise: bool, pca: int | None) -> UserData:
    """One of scikit-learn's bundled data sets.

    Raises:
        BadInputError: an unknown name.
    """
    if name not in BUNDLED:
        raise BadInputError(f"--dataset {name}: it is one of {', '.join(BUNDLED)}")
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
        X = PCA(pca, svd_solver="full").fit_transform(X)
        done.append(f"reduced to {pca} principal components")
    return UserData(name, torch.tensor(X, dtype=torch.float64), ", ".join(done) or "as given", n_classes)


def _read_numpy(path: Path) -> Array:
    try:
        with path.open("rb") as file:
            loaded = _array_of(path, np.load(file, allow_pickle=False))
        X = loaded.astype(np.float64, casting="same_kind")
    except BadInputError:
        raise
    except UNREADABLE as problem:
        raise BadInputError(f"--data {path}: not a readable array of real numbers ({problem})") from None
    if X.ndim not in (1, 2):
        raise BadInputError(f"--data {path}: the array has shape {X.shape}; (N, d) or (N,) is needed")
    if X.size == 0:
        raise BadInputError(f"--data {path}: holds no numbers, its shape is {X.shape}; N, d >= 1 are needed")
    return X.reshape(len(X), -1)


def _array_of(path: Path, loaded: object) -> NDArray[np.generic]:
    if isinstance(loaded, np.lib.npyio.NpzFile):
        names = loaded.files
        if "X" not in names and len(names) != 1:
            raise BadInputError(f"--data {path}: holds arrays {names}; call one of them X")
        loaded = loaded["X" if "X" in names else names[0]]
    if not isinstance(loaded, np.ndarray):
        raise BadInputError(
            f"--data {path}: holds {type(loaded).__name__}; an array of real numbers is needed"
        )
    return loaded


def load_init(path: Path) -> tuple[Tensor, Tensor]:
    """``{"weights": [K], "means": [K][d]}`` as tensors; a whole results.json works too (its EM estimate).

    Raises:
        BadInputError: not such a file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as problem:
        raise BadInputError(f"--init {path}: not a readable JSON file ({problem})") from None
    if isinstance(content, dict) and isinstance(content.get("estimates"), dict):
        content = content["estimates"].get("em")
        if content is None:
            raise BadInputError(f"--init {path}: that run ended without an estimate; name another start")
    if not isinstance(content, dict) or not {"weights", "means"} <= content.keys():
        raise BadInputError(
            f"--init {path}: needs an object with 'weights' (K numbers) and 'means' (K rows of d)"
        )
    try:
        weights = torch.tensor(content["weights"], dtype=torch.float64)
        means = torch.tensor(content["means"], dtype=torch.float64)
    except (TypeError, ValueError, OverflowError) as problem:
        raise BadInputError(f"--init {path}: weights and means must be numbers ({problem})") from None
    for name, values in (("weights", weights), ("means", means)):
        if not bool(values.isfinite().all()):
            bad = float(values[~values.isfinite()][0])
            raise BadInputError(f"--init {path}: {name} hold {bad}; every value must be finite")
    if weights.ndim != 1 or means.ndim != 2 or len(weights) != len(means) or len(weights) == 0:
        shapes = f"{tuple(weights.shape)} and {tuple(means.shape)}"
        raise BadInputError(
            f"--init {path}: weights and means have shapes {shapes}; (K,) and (K, d) are needed"
        )
    return weights, means
