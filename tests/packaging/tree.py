"""What git tracks, as it stands now, and copies of it: nothing else slips into what is built."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("baselines", "console", "constructions", "training", "verify")


def tracked() -> list[str]:
    """Paths relative to the root, without those that are deleted already."""
    words = ["git", "-C", str(ROOT), "ls-files"]
    listed = subprocess.run(words, check=True, capture_output=True, text=True).stdout  # noqa: S603
    return [name for name in listed.splitlines() if (ROOT / name).exists()]


def copy_to(folder: Path) -> Path:
    """The folder, which then holds a copy of each tracked file."""
    for name in tracked():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    return folder


def held(names: list[str]) -> set[str]:
    """Those that an installation has: files of the packages."""
    return {name for name in names if name.partition("/")[0] in PACKAGES}
