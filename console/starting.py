"""Ctrl-C before a command has begun: loading torch and the rest takes seconds."""

from __future__ import annotations

import sys
from types import TracebackType


def answer_early_stops() -> None:
    """Where ``python -m`` is about to run one of our modules, Ctrl-C meanwhile is one line, no traceback.

    The process still ends by the signal, which a shell shows as 130. An import from elsewhere changes
    nothing: ``sys.argv[0]`` is "-m" only while Python looks for the module that it was asked to run.
    """
    if sys.argv[:1] != ["-m"]:
        return
    before = sys.excepthook

    def hook(kind: type[BaseException], problem: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            print("stopped before it began; nothing of this call is saved", file=sys.stderr)
        else:
            before(kind, problem, trace)

    sys.excepthook = hook
