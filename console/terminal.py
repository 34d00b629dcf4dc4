"""Tables and verdicts on a terminal, as all checks print them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

WIDTH = 110


@contextmanager
def progress(total: int) -> Iterator[Callable[[str], None]]:
    """A bar on stderr for ``total`` pieces of work, with the time spent and left.

    Call what is given with the name of each piece as it starts.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as shown:
        bar = shown.add_task("", total=total)
        started = False

        def start(name: str) -> None:
            nonlocal started
            if started:
                shown.advance(bar)
            started = True
            shown.update(bar, description=name)

        yield start
        shown.update(bar, completed=total)


def widen(console: Console) -> None:
    """Room for the tables where nobody looks at a terminal."""
    if console.width < WIDTH and not console.is_terminal:
        console.width = WIDTH


def print_table(console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A plain table, numbers to the right; nothing where there are no rows."""
    if not rows:
        return
    table = Table(
        title=Text(title) if title else None, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False
    )
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(cell if cell == marked(1) else escape(cell) for cell in row))
    console.print(table)


def marked(broken: int) -> str:
    """Kept or broken, marked up."""
    return "[red]BROKEN[/red]" if broken else "kept"


def print_verdict(
    console: Console, passed: bool, held: str = "every claim held", broken: str = "A CLAIM IS BROKEN"
) -> None:
    """The last line."""
    console.print(held if passed else broken, style="bold green" if passed else "bold red")
