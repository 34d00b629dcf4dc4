"""Tables of results on a terminal: a column is a header, and the name of the value under it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from console.output import significant
from console.terminal import marked, print_table

Column = tuple[str, str] | tuple[str, str, int]
"""Header, name of the value, and digits where they are not 2."""

BROKEN = "broken"
"""The name of a number of broken bounds, which is shown as a verdict."""


def print_rows(
    console: Console, title: str, columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]
) -> None:
    """A line for each row; nothing where there are none."""
    cells = [[_cell(row[name], name, *digits) for _, name, *digits in columns] for row in rows]
    print_table(console, title, [column[0] for column in columns], cells)


def _cell(value: Any, name: str, digits: int = 2) -> str:
    if name == BROKEN:
        return marked(value)
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return significant(value, digits) if value is None or isinstance(value, float) else str(value)
