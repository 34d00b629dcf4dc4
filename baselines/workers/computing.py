"""What a worker does with a piece, and how a function gets to it: once for all of its pieces."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from joblib.externals.loky.backend.reduction import dumps

from baselines.workers.threads import Threads, running_on

MOST_DEATHS = 3
"""Workers that a piece may lose before it is given up."""

_held: tuple[str, Callable[[Any], Any]] | None = None
"""The function that this process computes with, by its token."""


class PieceLostError(RuntimeError):
    """A piece whose workers died again and again; the message names it."""


def lost(place: int, piece: Any, reason: object) -> PieceLostError:
    """The error for a piece that is given up."""
    first = (str(reason).splitlines() or [""])[0]
    shown = " ".join(str(piece).split())
    shown = shown if len(shown) <= 100 else f"{shown[:97]}..."
    return PieceLostError(
        f"piece {place} ({shown}): the workers that computed it died {MOST_DEATHS} times, so it is given up; "
        f"they may have run out of memory ({first})"
    )


def packed(function: Callable[[Any], Any]) -> bytes:
    """The function as bytes; what is defined in a notebook or a script goes along."""
    return bytes(dumps(function))


def compute(token: str, content: bytes | Path, piece: Any, threads: Threads) -> Any:
    """function(piece) with so many threads, in a worker; it is unpacked at its first piece only.

    Args:
        token: tells functions apart. content: what :func:`packed` gave, or a file that holds it.
    """
    global _held
    held = _held
    if held is None or held[0] != token:
        content = content.read_bytes() if isinstance(content, Path) else content
        held = token, pickle.loads(content)  # noqa: S301 - our own bytes, of this very call
        _held = held
    with running_on(threads):
        return held[1](piece)
