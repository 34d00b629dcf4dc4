"""Rows of results, each a frozen dataclass: grouped, and as a table whose columns are names of fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, TypeVar

from rich.console import Console

from console.output import significant
from console.terminal import marked, print_table

R = TypeVar("R")
K = TypeVar("K")

Column = tuple[str, str] | tuple[str, str, int]
"""Header, name of the field or property (dotted for one of a field's), and digits where they are not 2."""

BROKEN = "broken"
"""How the name of a number of broken bounds begins, which is shown as a verdict."""


def grouped(rows: Iterable[R], key: Callable[[R], K]) -> dict[K, list[R]]:
    """The rows of each key, both in the order in which they come."""
    groups: dict[K, list[R]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def print_rows(console: Console, title: str, columns: Sequence[Column], rows: Iterable[object]) -> None:
    """A line for each row; nothing where there are none."""
    cells = [[_cell(attrgetter(name)(row), name, *digits) for _, name, *digits in columns] for row in rows]
    print_table(console, title, [column[0] for column in columns], cells)


def _cell(value: Any, name: str, digits: int = 2) -> str:
    if name.startswith(BROKEN):
        return marked(value)
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return significant(value, digits) if value is None or isinstance(value, float) else str(value)
