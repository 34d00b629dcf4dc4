"""Who computes: this process, processes of this machine, or a Dask cluster, told by joblib's own context."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import joblib
from joblib.parallel import get_active_backend

WAIT = 10
"""Seconds: so long a scheduler may take to answer, and to find a worker."""

MISSING = "the package distributed is not installed; pip install 'gmm-theory-toolkit[distributed]'"


def processes_for(n_jobs: int | None) -> int:
    """Processes that n_jobs asks for here, by joblib's rules: None takes its context's, -1 all processors.

    Raises:
        ValueError: no whole number, or 0.
    """
    if n_jobs is not None and (not isinstance(n_jobs, Integral) or isinstance(n_jobs, bool) or n_jobs == 0):
        raise ValueError(f"n_jobs is {n_jobs!r}, needs None or a whole number other than 0")
    return int(joblib.effective_n_jobs(n_jobs))  # pyright: ignore[reportArgumentType]


def cluster_in_use() -> Any:
    """The distributed.Client of joblib's context, inside `joblib.parallel_config("dask")`; else None."""
    return getattr(get_active_backend()[0], "client", None)


@contextmanager
def using(n_jobs: int | None = None, dask: str | None = None) -> Iterator[None]:
    """Inside, pieces are computed by n_jobs processes, or by all workers of the scheduler at `dask`.

    With neither all is as outside.

    Raises:
        ValueError: n_jobs = 0, Dask is not installed, nobody answers at the address (tcp://host:8786), or no
            worker has joined there.
    """
    if dask is not None:
        with _connected(dask) as client, joblib.parallel_config("dask", client=client):
            yield
    elif n_jobs is not None:
        with joblib.parallel_config("loky", n_jobs=processes_for(n_jobs)):
            yield
    else:
        yield


def _connected(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError:
        raise ValueError(f"dask is {address!r}: {MISSING}") from None
    try:
        client = Client(address, timeout=WAIT, set_as_default=False)
    except (OSError, ValueError, TypeError) as problem:
        reason = str(problem).splitlines()[0]
        raise ValueError(f"dask is {address!r}: no scheduler answers there ({reason})") from None
    try:
        client.wait_for_workers(1, timeout=WAIT)
    except TimeoutError:
        client.close()
        raise ValueError(f"dask is {address!r}: the scheduler there has no workers, needs one") from None
    return client
