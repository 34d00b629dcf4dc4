"""A fitted mixture as tables of at most 80 columns: weights, means and covariances by name of column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from console.output import significant
from console.sections import Table
from console.terminal import print_table

LINE = 80
"""Characters of a line."""

SPACE = 2
LONGEST_NAME, CELL, DIGITS = 24, 12, 4
"""Characters between columns, of a name, of a number with the space beside it; digits of a number."""

MOST_ROWS, MOST_MATRIX = 12, 5
"""Columns of the data that are shown at most; beyond so many the variances stand for a matrix."""


@dataclass(frozen=True)
class Fit:
    """A mixture of K Gaussians in d columns; components are counted from 0, as by scikit-learn's ``predict``.

    Attributes:
        title: what found it. names: of the d columns. weights: K numbers. means: K rows of d.
        covariance_type: unit, tied_spherical, spherical, diagonal, tied or full (scikit-learn: "diag").
        covariances: nothing, one number, K numbers, K rows of d, d rows of d, K matrices; variances, not
            standard deviations.
    """

    title: str
    names: Sequence[str]
    weights: Sequence[float]
    means: Sequence[Sequence[float]]
    covariance_type: str
    covariances: Any = None


def print_fit(console: Console, fit: Fit) -> None:
    """Every table of :func:`fit_tables`, and a line where something is only in results.json."""
    for table in fit_tables(fit):
        _print(console, table)


def fit_tables(fit: Fit) -> list[Table]:
    """Weights and means, as many components side by side as fit; then covariances that are not one number."""
    kind, S, variances = fit.covariance_type, fit.covariances, _variances(fit)
    each = {"weight": fit.weights} | ({} if variances is None else {"variance": variances})
    found = list(_by_component(fit.title, each, "mean of", fit.names, fit.means))
    if variances is not None:
        return found
    if kind == "diagonal":
        found += _by_component("Variances", {}, "", fit.names, S)
    elif kind == "tied":
        found += _matrix("Covariance of all components", fit.names, S)
    elif len(fit.names) <= MOST_MATRIX:
        for k, matrix in enumerate(S):
            found += _matrix(f"Covariance of component {k}", fit.names, matrix)
    else:
        diagonals = [_diagonal(matrix) for matrix in S]
        found += _by_component("Variances; the matrices are in results.json", {}, "", fit.names, diagonals)
    return found


def _variances(fit: Fit) -> list[float] | None:
    """One number for each component; None where a covariance is more than that."""
    kind, K, line = fit.covariance_type, len(fit.weights), len(fit.names) == 1
    if kind == "unit":
        return [1.0] * K
    if kind == "tied_spherical" or (line and kind == "tied"):
        return _numbers(fit.covariances) * K
    return _numbers(fit.covariances) if line or kind == "spherical" else None


def print_agreement(
    console: Console,
    label: str,
    groups: Sequence[str],
    counts: Sequence[Sequence[int]],
    index: float,
    compared: int,
) -> None:
    """How many points of each component have which label, where the labels fit on a line; and the index."""
    widths = [max(len(_short(group, CELL - SPACE)), 5) + SPACE for group in groups]
    if len("component") + 1 + sum(widths) <= LINE:
        rows = [[str(k), *map(str, row)] for k, row in enumerate(counts)]
        header = ["component", *(_short(group, CELL - SPACE) for group in groups)]
        _print(console, Table(f"Points of each component, by {label}", header, rows))
    told = f"adjusted Rand index of the components with {label}: {index:.3f} ({compared} points)"
    console.print(told, markup=False, highlight=False, soft_wrap=True)


def _print(console: Console, table: Table) -> None:
    """The title as a line of its own: a table may be narrower."""
    console.print(table.title, style="bold", markup=False, highlight=False, soft_wrap=True)
    print_table(console, "", table.header, table.rows)
    if table.note:
        console.print(table.note, style="dim", markup=False, highlight=False, soft_wrap=True)


def _by_component(
    title: str,
    each: dict[str, Sequence[float]],
    what: str,
    names: Sequence[str],
    values: Sequence[Sequence[float]],
) -> Iterator[Table]:
    """A row for each of ``each`` and for each column of the data, a column for each component."""
    labels = [*each, *(f"{what} {name}".strip() for name in map(_short, names[:MOST_ROWS]))]
    side_by_side = max(1, (LINE - SPACE - max(map(len, (*labels, "component")))) // CELL)
    left_out = len(names) - MOST_ROWS
    note = f"{left_out} more columns are in results.json" if left_out > 0 else ""
    for first in range(0, len(values), side_by_side):
        shown = range(first, min(first + side_by_side, len(values)))
        rows = [[row[k] for k in shown] for row in each.values()]
        rows += [[values[k][j] for k in shown] for j in range(min(len(names), MOST_ROWS))]
        cells = [[label, *map(_number, row)] for label, row in zip(labels, rows, strict=True)]
        yield Table(title, ["component", *map(str, shown)], cells, note)


def _matrix(title: str, names: Sequence[str], matrix: Sequence[Sequence[float]]) -> list[Table]:
    """(d, d) with the names on both sides; of more than MOST_MATRIX columns the diagonal alone."""
    if len(names) > MOST_MATRIX:
        return list(
            _by_component(
                f"{title}: variances; the matrix is in results.json", {}, "", names, [_diagonal(matrix)]
            )
        )
    labels = [_short(name) for name in names]
    rows = [[label, *map(_number, row)] for label, row in zip(labels, matrix, strict=True)]
    each = max(CELL, (LINE - max(map(len, labels)) - SPACE) // len(names)) - SPACE
    return [Table(title, ["", *(_short(name, each) for name in names)], rows)]


def _numbers(values: Any) -> list[float]:
    """All of them, row by row."""
    if isinstance(values, Sequence):
        return [number for value in values for number in _numbers(value)]
    return [] if values is None else [values]


def _diagonal(matrix: Sequence[Sequence[float]]) -> list[float]:
    return [row[j] for j, row in enumerate(matrix)]


def _number(value: float) -> str:
    return significant(value, DIGITS)


def _short(name: str, length: int = LONGEST_NAME - len("mean of ")) -> str:
    """The name, or both of its ends: what tells names apart is often the last of them."""
    kept = length - 2
    return name if len(name) <= length else f"{name[: kept - kept // 2]}..{name[len(name) - kept // 2 :]}"
