"""Build the wheel, install it where nothing else is, and work with it from an empty folder.

    python -m tests.packaging.wheel

From the tracked files as they stand. The versions are those of constraints.txt, torch first. Where an extra
is not installed, what needs it must say so in one line. Exit code 1 when anything fails.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from . import contents, types
from .built import build
from .commands import COMMANDS
from .environment import CONSTRAINTS, PINNED_TORCH, Environment
from .extras import files_for, refusals
from .session import Session
from .tree import tracked


def main() -> int:
    """Exit code."""
    with tempfile.TemporaryDirectory(prefix="wheel-") as name:
        return _try(Path(name))


def _try(place: Path) -> int:
    began = time.perf_counter()
    wheel, sdist = build(place)
    sizes = ", ".join(f"{path.name} {path.stat().st_size / 1e6:.2f} MB" for path in (wheel, sdist))
    environment = Environment(place / "environment")
    session = Session(environment, place / "empty")
    session.folder.mkdir()
    session.note(f"built: {sizes}", contents.faults(wheel, sdist, tracked()), time.perf_counter() - began)
    began = time.perf_counter()
    environment.install(PINNED_TORCH)
    environment.install("--constraint", CONSTRAINTS, wheel)
    session.note("installed, torch first", [], time.perf_counter() - began)
    for expected in COMMANDS:
        session.run(expected)
    files_for(session.folder)
    for expected in refusals():
        session.run(expected)
    began = time.perf_counter()
    session.note(
        "types seen from outside", types.faults(environment, session.folder), time.perf_counter() - began
    )
    return session.close()


if __name__ == "__main__":
    sys.exit(main())
