"""A fresh environment of Python, what is installed there, and commands in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .tree import ROOT

CONSTRAINTS = ROOT / "constraints.txt"
PINNED_TORCH = next(line for line in CONSTRAINTS.read_text().splitlines() if line.startswith("torch=="))
OUTSIDE = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "COLUMNS")


class Environment:
    """In ``folder``; its commands see nothing of the tree that they were started from."""

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)  # noqa: S603
        self.bin = folder / "bin"

    def install(self, *words: str | Path) -> None:
        """Of pip, which says why where it cannot; torch is to go in first and alone, as in the Makefile."""
        self.run(["python", "-m", "pip", "install", "--quiet", *map(str, words)], check=True, shown=True)

    def run(
        self, words: Sequence[str], folder: Path | None = None, check: bool = False, shown: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """A program of the environment, in a folder; with ``shown`` it writes to the terminal."""
        environment = {name: value for name, value in os.environ.items() if name not in OUTSIDE}
        environment |= {"PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}", "PYTHONNOUSERSITE": "1"}
        program = self.bin / words[0]
        return subprocess.run(  # noqa: S603
            [str(program), *words[1:]],
            env=environment,
            cwd=folder or self.bin,
            capture_output=not shown,
            text=True,
            check=check,
        )

    def versions(self, names: Sequence[str]) -> dict[str, str]:
        """Of those packages that are installed."""
        listed = self.run(["python", "-m", "pip", "list", "--format", "freeze"], check=True).stdout
        found = dict(line.split("==") for line in listed.splitlines() if "==" in line)
        return {name: found[name] for name in names if name in found}
