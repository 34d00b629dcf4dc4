"""The points in a person's file, read strictly: N rows of d numbers, and a column to compare with.

What is wrong is refused in one line that names the option ``--data``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from console.columns import chosen, label_place, remarks
from console.csv_table import NO_VALUE, Table, is_missing, read_csv
from console.errors import BadInputError
from console.frame_file import read_frame
from console.npy_file import UNREADABLE
from console.streams import printable

TEXT, FRAMES, ARRAYS = (".csv", ".tsv", ".txt"), (".parquet", ".xlsx"), (".npy", ".npz")
SUFFIXES = (*TEXT, *ARRAYS, *FRAMES)
SHOWN_NAMES, MOST_GROUPS = 20, 1000

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Labels:
    """What each point is said to be, for comparison; it takes no part in any fit.

    Attributes:
        name: of the column. values: N of them, "" where the file has none.
    """

    name: str
    values: tuple[str, ...]

    @property
    def groups(self) -> list[str]:
        """The different values in the order in which they come."""
        return list(dict.fromkeys(filter(None, self.values)))


@dataclass(frozen=True, eq=False)
class Points:
    """(N, d) finite numbers of a file.

    Attributes:
        names: of the d columns, as the header has them, or "column 1" and so on.
        read: one line, what was read. remarks: one line for each thing that may be meant otherwise.
        labels: of the column that ``--label`` names.
    """

    X: Array
    names: tuple[str, ...]
    read: str
    remarks: tuple[str, ...]
    labels: Labels | None = None


@dataclass(frozen=True)
class Chosen:
    """What of a file is read; None: as it looks.

    Attributes:
        header: whether the first line names the columns. columns: which are read (console.columns.chosen);
            None: all but an index without a name. drop: which are not. label: the column of the labels.
    """

    header: bool | None = None
    columns: str | None = None
    drop: str | None = None
    label: str | None = None


def read_points(path: Path, asked: Chosen | None = None) -> Points:
    """Read ``path``, whose suffix is one of SUFFIXES, into (N, d) float64.

    Raises:
        BadInputError: no such file, another suffix, nothing in it, a column that is not there, or a value
            that is not a finite number.
    """
    suffix, asked = path.suffix.lower(), asked or Chosen()
    if suffix not in SUFFIXES:
        raise BadInputError(
            f"--data {path}: the suffix is {path.suffix!r}; it is one of {', '.join(SUFFIXES)}"
        )
    if not path.is_file():
        raise BadInputError(f"--data {path}: there is no such file")
    if asked.header is not None and suffix not in (*TEXT, ".xlsx"):
        option = f"--{'' if asked.header else 'no-'}header"
        raise BadInputError(f"{option}: is for {', '.join(TEXT)} and .xlsx files, --data is {path}")
    if suffix in ARRAYS:
        whole = _read_numpy(path)
        places, labelled = _places(asked, whole.shape[1], None, [])
        X, table, words = whole[:, places], None, [str(place + 1) for place in places]
        notes, values = [], [] if labelled is None else [f"{value:g}" for value in whole[:, labelled]]
    else:
        table = read_csv(path, asked.header) if suffix in TEXT else read_frame(path, asked.header)
        notes = list(table.remarks)
        unnamed = table.unnamed_index and asked.columns is None
        places, labelled = _places(asked, len(table.rows[0].cells), table.names, [0] if unnamed else [])
        if unnamed:
            notes.append("column 1 has no name and numbers the rows: left out; --columns can take it")
        X, words = table.values(path, places), [table.word(place) for place in places]
        values = [] if labelled is None else [row.cells[labelled] for row in table.rows]
    if not np.isfinite(X).all():
        row, column = (int(v[0]) for v in np.nonzero(~np.isfinite(X)))
        where = f"data row {row + 1}, column {_shown(table, places[column])}"
        raise BadInputError(f"--data {path}: {where} is {X[row, column]}; values are finite")
    names = [_name(table, place) for place in places]
    labels = None if labelled is None else _labels(asked.label or "", _name(table, labelled), values)
    notes += remarks(X, words) if asked.columns is None else []
    line = _read_line(X, [name.removeprefix("column ") for name in names], labels)
    return Points(X, tuple(names), line, tuple(printable(note) for note in notes), labels)


def _places(
    asked: Chosen, count: int, names: list[str] | None, left_out: list[int]
) -> tuple[list[int], int | None]:
    """Of the coordinates, and of the label."""
    label = None if asked.label is None else label_place(asked.label, count, names)
    dropped = [] if asked.drop is None else chosen(asked.drop, count, names, "--drop")
    if asked.columns is None:
        places = [place for place in range(count) if place not in (label, *left_out)]
    else:
        places = chosen(asked.columns, count, names)
        if label in places:
            raise BadInputError(
                f"--label {asked.label}: --columns {asked.columns} takes it as a coordinate, too"
            )
    places = [place for place in places if place not in dropped]
    if not places:
        option = f"--drop {asked.drop}" if asked.drop is not None else f"--label {asked.label}"
        raise BadInputError(f"{option}: leaves no column of {count}; at least one is a coordinate")
    return places, label


def _labels(asked: str, name: str, cells: list[str]) -> Labels:
    found = Labels(
        printable(name), tuple("" if is_missing(cell, NO_VALUE) else printable(cell) for cell in cells)
    )
    if not 1 <= len(found.groups) <= MOST_GROUPS:
        raise BadInputError(
            f"--label {asked}: the column has {len(found.groups)} different values; "
            f"1 to {MOST_GROUPS} can be compared with"
        )
    return found


def _name(table: Table | None, place: int) -> str:
    name = table.names[place] if table is not None and table.names else ""
    return printable(name) or f"column {place + 1}"


def _shown(table: Table | None, place: int) -> str:
    name = table.names[place] if table is not None and table.names else ""
    return f"{place + 1} {name!r}" if name else str(place + 1)


def _read_line(X: Array, names: list[str], labels: Labels | None) -> str:
    listed = ", ".join(names[:SHOWN_NAMES]) + (", ..." if len(names) > SHOWN_NAMES else "")
    N, d = X.shape
    points, columns = f"{N} point{'s' if N > 1 else ''}", f"{d} column{'s' if d > 1 else ''}"
    line = f"read {points}, {columns}: {listed}"
    if labels is not None:
        without = labels.values.count("")
        line += f"; labels: {labels.name}, {len(labels.groups)} different"
        line += f", {without} points have none" if without else ""
    return printable(line)


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
