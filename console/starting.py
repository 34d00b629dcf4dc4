"""What happens before a command works: its options are read, then what it computes with is loaded.

The module that ``python -m`` runs has the options and their help, and imports neither torch nor anything else
that takes long. Its function imports what does the work once the options are read, inside :func:`loading`.
Loading torch and the rest takes seconds, and Ctrl-C meanwhile is answered here.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPED_EARLY = "stopped before it began; nothing of this call is saved\n"
_answered = False
"""Whether this process runs one of our modules, and Ctrl-C was ours to answer."""


def answer_early_stops() -> None:
    """Where ``python -m`` is about to run one of our modules, :func:`answer_stops`.

    An import from elsewhere changes nothing: ``sys.argv[0]`` is "-m" only while Python looks for the module
    that it was asked to run.
    """
    if sys.argv[:1] == ["-m"]:
        answer_stops()


def answer_stops() -> None:
    """From here on Ctrl-C is one line, no traceback, unless somebody else answers it or it is ignored.

    The process ends at once by the signal, which a shell shows as 130. A KeyboardInterrupt would not do: some
    of what is being imported catches it and goes on half loaded.
    """
    global _answered
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)
        _answered = True


def leave_stops_to_the_command() -> None:
    """From here on Ctrl-C is a KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def loading() -> Iterator[None]:
    """Inside, a command imports what it computes with, and Ctrl-C is answered as before it began."""
    if _answered and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        leave_stops_to_the_command()


def _end(number: int, frame: FrameType | None) -> None:
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, STOPPED_EARLY.encode())
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
