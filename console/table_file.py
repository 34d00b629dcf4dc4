"""The points in a person's file, read strictly: .csv, .npy or .npz, N rows of d numbers.

What is wrong is refused in one line that names the option ``--data``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from console.columns import chosen, remarks
from console.csv_table import read_csv
from console.errors import BadInputError
from console.npy_file import UNREADABLE
from console.streams import printable

SUFFIXES = (".csv", ".npy", ".npz")
SHOWN_NAMES = 20

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Points:
    """(N, d) finite numbers of a file.

    Attributes:
        read: one line, what was read. remarks: one line for each thing that may be meant otherwise.
    """

    X: Array
    read: str
    remarks: tuple[str, ...]


def read_points(path: Path, header: bool | None = None, columns: str | None = None) -> Points:
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
    return Points(X, _read_line(X, shown), tuple(printable(note) for note in notes))


def _read_line(X: Array, names: list[str]) -> str:
    listed = ", ".join(names[:SHOWN_NAMES]) + (", ..." if len(names) > SHOWN_NAMES else "")
    N, d = X.shape
    points, columns = f"{N} point{'s' if N > 1 else ''}", f"{d} column{'s' if d > 1 else ''}"
    return printable(f"read {points}, {columns}: {listed}")


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
