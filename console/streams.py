"""Terminal output that never stops the work: a reader that has gone, letters that a terminal has not got."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

SURROGATES = re.compile("[\ud800-\udfff]")


def printable(text: str) -> str:
    """The text with U+FFFD in place of what is no character: Python has such in names that are not UTF-8."""
    return SURROGATES.sub("\ufffd", text)


class Lasting:
    """A stream whose write and flush do not fail: what can no longer be written is dropped.

    Everything else is the stream's own.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._lost = False

    def write(self, text: str) -> int:
        """Write as far as it goes; the number of characters taken."""
        if not self._lost:
            try:
                self._stream.write(text)
            except OSError as problem:
                self._lose(problem)
        return len(text)

    def flush(self) -> None:
        """Flush as far as it goes."""
        if not self._lost:
            try:
                self._stream.flush()
            except OSError as problem:
                self._lose(problem)

    def writelines(self, lines: Any) -> None:
        """Write one after the other."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _lose(self, problem: OSError) -> None:
        """Send what is left in the buffer nowhere, so that the end of Python does not stumble on it."""
        self._lost = True
        with suppress(OSError, ValueError):
            number = self._stream.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)
        if not isinstance(problem, BrokenPipeError) and sys.stderr is not self:
            print(f"standard output: cannot be written ({problem.strerror}); going on", file=sys.stderr)


@contextmanager
def lasting_output() -> Iterator[None]:
    """Inside, a closed pipe or a full disk behind stdout and stderr stops nothing, nor does any letter."""
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # A process may have been started with either of them closed: then it is None, and print does nothing.
    sys.stdout, sys.stderr = (None if stream is None else Lasting(stream) for stream in before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before
