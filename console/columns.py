"""Which columns of a table are coordinates: the ones asked for, and remarks on those that hardly are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from console.errors import BadInputError

MOST_LABELS = 20
LEAST_ROWS = 5
"""Fewer rows count or repeat by chance."""


def chosen(text: str, count: int, names: Sequence[str] | None, option: str = "--columns") -> list[int]:
    """Places, from 0, of ``--columns`` or ``--drop``: names of the header, else numbers from 1 on, or 1-4.

    Raises:
        BadInputError: a column that is not there, or one that is named twice.
    """
    places: list[int] = []
    for word in (part.strip() for part in text.split(",")):
        places += _places(f"{option} {text}", word, count, names or [])
    if len(set(places)) != len(places):
        raise BadInputError(f"{option} {text}: names a column twice; each is taken once")
    return places


def label_place(text: str, count: int, names: Sequence[str] | None) -> int:
    """The place of ``--label``: a name of the header, commas and all, or a number from 1 on.

    Raises:
        BadInputError: no column, or several.
    """
    places = _places(f"--label {text}", text.strip(), count, names or [])
    if len(places) != 1:
        raise BadInputError(f"--label {text}: names {len(places)} columns; one is compared with")
    return places[0]


def _places(asked: str, word: str, count: int, names: Sequence[str]) -> list[int]:
    found = [place for place, name in enumerate(names) if name == word and word]
    if len(found) > 1:
        raise BadInputError(f"{asked}: {len(found)} columns are called {word!r}; give numbers")
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
    raise BadInputError(f"{asked}: there is no column {word!r}; {there}")


def remarks(X: NDArray[np.float64], words: Sequence[str]) -> list[str]:
    """A line for each column of (N, d) X that counts the rows, or that looks like labels beside real numbers.

    ``words`` are the columns as options take them. With d = 1 there is nothing else that it could belong to.
    Labels: 0 to m - 1 or 1 to m, all of them there, each twice on average.
    """
    found: list[str] = []
    if X.shape[1] < 2 or len(X) < LEAST_ROWS:
        return found
    whole = (np.round(X) == X).all(0)
    for place, word in enumerate(words):
        values, different = X[:, place], np.unique(X[:, place])
        if not whole[place] or different[0] not in (0, 1):
            continue
        consecutive = bool((np.diff(different) == 1).all())
        if len(different) == len(X) and consecutive and bool((np.diff(values) == 1).all()):
            found.append(
                f"column {word} counts the rows and is read as a coordinate; --drop {word} leaves it out"
            )
        elif consecutive and 1 < len(different) <= min(MOST_LABELS, len(X) // 2) and not whole.all():
            shown = f"{different[0]:.0f} to {different[-1]:.0f}"
            found.append(
                f"column {word} holds {shown} in whole numbers, as labels do, and is read as a coordinate; "
                f"--drop {word} leaves it out, --label {word} compares the fit with it"
            )
    return found
