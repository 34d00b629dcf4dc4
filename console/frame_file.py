"""Tables in .parquet and .xlsx files, read by pandas where it is installed: cells as text, as of a .csv."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from console.csv_table import Row, Table, table_of
from console.errors import BadInputError
from console.extras import missing

NEEDS = {".parquet": "pyarrow", ".xlsx": "openpyxl"}
"""What pandas reads each kind of file with."""


def read_frame(path: Path, header: bool | None) -> Table:
    """The table in a file that pandas reads: of a workbook its first sheet, line by line as of a .csv.

    Raises:
        BadInputError: pandas or what it needs is not installed, not such a file, or no rows in it.
    """
    suffix = path.suffix.lower()
    try:
        pandas = import_module("pandas")
        import_module(NEEDS[suffix])
    except ImportError:
        line = missing(f"--data {path}: a {suffix} file", "tables")
        raise BadInputError(f"{line}; or save the table as .csv") from None
    try:
        return _parquet(path, pandas) if suffix == ".parquet" else _workbook(path, pandas, header)
    except BadInputError:
        raise
    except Exception as problem:  # of the readers' own kinds, which are not importable without them
        reason = (str(problem) or type(problem).__name__).splitlines()[0]
        raise BadInputError(f"--data {path}: not readable as a {suffix} file ({reason})") from None


def _parquet(path: Path, pandas: Any) -> Table:
    frame = pandas.read_parquet(path)
    rows = [Row(None, cells) for cells in _cells(frame)]
    if not rows or not rows[0].cells:
        raise BadInputError(
            f"--data {path}: has {len(rows)} rows of {frame.shape[1]} columns; N, d >= 1 are needed"
        )
    return Table(rows, [str(name) for name in frame.columns], [], False)


def _workbook(path: Path, pandas: Any, header: bool | None) -> Table:
    with pandas.ExcelFile(path) as book:
        sheets = list(book.sheet_names)
        frame = book.parse(0, header=None, dtype=object)
    rows = [Row(line, cells) for line, cells in enumerate(_cells(frame), 1) if any(cells)]
    if not rows:
        raise BadInputError(f"--data {path}: sheet {sheets[0]!r} is empty; N >= 1 rows of numbers are needed")
    table = table_of(path, rows, header)
    if len(sheets) > 1:
        table.remarks.append(f"only the first of {len(sheets)} sheets, {sheets[0]}, is read")
    return table


def _cells(frame: Any) -> list[list[str]]:
    """Text of every cell, "" where there is no value; of numbers what float() gives back exactly."""
    columns = [
        [
            "" if gone else _text(value)
            for value, gone in zip(values.tolist(), values.isna().tolist(), strict=True)
        ]
        for values in (frame.iloc[:, place] for place in range(frame.shape[1]))
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value).strip()
