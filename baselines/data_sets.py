"""Many data sets as `fit_many` takes them: in memory, in a file or a Dask array; read a part at a time."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baselines.estimator_sets import Array, check_sets, common_dtype, feature_names, stack

NUMBERS_AT_ONCE = 2**20
"""Of a file that is looked through."""

Names = list[NDArray[np.object_] | None] | None


class DataSets(metaclass=ABCMeta):
    """B data sets of d features, finite numbers.

    lengths     N of each. n_features: d.
    dtype       float32 where all of them are, else float64: that of the results.
    names       of the columns of each, None where it has none; None for an array.
    """

    lengths: Sequence[int]
    n_features: int
    dtype: Any
    names: Names = None

    def __len__(self) -> int:
        return len(self.lengths)

    @abstractmethod
    def read(self, places: Sequence[int]) -> tuple[Any, Array | None]:
        """The sets `places` as X (G, N, d), and weights (G, N), 0 for padding; None where there is none."""

    def sent(self, places: Sequence[int], by_name: bool) -> Any:
        """What a worker needs to have them by :func:`received`: the numbers, or the name of their file."""
        return self.read(places)


def received(sent: Any) -> tuple[Any, Array | None]:
    """As :meth:`DataSets.read`."""
    return sent.read() if isinstance(sent, StoredPart) else sent


def data_sets(X: Any, least_samples: int) -> DataSets:
    """X as data sets; ValueError that names the set at fault.

    An array (B, N, d) in memory, one in a file (numpy.memmap: looked through once, never loaded whole), a
    Dask array (its numbers are checked as its chunks are computed), or a sequence of arrays (N_b, d).
    """
    if hasattr(X, "__dask_graph__") and hasattr(X, "chunks"):
        _check_shape(X, least_samples)
        return Chunked(X)
    file = stored(X)
    if file is not None:
        _check_shape(X, least_samples)
        found = InFile(file)
        rows = max(1, NUMBERS_AT_ONCE // (X.shape[1] * X.shape[2]))
        for first in range(0, len(X), rows):
            found.read(range(first, min(first + rows, len(X))))
        return found
    checked = check_sets(X, least_samples)
    return InMemory(checked, common_dtype(X), feature_names(X))


class InMemory(DataSets):
    """An array (B, N, d), or a list of arrays (N_b, d)."""

    def __init__(self, sets: Array | list[Array], dtype: Any, names: Names) -> None:
        self.sets, self.dtype, self.names = sets, dtype, names
        self.n_features = sets[0].shape[1]
        self.lengths = (
            Alike(*sets.shape[:2]) if isinstance(sets, np.ndarray) else [len(points) for points in sets]
        )

    def read(self, places: Sequence[int]) -> tuple[Any, Array | None]:
        if isinstance(self.sets, np.ndarray) and isinstance(places, range):
            return self.sets[places.start : places.stop], None
        return stack(self.sets, places)


@dataclass(frozen=True)
class Alike(Sequence[int]):
    """B times the same N."""

    n_sets: int
    n_samples: int

    def __len__(self) -> int:
        return self.n_sets

    def __iter__(self) -> Iterator[int]:
        return repeat(self.n_samples, self.n_sets)

    def __getitem__(self, place: Any) -> Any:
        found = range(self.n_sets)[place]
        return Alike(len(found), self.n_samples) if isinstance(found, range) else self.n_samples


@dataclass(frozen=True)
class Stored:
    """An array in a file: row-major, from `offset` bytes on."""

    path: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int

    def rows(self, first: int, stop: int) -> NDArray[Any]:
        """A part along the first axis, read and not mapped: mapped pages would count as memory."""
        size = int(np.prod(self.shape[1:]))
        skip = self.offset + first * size * self.dtype.itemsize
        values = np.fromfile(self.path, self.dtype, (stop - first) * size, offset=skip)
        return values.reshape(stop - first, *self.shape[1:])


def stored(X: Any) -> Stored | None:
    """Where the numbers of a numpy.memmap, or of a row-major part of one, are; None of anything else."""
    root: Any = X
    while isinstance(root, np.ndarray) and not _opened(root):
        root = root.base
    if not isinstance(root, np.memmap) or root.filename is None or root.mode == "c":
        return None
    if X.dtype.kind not in "fiub" or not X.flags.c_contiguous:
        return None
    address, start = (array.__array_interface__["data"][0] for array in (X, root))
    return Stored(str(root.filename), X.dtype, X.shape, int(root.offset) + address - start)


def _opened(array: NDArray[Any]) -> bool:
    return isinstance(array, np.memmap) and not isinstance(array.base, np.ndarray)


class InFile(DataSets):
    """An array (B, N, d) that a numpy.memmap shows."""

    def __init__(self, file: Stored) -> None:
        self.file, self.dtype = file, _result_dtype(file.dtype)
        self.lengths, self.n_features = Alike(*file.shape[:2]), file.shape[2]

    def read(self, places: Sequence[int]) -> tuple[Any, Array | None]:
        return StoredPart(self.file, places).read()

    def sent(self, places: Sequence[int], by_name: bool) -> Any:
        return StoredPart(self.file, places) if by_name else self.read(places)


@dataclass(frozen=True)
class StoredPart:
    """Some of the data sets of a file, which whoever computes with them reads."""

    file: Stored
    places: Sequence[int]

    def read(self) -> tuple[Any, None]:
        """As :meth:`DataSets.read`."""
        places = self.places
        if isinstance(places, range):
            values = self.file.rows(places.start, places.stop)
        else:
            values = np.concatenate([self.file.rows(place, place + 1) for place in places])
        _check_finite(values, places)
        return values, None


class Chunked(DataSets):
    """A Dask array (B, N, d): a chunk of its first axis is computed at a time, and kept until the next."""

    def __init__(self, X: Any) -> None:
        self.X, self.dtype = X, _result_dtype(X.dtype)
        self.lengths, self.n_features = Alike(*X.shape[:2]), X.shape[2]
        self.ends = np.cumsum(X.chunks[0])
        self.held: tuple[int, NDArray[Any]] | None = None

    def read(self, places: Sequence[int]) -> tuple[Any, Array | None]:
        if isinstance(places, range):
            first, last = np.searchsorted(self.ends, [places.start, places.stop - 1], side="right")
            parts = [self._part(chunk, places) for chunk in range(first, last + 1)]
            values = parts[0] if len(parts) == 1 else np.concatenate(parts)
        else:
            values = np.asarray(self.X[list(places)].compute())
        _check_finite(values, places)
        return values, None

    def _part(self, chunk: int, places: range) -> NDArray[Any]:
        """What lies in a chunk."""
        stop = int(self.ends[chunk])
        start = stop - self.X.chunks[0][chunk]
        if self.held is None or self.held[0] != chunk:
            self.held = None  # the last one goes before the next comes
            self.held = chunk, np.asarray(self.X[start:stop].compute())
        return self.held[1][max(places.start - start, 0) : places.stop - start]


def _check_shape(X: Any, least_samples: int) -> None:
    known = len(X.shape) == 3 and all(size == size and size >= 1 for size in X.shape)
    if not known or X.shape[1] < least_samples:
        wanted = f"(B, N, d), all known, with B, d >= 1 and N >= {least_samples}"
        raise ValueError(f"X has shape {tuple(X.shape)}, needs {wanted}")
    if X.dtype.kind not in "fiub":
        raise ValueError(f"X is of dtype {X.dtype}, needs real numbers")


def _check_finite(values: NDArray[Any], places: Sequence[int]) -> None:
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return
    row, *rest = (int(index) for index in np.argwhere(~np.isfinite(values))[0])
    place = [places[row], *rest]
    raise ValueError(f"X{place} is {values[row, *rest]}, needs finite values")


def _result_dtype(dtype: Any) -> Any:
    return np.dtype(np.float32 if dtype == np.float32 else np.float64)
