"""Pieces on processes of this machine: one executor a process, so that a death loses one piece."""

from __future__ import annotations

import os
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joblib.externals.loky import BrokenProcessPool, ProcessPoolExecutor

from baselines.workers.computing import MOST_DEATHS, compute, lost, packed
from baselines.workers.threads import threads_here

IDLE_SECONDS = 60
"""So long a process waits for a next call; starting one takes seconds, most of it to load torch."""

_idle: dict[int, list[ProcessPoolExecutor]] = {}
"""Executors of one process each that nobody uses now, by the process that started them."""


@dataclass
class _Task:
    place: int
    piece: Any
    deaths: int = 0


def run_on_processes(
    count: int, function: Callable[[Any], Any], pieces: Iterable[Any], ahead: int | None
) -> Iterator[tuple[int, Any, Any]]:
    """(place, piece, result) as ready. A process that dies is replaced, and its piece computed again.

    No piece is begun that is `ahead` places for each process behind one that is not done; None: any is.

    Raises:
        PieceLostError: three processes in a row died of one piece.
    """
    with tempfile.TemporaryDirectory() as folder:
        content = Path(folder) / "function"
        content.write_bytes(packed(function))
        pool = _Pool(count, content, pieces, None if ahead is None else ahead * count)
        try:
            pool.give_out()
            while pool.running:
                ready = pool.collect()
                pool.give_out()  # before anybody works on these results
                for task, future in ready:
                    yield task.place, task.piece, future.result()
        except BaseException:
            pool.kill()
            raise
        pool.leave()


class _Pool:
    """Which process computes which piece, and what is to be computed."""

    def __init__(self, count: int, content: Path, pieces: Iterable[Any], ahead: int | None) -> None:
        idle = _idle.setdefault(os.getpid(), [])
        self.free = [idle.pop() if idle else _started() for _ in range(count)]
        self.running: dict[Future[Any], tuple[ProcessPoolExecutor, _Task]] = {}
        self.again: deque[_Task] = deque()
        self.pieces = (_Task(place, piece) for place, piece in enumerate(pieces))
        self.begun, self.ahead = 0, ahead
        self.sent = uuid.uuid4().hex, content, threads_here()

    def give_out(self) -> None:
        """A piece for every free process, while there are any; first those that were lost."""
        while self.free and (task := self._next()):
            executor = self.free.pop()
            try:
                future = self._submit(executor, task)
            except BrokenProcessPool:  # it died while it was idle
                executor.shutdown(kill_workers=True)
                executor = _started()
                future = self._submit(executor, task)
            self.running[future] = executor, task

    def _next(self) -> _Task | None:
        if self.again:
            return self.again.popleft()
        oldest = min((task.place for _, task in self.running.values()), default=self.begun)
        if self.ahead is not None and self.begun >= oldest + self.ahead:
            return None
        task = next(self.pieces, None)
        self.begun += task is not None
        return task

    def _submit(self, executor: ProcessPoolExecutor, task: _Task) -> Future[Any]:
        token, content, threads = self.sent
        return executor.submit(compute, token, content, task.piece, threads)

    def collect(self) -> list[tuple[_Task, Future[Any]]]:
        """What is done, once something is; a piece of a dead process is put back.

        Raises:
            PieceLostError: once too often.
        """
        ready = []
        for future in wait(self.running, return_when=FIRST_COMPLETED).done:
            executor, task = self.running.pop(future)
            problem = future.exception()
            if not isinstance(problem, BrokenProcessPool):
                self.free.append(executor)
                ready.append((task, future))
                continue
            executor.shutdown(kill_workers=True)
            self.free.append(_started())
            self.again.append(task)
            task.deaths += 1
            if task.deaths == MOST_DEATHS:
                raise lost(task.place, task.piece, problem) from problem
        return ready

    def leave(self) -> None:
        """The processes wait for a next call."""
        _idle.setdefault(os.getpid(), []).extend(self.free)

    def kill(self) -> None:
        """No process goes on."""
        for future in self.running:
            while not (future.running() or future.done()):  # loky loses its thread if it is stopped before
                time.sleep(0.001)
        for executor in [*self.free, *(executor for executor, _ in self.running.values())]:
            executor.shutdown(kill_workers=True)


def _started() -> ProcessPoolExecutor:
    """An executor of one process, which starts with its first piece."""
    return ProcessPoolExecutor(1, timeout=IDLE_SECONDS)
