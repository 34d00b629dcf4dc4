"""Pieces of work on several processes, or on several machines: results as they are ready.

A piece is the argument of one function; what that gives depends on the piece alone, so that it does not
matter who computes it, or when. Who does is said as for joblib: this process unless told otherwise, n_jobs
processes of this machine, or the workers of a Dask cluster inside `joblib.parallel_config("dask")` or
`baselines.workers.choosing.using`. A worker computes with as many threads as this process has, and a piece
whose worker dies is computed again: the results are the same to the bit on machines of one kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import TypeVar

from baselines.workers.choosing import cluster_in_use, processes_for
from baselines.workers.cluster import run_on_cluster
from baselines.workers.processes import run_on_processes

Piece = TypeVar("Piece")
Result = TypeVar("Result")
Tell = Callable[[str], None]

AHEAD = 4
"""Pieces for each worker that may be done before their turn comes."""


def run_pieces(
    function: Callable[[Piece], Result], pieces: Iterable[Piece], n_jobs: int | None = None
) -> Iterator[tuple[Piece, Result]]:
    """Every piece with its result, as soon as it is there; in the given order in this process.

    Args:
        function: can be pickled (by cloudpickle), as pieces and results can.
        pieces: the longest first, where their lengths are known. They are taken as workers get free, so
            there may be any number of them.
        n_jobs: as for joblib. None: what its context says, else this process.

    Raises:
        PieceLostError: a piece whose workers died three times in a row. ValueError for n_jobs = 0.
    """
    return ((piece, result) for _, piece, result in _numbered(function, pieces, n_jobs))


def run_in_order(
    function: Callable[[Piece], Result], pieces: Iterable[Piece], n_jobs: int | None = None
) -> Iterator[tuple[Piece, Result]]:
    """The same in the given order; a result waits for those before it."""
    waiting: dict[int, tuple[Piece, Result]] = {}
    turn = 0
    for place, piece, result in _numbered(function, pieces, n_jobs, AHEAD):
        waiting[place] = piece, result
        while turn in waiting:
            yield waiting.pop(turn)
            turn += 1


def run_told(
    function: Callable[[Piece, Tell], Result],
    pieces: Iterable[Piece],
    tell: Tell,
    names: Callable[[Piece], Sequence[str]],
    n_jobs: int | None = None,
) -> Iterator[tuple[Piece, Result]]:
    """As ready, of a function that calls `tell` with each of the piece's `names` as it starts on it.

    Those of a piece that another process computes are told together, once it is done.
    """
    if cluster_in_use() is None and processes_for(n_jobs) == 1:
        yield from run_pieces(partial(_telling, function, tell), pieces, n_jobs)
        return
    for piece, result in run_pieces(partial(_telling, function, _silent), pieces, n_jobs):
        for name in names(piece):
            tell(name)
        yield piece, result


def _telling(function: Callable[[Piece, Tell], Result], tell: Tell, piece: Piece) -> Result:
    return function(piece, tell)


def _silent(name: str) -> None:
    """Nobody listens."""


def _numbered(
    function: Callable[[Piece], Result],
    pieces: Iterable[Piece],
    n_jobs: int | None,
    ahead: int | None = None,
) -> Iterator[tuple[int, Piece, Result]]:
    """(place, piece, result) as ready."""
    client = cluster_in_use()
    if client is not None:
        yield from run_on_cluster(client, function, pieces, ahead)
        return
    source, count = iter(pieces), processes_for(n_jobs)
    if count > 1:
        first = list(islice(source, 2))
        source = chain(first, source)
        if len(first) == 2:  # a single piece is not worth a process
            yield from run_on_processes(count, function, source, ahead)
            return
    for place, piece in enumerate(source):
        yield place, piece, function(piece)
