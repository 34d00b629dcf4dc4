"""Where a page comes from: when it was made, by which version and commit, and by which command."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from console.commands import COMMANDS, PROGRAM

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "gmm-theory-toolkit"


@dataclass(frozen=True)
class Origin:
    """What a page says of itself.

    date     UTC, to the minute; that of SOURCE_DATE_EPOCH where this is set.
    version  of the package.
    commit   of the checkout, with "-dirty" where files differ from it; "" where there is none, as in a wheel.
    command  as it was typed; from Python, the module alone.
    """

    date: str
    version: str
    commit: str
    command: str


def origin(module: str) -> Origin:
    """Of a page that ``module`` writes now, as in "verify.em_construction"."""
    seconds = os.environ.get("SOURCE_DATE_EPOCH", "")
    made = datetime.fromtimestamp(int(seconds), UTC) if seconds.isdecimal() else datetime.now(UTC)
    return Origin(f"{made:%Y-%m-%d %H:%M} UTC", metadata.version(PACKAGE), commit(), typed(module))


def commit(root: Path = ROOT) -> str:
    """Of a checkout at ``root``; "" where it is none or git is missing. No other repository is asked."""
    if not (root / ".git").exists():
        return ""
    asked = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"]
    try:
        return subprocess.run(asked, capture_output=True, check=True, text=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return ""


def typed(module: str) -> str:
    """``python -m module`` and what followed, where this module is what Python was asked to run.

    ``gmm-theory command`` and what followed, where this program ran the module.
    """
    if Path(sys.argv[0]).stem == PROGRAM:
        asked = COMMANDS.get(sys.argv[1], "") if sys.argv[1:] else ""
        if asked.removesuffix(".__main__") == module:
            return shlex.join([PROGRAM, *sys.argv[1:]])
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    running = spec is not None and spec.name.removesuffix(".__main__") == module
    return shlex.join(["python", "-m", module, *(sys.argv[1:] if running else [])])
