"""The tables of a fit: what stands where, and that no line is longer than 80 characters."""

import io

import numpy as np
import pytest
from rich.console import Console

from console.fit_table import LINE, MOST_MATRIX, MOST_ROWS, Fit, fit_tables, print_agreement, print_fit

SHAPES = {
    "unit": lambda K, d: None,
    "tied_spherical": lambda K, d: (),
    "spherical": lambda K, d: (K,),
    "diagonal": lambda K, d: (K, d),
    "tied": lambda K, d: (d, d),
    "full": lambda K, d: (K, d, d),
}


def fit_of(kind: str, K: int, d: int, names: list[str] | None = None) -> Fit:
    """Numbers that tell where they come from: the mean of component k in column j is 100 k + j."""
    shape = SHAPES[kind](K, d)
    S = None if shape is None else (1 + np.arange(int(np.prod(shape)), dtype=float)).reshape(shape).tolist()
    means = [[100.0 * k + j for j in range(d)] for k in range(K)]
    columns = names or [f"a rather long name of a column, {j}" for j in range(d)]
    return Fit("The fit", columns, [1 / K] * K, means, kind, S)


def printed(show, *arguments) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=LINE)
    show(console, *arguments)
    return out.getvalue().splitlines()


@pytest.mark.parametrize("kind", list(SHAPES))
@pytest.mark.parametrize(("K", "d"), [(1, 1), (2, 1), (3, 2), (3, MOST_MATRIX), (11, 40)])
def test_every_number_is_there_and_no_line_too_long(kind, K, d):
    fit = fit_of(kind, K, d)
    lines = printed(print_fit, fit)
    assert max(map(len, lines)) <= LINE
    assert not any("…" in line for line in lines)  # rich has cut nothing
    cells = [cell for table in fit_tables(fit) for row in table.rows for cell in row]
    text = " ".join(lines)
    assert all(cell in text for cell in cells)
    shown = {f"{100 * k + j:g}" for k in range(K) for j in range(min(d, MOST_ROWS))}
    assert shown <= set(cells)
    assert any("results.json" in line for line in lines) == (
        d > MOST_ROWS or (d > MOST_MATRIX and kind == "full")
    )


def test_a_matrix_has_names_on_both_sides():
    tables = fit_tables(fit_of("full", 2, 2, ["x", "y"]))
    assert [table.title for table in tables] == [
        "The fit",
        "Covariance of component 0",
        "Covariance of component 1",
    ]
    assert [list(tables[2].header), *map(list, tables[2].rows)] == [
        ["", "x", "y"],
        ["x", "5", "6"],
        ["y", "7", "8"],
    ]
    weights = tables[0]
    assert [list(weights.header), *map(list, weights.rows)] == [
        ["component", "0", "1"],
        ["weight", "0.5", "0.5"],
        ["mean of x", "0", "100"],
        ["mean of y", "1", "101"],
    ]


def test_long_names_stay_different():
    rows = fit_tables(fit_of("unit", 1, 2, ["measured length of petals", "measured length of leaves"]))[
        0
    ].rows
    assert rows[-1][0] != rows[-2][0]
    assert len(rows[-1][0]) <= 24


def test_agreement_is_a_table_where_it_fits():
    lines = printed(print_agreement, "kind", ["a", "b"], [[3, 0], [1, 4]], 0.5, 8)
    assert [line.split() for line in lines[-3:-1]] == [["0", "3", "0"], ["1", "1", "4"]]
    assert lines[-1] == "adjusted Rand index of the components with kind: 0.500 (8 points)"
    many = printed(print_agreement, "kind", [f"group {i}" for i in range(30)], [[1] * 30], 0.0, 30)
    assert many == ["adjusted Rand index of the components with kind: 0.000 (30 points)"]
