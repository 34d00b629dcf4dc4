"""Pieces of work on several processes, or on several machines: results as they are ready.

A piece is the argument of one function; what that gives depends on the piece alone, so that it does not
matter who computes it, or when. One job is this process, several are processes of this machine (joblib with
loky), and with the address of a Dask scheduler its workers compute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import joblib
from joblib.externals.loky import get_reusable_executor

from console.errors import BadInputError
from console.extras import missing

Piece = TypeVar("Piece")
Result = TypeVar("Result")

WAIT = "10s"
"""So long a scheduler may take to answer."""


def run_pieces(
    function: Callable[[Piece], Result], pieces: Sequence[Piece], jobs: int = 1, dask: str | None = None
) -> Iterator[tuple[Piece, Result]]:
    """Every piece with its result, as soon as it is there; in the given order for one job.

    Args:
        function: can be pickled, as pieces and results can; it sets threads and seeds for itself.
        pieces: the longest first, where their lengths are known.
        jobs: processes on this machine. With `dask` all workers of the cluster are used instead.
        dask: the scheduler's address, as in tcp://host:8786.

    Raises:
        BadInputError: Dask is not installed, or nobody answers at the address.
    """
    if dask is None and (jobs == 1 or len(pieces) < 2):
        yield from ((piece, function(piece)) for piece in pieces)
        return
    with _backend(dask):
        calls = (joblib.delayed(_placed)(function, place, piece) for place, piece in enumerate(pieces))
        parallel: Any = joblib.Parallel(n_jobs=-1 if dask else jobs, return_as="generator_unordered")
        try:
            for place, result in parallel(calls):
                yield pieces[place], result
        finally:
            if dask is None:
                get_reusable_executor().shutdown(wait=False, kill_workers=True)


@contextmanager
def _backend(dask: str | None) -> Iterator[None]:
    if dask is None:
        with joblib.parallel_config("loky", inner_max_num_threads=1):
            yield
        return
    try:
        from distributed import Client
    except ImportError:
        raise BadInputError(missing(f"--dask {dask}", "distributed")) from None
    try:
        client = Client(dask, timeout=WAIT)
    except (OSError, ValueError) as problem:
        reason = str(problem).splitlines()[0]
        raise BadInputError(f"--dask {dask}: no scheduler answers there ({reason})") from None
    with client, joblib.parallel_config("dask"):
        yield


def _placed(function: Callable[[Piece], Result], place: int, piece: Piece) -> tuple[int, Result]:
    return place, function(piece)
