"""A table by its columns."""

import io
import math
from types import SimpleNamespace

from rich.console import Console

from verify.engine.tables import grouped, print_rows

COLUMNS = (
    ("name", "name"),
    ("n", "count"),
    ("error", "error"),
    ("ratio", "ratio", 4),
    ("found", "all"),
    ("", "broken"),
)


def printed(*rows) -> list[list[str]]:
    console = Console(file=io.StringIO(), width=100)
    print_rows(console, "title", COLUMNS, [SimpleNamespace(**row) for row in rows])
    return [line.split() for line in console.file.getvalue().splitlines()]


def test_every_kind_of_value():
    good = {"name": "[red]x", "count": 12345, "error": 0.012345, "ratio": 1.23456, "all": True, "broken": 0}
    bad = good | {"error": None, "ratio": math.inf, "all": False, "broken": 2}
    lines = printed(good, bad)
    assert lines[1] == ["name", "n", "error", "ratio", "found"]
    assert lines[3] == ["[red]x", "12345", "0.012", "1.235", "yes", "kept"]
    assert lines[4] == ["[red]x", "12345", "-", "-", "NO", "BROKEN"]


def test_no_rows_no_table():
    assert printed() == []


def test_groups_keep_the_order_of_keys_and_rows():
    found = grouped(["b1", "a1", "b2"], lambda row: row[0])
    assert list(found.items()) == [("b", ["b1", "b2"]), ("a", ["a1"])]
