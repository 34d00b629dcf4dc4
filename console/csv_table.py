"""A table of text cells as its writer meant it: comments, a header, a column that counts the rows.

What could be meant in two ways is refused or remarked upon in one line that names the option which decides.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from console.errors import BadInputError

COMMENT = "#"
SHOWN = 40
NO_VALUE = ("", "na", "n/a", "nan", "<na>", "null")
"""What programs write, in any case of letters, where there is no value."""
NO_NUMBER = (*NO_VALUE, "none", "nil", "?", "-", ".")
"""What people write, besides, in a column of numbers."""


@dataclass(frozen=True)
class Row:
    """The cells of one row, and its line in the file, from 1; None in files that have no lines."""

    line: int | None
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
            BadInputError: a column of text, a value that is missing, or a cell that is no finite number.
        """
        for place in places:
            self._check_column(path, place)
        return np.array(
            [[float(row.cells[place]) for place in places] for row in self.rows], dtype=np.float64
        )

    def word(self, place: int) -> str:
        """A column as an option takes it: its name or, where that is none or has a comma, its number."""
        name = self.names[place] if self.names else ""
        return (
            name
            if name and "," not in name and self.names and self.names.count(name) == 1
            else str(place + 1)
        )

    def _check_column(self, path: Path, place: int) -> None:
        cells = [row.cells[place] for row in self.rows]
        wrong = [n for n, cell in enumerate(cells) if is_missing(cell) or not is_number(cell)]
        if not wrong:
            return
        missing, word = [n for n in wrong if is_missing(cells[n])], self.word(place)
        if len(missing) == len(cells):
            self._refuse(path, place, 0, "is empty, as is the whole column", f"--drop {word} leaves it out")
        first = next((n for n in wrong if not is_missing(cells[n])), wrong[0])
        cell = cells[first]
        if "," in cell and is_number(cell.replace(",", ".")):
            self._refuse(path, place, first, f"is {cell[:SHOWN]!r}", "write a point for the decimal comma")
        if len(wrong) == len(cells):
            remedy = f"--drop {word} leaves the column out, --label {word} compares the fit with it"
            self._refuse(path, place, first, f"is {cell[:SHOWN]!r}, and the whole column is text", remedy)
        if missing:
            count = len(missing)
            rows = "1 row has" if count == 1 else f"{count} of {len(cells)} rows have"
            written = cells[missing[0]]
            what = f"is missing ({written!r})" if written else "is missing"
            remedy = f"{rows} none there: fill it in, leave the row out, or --drop {word}"
            self._refuse(path, place, missing[0], what, remedy)
        self._refuse(path, place, first, f"is {cell[:SHOWN]!r}", f"a number is needed, or --drop {word}")

    def _refuse(self, path: Path, place: int, number: int, what: str, remedy: str) -> None:
        name = f" {self.names[place]!r}" if self.names and self.names[place] else ""
        line = self.rows[number].line
        where = f"data row {number + 1}, column {place + 1}{name}" + (f" (line {line})" if line else "")
        raise BadInputError(f"--data {path}: {where} {what}; {remedy}")


def read_csv(path: Path, header: bool | None) -> Table:
    """The table in ``path``: UTF-8, columns parted by commas, semicolons, tabs or else spaces.

    Lines that begin with # are left out. ``header`` None: the first line is a header when no cell of it is a
    number, or when it has a hole where pandas leaves the name of its index out.

    Raises:
        BadInputError: not such a file, rows of different lengths, or a first line that may be either.
    """
    return table_of(path, _rows(path), header)


def table_of(path: Path, rows: list[Row], header: bool | None) -> Table:
    """The same of rows that are cells already, at least one.

    Raises:
        BadInputError: as there.
    """
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


def is_missing(cell: str, among: Sequence[str] = NO_NUMBER) -> bool:
    """Whether the cell stands for no value."""
    return cell.lower() in among


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
