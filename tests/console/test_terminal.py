"""Tables are readable on a narrow terminal and through a pipe."""

import io

from rich.console import Console

from console.terminal import marked, print_table

COLUMNS = ["problem", "error, median", "bound/error, least", "weights, largest error", "bounds"]
ROWS = [
    ["d=2, K=3, N=128, a name that goes on and on and on", "1.2e-08", "9.33", "3.4e-14", "kept"],
    ["[b]", "1", "2", "3", marked(1)],
]


def printed(width: int, terminal: bool) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=terminal, color_system=None)
    print_table(console, "Means", COLUMNS, ROWS)
    assert console.width == width
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_through_a_pipe_a_row_is_a_line() -> None:
    title, header, _, *rows = printed(40, False)
    assert title == "Means"
    assert [name for name in COLUMNS if name in header] == COLUMNS
    assert [row.split()[-1] for row in rows] == ["kept", "BROKEN"]
    assert rows[0].startswith(ROWS[0][0])
    assert rows[1].startswith("[b]")


def test_on_a_narrow_terminal_the_table_goes_on_below() -> None:
    lines = printed(48, True)
    assert max(map(len, lines)) <= 48
    assert [line for line in lines if line.startswith("Means")] == ["Means", *2 * ["Means (more columns)"]]
    assert sum(line.startswith("[b]") for line in lines) == 3
    words = " ".join(lines).split()
    for word in ("bound/error,", "weights,", "median", "1.2e-08", "3.4e-14", "BROKEN"):
        assert word in words
    assert len([line for line in printed(300, True) if line]) == 5


def test_nothing_of_no_rows() -> None:
    out = io.StringIO()
    print_table(Console(file=out), "Means", COLUMNS, [])
    assert out.getvalue() == ""
