"""Many arrays of different lengths in one: a million small ones would take more memory than their numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Rows(Sequence[Array]):
    """B arrays (T_b,), by place; a slice is a list of them."""

    def __init__(self, rows: Iterable[Array]) -> None:
        found = list(rows)
        self._values = np.concatenate([np.empty(0), *found])
        self._ends = np.cumsum([0, *map(len, found)])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, place: Any) -> Any:
        found = range(len(self))[place]
        if isinstance(found, range):
            return [self[one] for one in found]
        return self._values[self._ends[found] : self._ends[found + 1]]

    @classmethod
    def placed(cls, parts: Sequence[tuple[Sequence[int], Rows]], n_rows: int) -> Rows:
        """The rows of all parts, each where its places say."""
        lengths = np.zeros(n_rows + 1, dtype=np.int64)
        for places, rows in parts:
            lengths[np.asarray(places) + 1] = np.diff(rows._ends)
        found = cls([])
        found._ends = lengths.cumsum()
        found._values = np.empty(found._ends[-1])
        for places, rows in parts:
            if isinstance(places, range):
                found._values[found._ends[places.start] : found._ends[places.stop]] = rows._values
                continue
            for place, row in zip(places, rows, strict=True):
                found[place][:] = row
        return found
