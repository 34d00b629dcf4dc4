"""What a report is made of: tables, and sections of paragraphs, tables and pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from console.output import Picture

R = TypeVar("R")


@dataclass(frozen=True)
class Table:
    """A table of the report; cells are text, the first column is the label. The note says how to read it."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def table_of(
    title: str, items: Iterable[R], columns: Sequence[tuple[str, Callable[[R], str]]], note: str = ""
) -> Table:
    """A row for each item; a column is its name and what it says of an item."""
    rows = [[cell(item) for _, cell in columns] for item in items]
    return Table(title, [name for name, _ in columns], rows, note)


@dataclass(frozen=True, eq=False)
class Section:
    """What a part shows: paragraphs, tables, pictures, in this order. The first paragraph is the finding."""

    paragraphs: list[str]
    tables: list[Table] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
