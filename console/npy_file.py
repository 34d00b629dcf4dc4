"""An array in a person's .npy file, read strictly; what is wrong is refused in a line with the option."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from console.errors import BadInputError

UNREADABLE = (
    *(ValueError, TypeError, OSError, EOFError, MemoryError, OverflowError, RecursionError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError),
)
"""What numpy raises for files that are none of its own, or only begin like one."""


def read_npy(path: Path, option: str) -> NDArray[Any]:
    """An array of real numbers, of any shape and real dtype.

    Raises:
        BadInputError: not such a file.
    """
    if path.suffix != ".npy":
        raise BadInputError(f"{option} {path}: the suffix is {path.suffix!r}; a .npy file is needed")
    try:
        if not path.is_file():
            raise BadInputError(f"{option} {path}: there is no such file")
        with path.open("rb") as file:
            values = np.load(file, allow_pickle=False)
    except BadInputError:
        raise
    except UNREADABLE as problem:
        reason = str(problem) or type(problem).__name__
        raise BadInputError(f"{option} {path}: cannot be read ({reason})") from None
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        kind = getattr(values, "dtype", type(values).__name__)
        raise BadInputError(f"{option} {path}: holds {kind}; real numbers are needed")
    return values


def as_finite(path: Path, option: str, values: NDArray[Any]) -> NDArray[np.float64]:
    """The values in float64.

    Raises:
        BadInputError: one that is not finite.
    """
    with np.errstate(over="ignore"):  # a long double beyond float64 becomes inf, and is refused as that
        as_float = values.astype(np.float64)
    if not np.isfinite(as_float).all():
        place = tuple(int(i[0]) for i in np.nonzero(~np.isfinite(as_float)))
        raise BadInputError(f"{option} {path}: entry {list(place)} is {as_float[place]}; values are finite")
    return as_float
