"""The wheel, by way of the source archive, from a copy of the tracked files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from .tree import copy_to


def build(folder: Path) -> tuple[Path, Path]:
    """Wheel and source archive, in ``folder / "dist"``; the wheel is made from the archive."""
    (folder / "source").mkdir()
    source, out = copy_to(folder / "source"), folder / "dist"
    words = [sys.executable, "-m", "build", "--outdir", str(out), str(source)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder)  # noqa: S603
    if done.returncode:
        raise SystemExit(f"{done.stdout}{done.stderr}\nthe wheel cannot be built")
    [wheel], [sdist] = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist
