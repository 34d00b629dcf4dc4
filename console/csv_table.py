"""A CSV file of numbers as its writer meant it: comments, a header, a column that counts the rows.

What could be meant in two ways is refused or remarked upon in one line that names the option which decides.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from console.errors import BadInputError

COMMENT = "#"
SHOWN = 40


@dataclass(frozen=True)
class Row:
    """The cells of one row, and its line in the file, from 1."""

    line: int
    cells: list[str]

    @property
    def shown(self) -> str:
        """Its beginning, for a message."""
        return repr(",".join(self.cells)[:SHOWN])


@dataclass(frozen=True, eq=False)
class Table:
    """Cells below the header, all rows of one length.

    Attributes:
        rows: N rows of d cells. names: d names, or None without a header. remarks: lines for the reader.
        unnamed_index: the first column has no name and whole numbers that differ, as pandas and R write it.
    """

    rows: list[Row]
    names: list[str] | None
    remarks: list[str]
    unnamed_index: bool

    def values(self, path: Path, places: list[int]) -> NDArray[np.float64]:
        """(N, len(places)) numbers of the chosen columns.

        Raises:
            BadInputError: a cell that is no number.
        """
        for number, row in enumerate(self.rows, 1):
            for place in places:
                if not is_number(row.cells[place]):
                    where = f"data row {number}, column {place + 1} (line {row.line})"
                    raise BadInputError(
                        f"--data {path}: {where} is {row.cells[place][:SHOWN]!r}; numbers are needed, "
                        "--columns chooses the columns that have them"
                    )
        return np.array(
            [[float(row.cells[place]) for place in places] for row in self.rows], dtype=np.float64
        )


def read_csv(path: Path, header: bool | None) -> Table:
    """The table in ``path``: UTF-8, columns parted by commas, semicolons, tabs or else spaces.

    Lines that begin with # are left out. ``header`` None: the first line is a header when no cell of it is a
    number, or when it has a hole where pandas leaves the name of its index out.

    Raises:
        BadInputError: not such a file, rows of different lengths, or a first line that may be either.
    """
    rows = _rows(path)
    first, remarks = rows[0], []
    if header is None:
        header = _is_header(path, rows, remarks)
    if not header:
        _check_lengths(path, rows, len(first.cells))
        return Table(rows, None, remarks, False)
    rows = rows[1:]
    if not rows:
        raise BadInputError(f"--data {path}: only a header, {first.shown}; rows of numbers are needed")
    names = first.cells
    numbered = len({row.cells[0] for row in rows if _is_whole(row.cells[0])}) == len(rows)
    if numbered and all(len(row.cells) == len(names) + 1 for row in rows):
        names = ["", *names]  # R's write.table names no column of row names
    _check_lengths(path, rows, len(names))
    return Table(rows, names, remarks, numbered and names[0] == "" and len(names) > 1)


def is_number(cell: str) -> bool:
    """Whether the cell is one; Python reads 1_0 as 10, but a table with it is more likely damaged."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _rows(path: Path) -> list[Row]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        lines = [(number, line.strip(" ")) for number, line in enumerate(text.splitlines(), 1)]
        lines = [(n, line) for n, line in lines if line.strip() and not line.startswith(COMMENT)]
        if not lines:
            raise BadInputError(f"--data {path}: the file is empty; N >= 1 rows of numbers are needed")
        delimiter = _delimiter([line for _, line in lines])
        if delimiter == " ":
            return [Row(number, line.split()) for number, line in lines]
        cells = csv.reader([line for _, line in lines], delimiter=delimiter, strict=True)
        return [
            Row(number, [cell.strip() for cell in found])
            for (number, _), found in zip(lines, cells, strict=True)
        ]
    except BadInputError:
        raise
    except (UnicodeDecodeError, OSError, csv.Error, ValueError) as problem:
        raise BadInputError(f"--data {path}: not readable as a table of numbers ({problem})") from None


def _delimiter(lines: list[str]) -> str:
    """The first of semicolon, tab, comma and space that is in most lines; a comma where none is."""
    return next((d for d in ";\t, " if 2 * sum(d in line for line in lines) > len(lines)), ",")


def _is_header(path: Path, rows: list[Row], remarks: list[str]) -> bool:
    first, below = rows[0], rows[1:]
    numbers = [is_number(cell) for cell in first.cells]
    if not any(numbers):
        return any(first.cells)
    counting = [str(i) for i in range(len(first.cells))]
    if first.cells == ["", *counting[:-1]]:
        return True
    if not all(numbers):
        wrong = first.cells[numbers.index(False)][:SHOWN]
        raise BadInputError(
            f"--data {path}: line {first.line}, {first.shown}, has numbers and {wrong!r}; data row 1, column "
            f"{numbers.index(False) + 1} is no number; --header if it names the columns"
        )
    if not below or not all(_is_whole(cell) for cell in first.cells):
        return False
    if not any(_is_whole(cell) for row in below for cell in row.cells):
        raise BadInputError(
            f"--data {path}: line {first.line} is {first.shown}, whole numbers, and no row below has any: "
            "give --header if it names the columns, --no-header if it is a point"
        )
    if len(counting) > 1 and first.cells == counting:
        remarks.append(
            f"line {first.line}, {first.shown}, is read as a point; --header if it names the columns"
        )
    return False


def _is_whole(cell: str) -> bool:
    return cell.removeprefix("-").isdecimal()


def _check_lengths(path: Path, rows: list[Row], length: int) -> None:
    for number, row in enumerate(rows, 1):
        if len(row.cells) != length:
            raise BadInputError(
                f"--data {path}: data row {number} (line {row.line}) has {len(row.cells)} columns, the first "
                f"line has {length}; lines that are no data begin with {COMMENT}"
            )
