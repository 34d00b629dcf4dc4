"""Which columns of a table are coordinates: the ones asked for, and remarks on those that hardly are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from console.errors import BadInputError

MOST_LABELS, MOST_NAMED = 20, 8
LEAST_ROWS = 5
"""Fewer rows count or repeat by chance."""


def chosen(columns: str, count: int, names: list[str] | None) -> list[int]:
    """Places, from 0, of ``--columns``: names of the header, else numbers from 1 on, or ranges as in 1-4.

    Raises:
        BadInputError: a column that is not there, or one that is named twice.
    """
    places: list[int] = []
    for word in (part.strip() for part in columns.split(",")):
        places += _places(columns, word, count, names or [])
    if len(set(places)) != len(places):
        raise BadInputError(f"--columns {columns}: names a column twice; each is taken once")
    return places


def _places(columns: str, word: str, count: int, names: list[str]) -> list[int]:
    found = [place for place, name in enumerate(names) if name == word and word]
    if len(found) > 1:
        raise BadInputError(f"--columns {columns}: {len(found)} columns are called {word!r}; give numbers")
    if found:
        return found
    ends = word.split("-")
    if len(ends) <= 2 and all(end.isdecimal() for end in ends):
        low, high = int(ends[0]), int(ends[-1])
        if 1 <= low <= high <= count:
            return list(range(low - 1, high))
    there = f"numbers from 1 to {count}, ranges as in 1-{count}"
    if any(names):
        there += f", or names: {', '.join(filter(None, names))[:200]}"
    raise BadInputError(f"--columns {columns}: there is no column {word!r}; {there}")


def remarks(X: NDArray[np.float64], names: list[str]) -> list[str]:
    """A line for each column of (N, d) X that counts the rows, or that looks like labels beside real numbers.

    With d = 1 there is nothing else that it could belong to. Labels: 0 to m - 1 or 1 to m, all of them there,
    each twice on average.
    """
    found: list[str] = []
    if X.shape[1] < 2 or len(X) < LEAST_ROWS:
        return found
    whole = (np.round(X) == X).all(0)
    for place, name in enumerate(names):
        others = [other for other in names if other != name]
        only = ",".join(others) if len(others) <= MOST_NAMED else "with the others"
        left_out = f"read as a coordinate; to leave it out give --columns {only}"
        values, different = X[:, place], np.unique(X[:, place])
        if not whole[place] or different[0] not in (0, 1):
            continue
        consecutive = bool((np.diff(different) == 1).all())
        if len(different) == len(X) and consecutive and bool((np.diff(values) == 1).all()):
            found.append(f"column {name} counts the rows and is {left_out}")
        elif consecutive and 1 < len(different) <= min(MOST_LABELS, len(X) // 2) and not whole.all():
            shown = f"{different[0]:.0f} to {different[-1]:.0f}"
            found.append(f"column {name} holds {shown} in whole numbers, as labels do, and is {left_out}")
    return found
