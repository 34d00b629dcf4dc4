"""Pieces on the workers of a Dask cluster, whose scheduler gives those of a worker that dies to others."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from baselines.workers.computing import compute, lost, packed
from baselines.workers.threads import threads_here

AHEAD = 2
"""Pieces on their way for each thread of the cluster, so that nobody waits for the next one."""


def run_on_cluster(
    client: Any, function: Callable[[Any], Any], pieces: Iterable[Any], ahead: int | None
) -> Iterator[tuple[int, Any, Any]]:
    """(place, piece, result) as ready; workers may come and go meanwhile.

    No piece is begun that is `ahead` places for each thread behind one that is not done; None: any is.

    Raises:
        PieceLostError: the scheduler gave a piece up, because workers died of it again and again.
        RuntimeError: the scheduler is gone.
    """
    from distributed import wait
    from distributed.client import FutureCancelledError
    from distributed.scheduler import KilledWorker

    token, threads = uuid.uuid4().hex, threads_here()
    # As a task, and not as data: a worker that dies with it can have it again.
    content = client.submit(_same, packed(function), pure=False)
    source, running, begun = enumerate(pieces), dict[Any, tuple[int, Any]](), 0
    try:
        while True:
            size = max(1, sum(client.ncores().values()))
            room = AHEAD * size - len(running)
            if ahead is not None and running:
                room = min(room, ahead * size - (begun - min(place for place, _ in running.values())))
            for place, piece in islice(source, max(0, room)):
                future = client.submit(compute, token, content, piece, threads, pure=False)
                running[future] = place, piece
                begun = place + 1
            if not running:
                return
            with client.as_current():
                wait(list(running), return_when="FIRST_COMPLETED")
            for future in [future for future in running if future.done()]:
                place, piece = running.pop(future)
                try:
                    result = future.result()
                except KilledWorker as problem:
                    raise lost(place, piece, problem) from problem
                except FutureCancelledError as problem:
                    raise RuntimeError(f"piece {place}: the Dask scheduler is gone ({problem})") from problem
                yield place, piece, result
    finally:
        client.cancel(list(running))


def _same(content: bytes) -> bytes:
    return content
