"""Tables and verdicts on a terminal, as all checks print them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
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

GAP = 2
"""Between columns."""


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
    """A plain table, numbers to the right; nothing where there are no rows.

    Through a pipe every row is one line, however long. On a terminal a table that is too wide goes on below
    with the columns left over, behind the first one again; no word is broken that fits.
    """
    if not rows:
        return
    cells = [[Text.from_markup(c) if c == marked(1) else Text(c) for c in row] for row in rows]
    widest = [max(cell.cell_len for cell in column) for column in zip(*cells, strict=True)]
    before = console.width
    natural = [max(len(name), width) for name, width in zip(columns, widest, strict=True)]
    needed = sum(natural) + GAP * len(natural)
    widths, blocks = natural, [list(range(len(columns)))]
    if console.is_terminal and needed > before:
        words = [max((len(word) for word in name.split()), default=0) for name in columns]
        widths = [max(pair) for pair in zip(widest, words, strict=True)]
        widths[0] = min(widths[0], max(before // 2, words[0]))
        room = before - widths[0] - 2 * GAP
        widths[1:] = [min(width, room) for width in widths[1:]]
        blocks = _blocks(widths, before)
    elif not console.is_terminal:
        console.width = max(before, needed, len(title))
    for number, chosen in enumerate(blocks):
        name = title if number == 0 else f"{title} (more columns)"
        table = Table(
            title=Text(name) if title else None,
            title_justify="left",
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            show_edge=False,
        )
        for index in chosen:
            justify = "left" if index == 0 else "right"
            table.add_column(columns[index], justify=justify, overflow="fold", width=widths[index])
        for row in cells:
            table.add_row(*(row[index] for index in chosen))
        console.print(table)
    console.width = before


def _blocks(widths: Sequence[int], room: int) -> list[list[int]]:
    """Columns that stand side by side within so many characters, the first in every block."""
    blocks, used = [[0]], widths[0] + GAP
    for index, width in enumerate(widths[1:], 1):
        if used + width + GAP > room and len(blocks[-1]) > 1:
            blocks.append([0])
            used = widths[0] + GAP
        blocks[-1].append(index)
        used += width + GAP
    return blocks


def marked(broken: int) -> str:
    """Kept or broken, marked up."""
    return "[red]BROKEN[/red]" if broken else "kept"


def print_verdict(
    console: Console, passed: bool, held: str = "every claim held", broken: str = "A CLAIM IS BROKEN"
) -> None:
    """The last line."""
    console.print(held if passed else broken, style="bold green" if passed else "bold red")
