"""What a wheel and a source archive hold, against the tracked files."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

from .tree import held

BESIDE = {"CHANGELOG.md", "CITATION.cff", "LICENSE", "MANIFEST.in", "README.md", "pyproject.toml"}
MADE = {"PKG-INFO", "setup.cfg"}
"""Files of a source archive beside the packages: ours, and those that setuptools makes."""


def in_wheel(wheel: Path) -> set[str]:
    """Names of its files, without the folder about the distribution."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def in_sdist(sdist: Path) -> set[str]:
    """Names of its files, below the folder that holds all; without what setuptools writes."""
    with tarfile.open(sdist) as archive:
        names = {one.name.partition("/")[2] for one in archive if one.isfile()}
    return {name for name in names - MADE if ".egg-info/" not in name}


def faults(wheel: Path, sdist: Path, files: list[str]) -> list[str]:
    """A line for each file that is missing or too much."""
    wanted = held(files)
    return [
        *_differences("the wheel", in_wheel(wheel), wanted),
        *_differences("the source archive", in_sdist(sdist), wanted | BESIDE),
    ]


def _differences(what: str, found: set[str], wanted: set[str]) -> list[str]:
    missing = [f"{what} lacks {name}" for name in sorted(wanted - found)]
    return missing + [f"{what} holds {name}, which is not of it" for name in sorted(found - wanted)]
