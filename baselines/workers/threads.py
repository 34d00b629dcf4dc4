"""As many threads in a worker as in the process that asks: another number takes sums in another order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple

import torch
from threadpoolctl import ThreadpoolController


class Threads(NamedTuple):
    """Threads of torch, and of the BLAS that numpy and scipy call."""

    torch: int
    blas: int


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


def threads_here() -> Threads:
    """Those of this process."""
    found = [pool["num_threads"] for pool in _libraries().info() if pool["user_api"] == "blas"]
    return Threads(torch.get_num_threads(), max(found, default=1))


@contextmanager
def running_on(threads: Threads) -> Iterator[None]:
    """Inside, this process works with so many; afterwards with those from before."""
    before = torch.get_num_threads()
    with _libraries().limit(limits=threads.blas, user_api="blas"):
        torch.set_num_threads(threads.torch)
        try:
            yield
        finally:
            torch.set_num_threads(before)
